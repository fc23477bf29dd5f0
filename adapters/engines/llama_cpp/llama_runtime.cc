#include "adapters/engines/llama_cpp/llama_runtime.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>
#include <utility>

#include "adapters/engines/llama_cpp/fingerprint.h"
#include "core/log.h"
#include "kv_transfer/layout.h"

namespace baton::adapters {
namespace {

constexpr std::int64_t kDefaultPoolBytes = 2LL << 30;
constexpr std::int64_t kCellGrain =
    256;                           // libllama pads the part of the cache that it reads to this
constexpr int kMostStaged = 1024;  // tokens

std::unexpected<Error> bad_model(const std::string& path, std::string_view reason) {
  return fail(ErrorCode::kInvalidArgument, Stage::kConfig, fmt::format("{}: {}", path, reason),
              false, "model");
}

std::int64_t round_up(std::int64_t n, std::int64_t grain) {
  return (n + grain - 1) / grain * grain;
}

// f16 K and V of one token; exact for plain attention, and near enough to size a pool by.
std::int64_t estimate_bytes_per_token(const llama_model* model) {
  const std::int64_t head = llama_model_n_embd(model) / std::max(1, llama_model_n_head(model));
  return std::max<std::int64_t>(
      1, 4 * head * llama_model_n_head_kv(model) * llama_model_n_layer(model));
}

}  // namespace

void LlamaRuntime::BatchDeleter::operator()(llama_batch* batch) const {
  llama_batch_free(*batch);
  delete batch;
}

Result<LlamaRuntime> LlamaRuntime::load(EngineOptions& options) {
  init_llama();
  LlamaRuntime runtime;
  if (auto done = runtime.load_model(options); !done) return std::unexpected(done.error());
  if (auto done = runtime.load_loras(options); !done) return std::unexpected(done.error());
  if (auto done = runtime.create_context(options); !done) return std::unexpected(done.error());
  if (auto done = runtime.measure_blocks(options); !done) return std::unexpected(done.error());
  return runtime;
}

Result<void> LlamaRuntime::load_model(const EngineOptions& options) {
  auto fingerprint = fingerprint_of_gguf(options.model_path);
  if (!fingerprint) return std::unexpected(fingerprint.error());
  model_hash_ = *std::move(fingerprint);

  llama_model_params params = llama_model_default_params();
  params.n_gpu_layers = 0;
  LlamaComplaints complaints;
  model_.reset(llama_model_load_from_file(options.model_path.c_str(), params));
  if (model_ == nullptr) return bad_model(options.model_path, complaints.take_reason());
  vocab_ = llama_model_get_vocab(model_.get());
  if (!llama_model_has_decoder(model_.get()) || llama_model_has_encoder(model_.get()) ||
      llama_model_is_diffusion(model_.get())) {
    return bad_model(options.model_path, "not a decoder-only language model");
  }
  can_move_ranges_ =
      !llama_model_is_recurrent(model_.get()) && !llama_model_is_hybrid(model_.get());
  if (!can_move_ranges_ && options.role != Role::kBoth) {
    return bad_model(options.model_path,
                     "a recurrent or hybrid model keeps one state per sequence, which cannot be "
                     "handed off by blocks; use role both");
  }
  return {};
}

Result<void> LlamaRuntime::load_loras(const EngineOptions& options) {
  std::set<std::string> marks;
  for (const LoraFile& lora : options.loras) {
    auto fingerprint = fingerprint_of_gguf(lora.path);
    if (!fingerprint) {
      Error error = fingerprint.error();
      error.param = "lora";
      return std::unexpected(std::move(error));
    }
    marks.insert(lora.name + "=" + *fingerprint);
    llama_adapter_lora* adapter = llama_adapter_lora_init(model_.get(), lora.path.c_str());
    if (adapter == nullptr) {
      return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
                  fmt::format("{}: not a LoRA adapter for {} (see the log above)", lora.path,
                              options.model_path),
                  false, "lora");
    }
    loras_.push_back(adapter);
  }
  lora_marks_ = fmt::format("{}", fmt::join(marks, ","));
  return {};
}

Result<void> LlamaRuntime::create_context(EngineOptions& options) {
  const std::int64_t affordable =
      std::max(kCellGrain, kDefaultPoolBytes / estimate_bytes_per_token(model_.get()));
  if (options.max_context.count() == 0) {
    const std::int64_t trained = llama_model_n_ctx_train(model_.get());
    const std::int64_t room = options.kv_pool.count() > 0 ? options.kv_pool.count() : affordable;
    options.max_context = Tokens(std::min(trained, room));
    if (options.max_context.count() < trained) {
      log(LogLevel::kInfo, "context shortened to fit the KV pool",
          {{"max_context", options.max_context.count()}, {"trained", trained}});
    }
  }
  if (options.kv_pool.count() == 0) {
    // A prefill pod computes one prompt after the other: two are enough to keep it busy, and every
    // look through the cache is as long as the pool.
    const int contexts = options.role == Role::kPrefill ? 2 : 4;
    options.kv_pool = Tokens(std::max(
        options.max_context.count(), std::min(options.max_context.count() * contexts, affordable)));
  }
  options.kv_pool = Tokens(round_up(options.kv_pool.count(), kCellGrain));

  llama_context_params params = llama_context_default_params();
  params.n_ctx = static_cast<std::uint32_t>(options.kv_pool.count());
  // One step is one micro-batch, so that what is computed together is what the scheduler chose.
  batch_capacity_ = static_cast<int>(options.prefill_chunk.count()) + options.max_running;
  params.n_batch = static_cast<std::uint32_t>(batch_capacity_);
  params.n_ubatch = params.n_batch;
  params.n_seq_max = static_cast<std::uint32_t>(options.max_running + 1);
  params.n_outputs_max = params.n_seq_max;
  params.n_threads = options.threads;
  params.n_threads_batch = options.threads;
  params.flash_attn_type = LLAMA_FLASH_ATTN_TYPE_ENABLED;  // V is not transposed: rows can move
  params.kv_unified = true;  // else a range cannot be copied between sequences
  params.swa_full = true;    // else old blocks of sliding-window layers are gone
  params.no_perf = true;
  context_.reset(llama_init_from_model(model_.get(), params));
  if (context_ == nullptr) {
    return bad_model(options.model_path,
                     fmt::format("no context of {} tokens could be made (memory?); lower kv_pool",
                                 options.kv_pool.count()));
  }
  memory_ = llama_get_memory(context_.get());
  if (memory_ == nullptr) return bad_model(options.model_path, "the model keeps no KV cache");
  batch_.reset(new llama_batch(llama_batch_init(batch_capacity_, 0, 1)));
  return {};
}

// Runs one block through the model: that warms it up and tells what a block takes.
Result<void> LlamaRuntime::measure_blocks(const EngineOptions& options) {
  const int block = static_cast<int>(options.block.count());
  std::vector<BatchToken> tokens;
  for (int i = 0; i < block; ++i) tokens.push_back({0, i, 1, i + 1 == block});
  if (auto done = decode(tokens, -1); !done)
    return bad_model(options.model_path, "a test run failed");
  if (can_move_ranges_) {
    llama_memory_seq_cp(memory_, 1, kScratch, 0, 1);
    const std::size_t one = llama_state_seq_get_size(context_.get(), kScratch);
    block_bytes_ = llama_state_seq_get_size(context_.get(), 1);
    bytes_per_token_ = (block_bytes_ - one) / static_cast<std::size_t>(block - 1);
    stage(1, 0, block);
    can_stage_ = staged_.blob.has_value();
    if (const int window = llama_model_n_swa(model_.get()); window > 0 && window < block) {
      return bad_model(options.model_path,
                       fmt::format("its sliding window of {} tokens is shorter than a block ({})",
                                   window, block));
    }
  }
  drop_all();

  const kv::KvLayout layout{
      .engine = fmt::format("llama-state/{}", LLAMA_STATE_SEQ_VERSION),
      .model = model_hash_,
      .key_type = "f16",
      .value_type = "f16",
      .order = "kv,layer,token,head",
      .flash_attention = true,
      .unified = true,
      .layers = llama_model_n_layer(model_.get()),
      .kv_heads = llama_model_n_head_kv(model_.get()),
      .key_dim = llama_model_n_embd(model_.get()) / std::max(1, llama_model_n_head(model_.get())),
      .value_dim = llama_model_n_embd(model_.get()) / std::max(1, llama_model_n_head(model_.get())),
      .block_tokens = block,
      // A block is named by its tokens and its adapter's name: the name must mean the same weights.
      .extra = fmt::format("llama.cpp {};block bytes {};loras {}", llama_version(), block_bytes_,
                           lora_marks_),
  };
  layout_hash_ = layout.hash();
  return {};
}

void LlamaRuntime::select_lora(int lora) {
  if (lora < 0) {
    llama_set_adapters_lora(context_.get(), nullptr, 0, nullptr);
    return;
  }
  float scale = 1.0F;
  llama_set_adapters_lora(context_.get(), &loras_[static_cast<std::size_t>(lora)], 1, &scale);
}

Result<void> LlamaRuntime::decode(std::span<const BatchToken> batch, int lora) {
  staged_.sequence = -1;
  select_lora(lora);
  llama_batch& out = *batch_;
  out.n_tokens = 0;
  for (const BatchToken& token : batch) {
    const int i = out.n_tokens++;
    out.token[i] = token.id;
    out.pos[i] = token.position;
    out.n_seq_id[i] = 1;
    out.seq_id[i][0] = token.sequence;
    out.logits[i] = token.wants_logits ? 1 : 0;
  }
  const int status = llama_decode(context_.get(), out);
  if (status == 0) return {};
  log(LogLevel::kError, "llama_decode failed", {{"status", status}, {"tokens", out.n_tokens}});
  return fail(ErrorCode::kInternal, Stage::kDecode,
              fmt::format("the engine failed to compute a step (llama_decode: {})", status), true);
}

std::span<float> LlamaRuntime::logits(int index) {
  return {llama_get_logits_ith(context_.get(), index), static_cast<std::size_t>(vocab_size())};
}

std::size_t LlamaRuntime::export_range(int sequence, int first, int count, int ahead,
                                       std::span<std::byte> out) {
  if (!is_staged(sequence, first, count)) {
    const bool refused = staged_.sequence == sequence && !staged_.blob;  // since the last change
    if (ahead > count && can_stage_ && !refused) {
      stage(sequence, first, std::min(ahead, kMostStaged));
    }
    if (!is_staged(sequence, first, count)) return export_alone(sequence, first, count, out);
  }
  return staged_.blob->copy_rows(first - staged_.first, count, out);
}

bool LlamaRuntime::is_staged(int sequence, int first, int count) const {
  return staged_.sequence == sequence && staged_.blob && first >= staged_.first &&
         first + count <= staged_.first + staged_.blob->rows();
}

void LlamaRuntime::stage(int sequence, int first, int count) {
  const auto blocks = static_cast<std::size_t>(count) * bytes_per_token_ + block_bytes_;
  if (staged_.bytes.size() < blocks) staged_.bytes.resize(blocks);
  const std::span<std::byte> bytes(staged_.bytes);
  const std::size_t size = export_alone(sequence, first, count, bytes);
  staged_.sequence = sequence;
  staged_.first = first;
  staged_.blob = StateBlob::parse(bytes.first(size));
}

std::size_t LlamaRuntime::export_alone(int sequence, int first, int count,
                                       std::span<std::byte> out) {
  const std::size_t block_tail = bytes_per_token_ * static_cast<std::size_t>(count);
  llama_memory_seq_cp(memory_, sequence, kScratch, first, first + count);
  const std::size_t size = llama_state_seq_get_data(
      context_.get(), reinterpret_cast<std::uint8_t*>(out.data()), out.size(), kScratch);
  llama_memory_seq_rm(memory_, kScratch, -1, -1);
  return size >= block_tail ? size : 0;
}

bool LlamaRuntime::import_range(int sequence, int first, int count,
                                std::span<const std::byte> blob) {
  if (llama_memory_seq_pos_max(memory_, sequence) != first - 1) return false;
  const std::size_t read = llama_state_seq_set_data(
      context_.get(), reinterpret_cast<const std::uint8_t*>(blob.data()), blob.size(), kScratch);
  const bool fits = read == blob.size() && llama_memory_seq_pos_min(memory_, kScratch) == first &&
                    llama_memory_seq_pos_max(memory_, kScratch) == first + count - 1;
  if (fits) llama_memory_seq_cp(memory_, kScratch, sequence, -1, -1);
  llama_memory_seq_rm(memory_, kScratch, -1, -1);
  return fits;
}

void LlamaRuntime::drop(int sequence) {
  staged_.sequence = -1;
  llama_memory_seq_rm(memory_, sequence, -1, -1);
}

void LlamaRuntime::drop_all() {
  staged_.sequence = -1;
  llama_memory_clear(memory_, false);
}

std::string LlamaRuntime::piece(TokenId id) const {
  std::string text(32, '\0');
  int size = llama_token_to_piece(vocab_, id, text.data(), static_cast<int>(text.size()), 0, false);
  if (size < 0) {
    text.resize(static_cast<std::size_t>(-size));
    size = llama_token_to_piece(vocab_, id, text.data(), static_cast<int>(text.size()), 0, false);
  }
  text.resize(static_cast<std::size_t>(std::max(size, 0)));
  return text;
}

}  // namespace baton::adapters
