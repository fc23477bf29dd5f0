#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "adapters/engines/llama_cpp/engine.h"
#include "adapters/engines/llama_cpp/llama_handles.h"
#include "adapters/engines/llama_cpp/state_blob.h"
#include "core/error.h"
#include "core/tokenizer.h"

namespace baton::adapters {

// One token of a step.
struct BatchToken {
  TokenId id = 0;
  int position = 0;
  int sequence = 0;
  bool wants_logits = false;
};

// Model, LoRA adapters and one context with a unified KV cache. Owned by the engine; after load()
// everything runs on the engine thread. Promises: what is exported from one runtime and imported
// into another of the same layout hash gives the same logits, bit for bit, as long as the cells of
// a sequence lie in the order of its positions.
class LlamaRuntime {
 public:
  static constexpr int kScratch = 0;  // sequence id for moving KV; requests use 1 to max_running

  // Errors: kInvalidArgument, stage kConfig, with the file and the reason. Fills in what
  // `options` left open (max_context, kv_pool).
  [[nodiscard]] static Result<LlamaRuntime> load(EngineOptions& options);

  // Computes one step; logits() of its tokens stay until the next one. `lora` is an index in
  // EngineOptions::loras or -1. Errors: kInternal; the sequences involved must be dropped.
  [[nodiscard]] Result<void> decode(std::span<const BatchToken> batch, int lora);
  // Of the token at `index` in the last batch, which must have asked for them; one per token id.
  [[nodiscard]] std::span<float> logits(int index);

  // Copies the KV of [first, first + count) of a sequence out. Returns the bytes written, or 0 if
  // the cache no longer holds all of it (sliding windows) or `out` is too small. The next `ahead`
  // tokens from `first` on will be asked for before the next step: libllama looks through its whole
  // cache for each range, so where their form is known they are taken out together.
  [[nodiscard]] std::size_t export_range(int sequence, int first, int count, int ahead,
                                         std::span<std::byte> out);
  // Appends an exported range. False if it is not what the sequence needs next, or does not fit.
  [[nodiscard]] bool import_range(int sequence, int first, int count,
                                  std::span<const std::byte> blob);
  void drop(int sequence);  // forgets its KV
  void drop_all();

  [[nodiscard]] const llama_vocab* vocab() const { return vocab_; }
  [[nodiscard]] int vocab_size() const { return llama_vocab_n_tokens(vocab_); }
  [[nodiscard]] bool is_end_of_generation(TokenId id) const {
    return llama_vocab_is_eog(vocab_, id);
  }
  [[nodiscard]] std::string piece(TokenId id) const;

  // False for recurrent and hybrid models, whose state is one whole: no prefix reuse, no hand-off.
  [[nodiscard]] bool can_move_ranges() const { return can_move_ranges_; }
  [[nodiscard]] std::size_t block_bytes() const { return block_bytes_; }
  [[nodiscard]] std::size_t bytes_per_token() const { return bytes_per_token_; }
  [[nodiscard]] const std::string& model_hash() const { return model_hash_; }
  [[nodiscard]] std::uint64_t layout_hash() const { return layout_hash_; }

 private:
  LlamaRuntime() = default;
  [[nodiscard]] Result<void> load_model(const EngineOptions& options);
  [[nodiscard]] Result<void> create_context(EngineOptions& options);
  [[nodiscard]] Result<void> load_loras(const EngineOptions& options);
  [[nodiscard]] Result<void> measure_blocks(const EngineOptions& options);
  void select_lora(int lora);
  [[nodiscard]] std::size_t export_alone(int sequence, int first, int count,
                                         std::span<std::byte> out);
  [[nodiscard]] bool is_staged(int sequence, int first, int count) const;
  void stage(int sequence, int first, int count);

  // A range of tokens taken out of the cache, until the cache changes.
  struct Staged {
    int sequence = -1;  // -1: none
    int first = 0;
    std::vector<std::byte> bytes;
    std::optional<StateBlob> blob;
  };

  struct BatchDeleter {
    void operator()(llama_batch* batch) const;
  };

  LlamaModelPtr model_;  // before the context, which it must outlive
  LlamaContextPtr context_;
  llama_memory_t memory_ = nullptr;
  const llama_vocab* vocab_ = nullptr;
  std::vector<llama_adapter_lora*> loras_;  // owned by the model
  std::string lora_marks_;                  // their names and fingerprints
  std::unique_ptr<llama_batch, BatchDeleter> batch_;
  int batch_capacity_ = 0;
  Staged staged_;
  bool can_move_ranges_ = true;
  bool can_stage_ = false;
  std::size_t block_bytes_ = 0;
  std::size_t bytes_per_token_ = 0;
  std::string model_hash_;
  std::uint64_t layout_hash_ = 0;
};

}  // namespace baton::adapters
