#include "adapters/engines/llama_cpp/engine_options.h"

#include <fmt/format.h>

#include "adapters/engines/llama_cpp/step_scheduler.h"

namespace baton::adapters {
namespace {

// libllama takes sequence ids below LLAMA_MAX_SEQ; one of them moves KV.
constexpr int kMaxRunning = 255;

std::unexpected<Error> refuse(const char* option, std::string message) {
  return fail(ErrorCode::kInvalidArgument, Stage::kConfig, std::move(message), false, option);
}

}  // namespace

Result<void> check_options(const EngineOptions& options) {
  const auto block = options.block.count();
  const auto chunk = options.prefill_chunk.count();
  if (options.model_path.empty()) return refuse("model", "no model file was given");
  if (options.max_running < 1 || options.max_running > kMaxRunning) {
    return refuse("max_running", fmt::format("max_running is {}; it must be between 1 and {}",
                                             options.max_running, kMaxRunning));
  }
  if (block < kAttentionTile || block % kAttentionTile != 0) {
    return refuse("block", fmt::format("block is {} tokens; it must be a multiple of {}", block,
                                       kAttentionTile));
  }
  if (chunk < block || chunk % block != 0) {
    return refuse("prefill_chunk",
                  fmt::format("prefill_chunk is {} tokens; it must be a multiple of block ({})",
                              chunk, block));
  }
  if (options.threads < 1) {
    return refuse("threads", fmt::format("threads is {}; it must be at least 1", options.threads));
  }
  if (options.max_context.count() < 0 || options.kv_pool.count() < 0) {
    return refuse("max_context", "max_context and kv_pool must not be negative");
  }
  if (options.kv_pool.count() > 0 && options.kv_pool < options.max_context) {
    return refuse("kv_pool",
                  fmt::format("kv_pool ({} tokens) must hold one max_context ({} tokens)",
                              options.kv_pool.count(), options.max_context.count()));
  }
  if (options.block_store.count() <= 0) return refuse("block_store", "block_store must not be 0");
  return {};
}

}  // namespace baton::adapters
