#pragma once

#include <cstdint>
#include <string>

#include "core/error.h"

namespace baton::adapters {

struct MadeModel {
  std::string model_path;
  std::string lora_path;
};

// Writes a small random Llama model (`model.gguf`: 4 layers of 256, 8 heads, 4 KV heads, context
// 16,384, 2 KiB of f16 KV a token, byte-level BPE, ChatML template) and a LoRA adapter for it
// (`lora.gguf`) into `directory`, which is created. The same seed gives the same bytes on every
// machine. Attention and feed-forward weights are random, so every prompt token bears on every
// answer; the output matrix holds a grammar of parts of speech, so that answers read as sentences,
// and its scale keeps the best two logits apart by 1 or more at the median.
// Errors: kInvalidArgument, stage kConfig, naming the path.
[[nodiscard]] Result<MadeModel> make_model(const std::string& directory, std::uint64_t seed);

}  // namespace baton::adapters
