#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/ids.h"
#include "core/pod.h"
#include "core/tokenizer.h"
#include "core/units.h"

namespace baton::kv {
class Node;
}

namespace baton::adapters {

struct LoraFile {
  std::string name;
  std::string path;
};

struct EngineOptions {
  std::string model_path;
  std::vector<LoraFile> loras;
  Role role = Role::kBoth;
  int max_running = 16;       // sequences decoded together
  Tokens max_context{0};      // of one sequence; 0: the model's training context (see kv_pool)
  Tokens kv_pool{0};          // cells of the unified cache; 0: max_context * 4, at most about 2 GiB
  Tokens prefill_chunk{256};  // prompt tokens per step, over all sequences; a multiple of `block`
  Tokens block{64};           // KV block: unit of prefix reuse and of hand-off; a multiple of 64
  Bytes block_store{256LL << 20};  // memory for finished blocks (the hand-off arena)
  // Blocks that decode steps computed are kept for reuse too. A second turn of a chat is quicker
  // then, but its logits differ in the last bits from those of a prompt computed anew.
  bool keep_generated = false;
  int threads = 1;        // 1 where cores are shared: ggml's threads spin
  std::string engine_id;  // default: pod name or listen address
};

// One alternative of a sampled position, for `logprobs`.
struct TokenLogprob {
  TokenId id = 0;
  float logprob = 0.0F;
};

struct SamplingParams {
  float temperature = 1.0F;  // 0: greedy
  float top_p = 1.0F;
  int top_k = 0;  // 0: off
  float min_p = 0.0F;
  std::optional<std::uint64_t> seed;
  int max_tokens = 16;  // at least 1
  bool ignore_eos = false;
  int logprobs = -1;  // alternatives per token, -1: none wanted
};

// The decode side of a hand-off: where the prompt's KV comes from.
struct HandoffSource {
  std::string kv_address;  // host:port of the prefill pod's control service
  std::string engine_id;   // expected there
  std::uint64_t epoch = 0;
  TransferId transfer_id;
};

struct EngineRequest {
  std::vector<TokenId> prompt;
  int lora = -1;  // index in EngineOptions::loras; -1: the base model
  SamplingParams sampling;
  std::string cache_salt;  // goes into the block hash; requests share a prefix only if equal
  std::optional<TransferId> publish;  // prefill leg: offer the prompt's KV under this id and stop
  std::optional<HandoffSource> receive;  // decode leg: take the prompt's KV from there
};

// Where the time of one request went; durations from submit() on, on this pod.
struct EngineTimes {
  Duration queue{};             // until the first step that worked on it
  Duration prefill{};           // computing prompt tokens here
  Duration exposed_transfer{};  // from the seal of the lease to the last block in place
  Duration first_step{};        // the step that made the first token
  Duration first_token{};       // submit() to first token
};

struct EngineUsage {
  int prompt_tokens = 0;
  int cached_tokens = 0;  // not computed by whoever ran the prefill
  int completion_tokens = 0;
  Bytes received_bytes{0};  // KV that came over
  int received_blocks = 0;
  int held_blocks = 0;    // not asked for: already here
  std::string transport;  // by which it came, empty: no hand-off
};

struct EngineToken {
  TokenId id = 0;
  std::string piece;  // bytes of the token; may end inside a UTF-8 character
  std::optional<float> logprob;
  std::vector<TokenLogprob> top;
};

enum class FinishReason : std::uint8_t { kStop, kLength };

// What one request gets back. All calls come from the engine thread, in order: any number of
// on_token, then exactly one of on_finish and on_error. They must not block; post elsewhere.
class EngineSink {
 public:
  virtual ~EngineSink() = default;
  virtual void on_token(EngineToken token) = 0;
  virtual void on_finish(FinishReason reason, EngineUsage usage, EngineTimes times) = 0;
  virtual void on_error(Error error, EngineUsage usage) = 0;
  // Facts of the hand-off and the times so far; called once, before the first on_token.
  virtual void on_first_token(const EngineUsage& usage, const EngineTimes& times) = 0;
};

using EngineRequestId = std::uint64_t;

// A counted moment of the engine, for /metrics; written by the engine thread, read by any.
struct EngineStats {
  std::atomic<int> running{0};
  std::atomic<int> waiting{0};
  std::atomic<std::int64_t> cells_total{0};     // tokens that the KV cache of the context holds
  std::atomic<std::int64_t> cells_reserved{0};  // of those, promised to admitted requests
  std::atomic<std::int64_t> blocks_total{0};    // slots of the block store (the arena)
  std::atomic<std::int64_t> blocks_used{0};     // holding KV of anything
  std::atomic<std::int64_t> blocks_pinned{0};   // held by a running request or a lease
  std::atomic<std::int64_t> prompt_tokens{0};
  std::atomic<std::int64_t> cached_tokens{0};
  std::atomic<std::int64_t> generated_tokens{0};
  std::atomic<std::int64_t> steps{0};
  std::atomic<std::int64_t> requests_cancelled{0};
};

// What a hand-off service needs to know of the engine that it serves.
struct NodeNeeds {
  EngineFacts facts;  // all but kv_address
  Bytes slot_bytes{0};
  int slots = 0;                               // of the arena
  std::function<void(int slots)> on_shortage;  // for NodeOptions; any thread, never blocks
};

// Starts the pod's Node once the model is known: block size and layout follow from it. The Node
// outlives the engine.
using StartNode = std::function<Result<kv::Node*>(const NodeNeeds& needs)>;

// The embedded engine: continuous batching over one libllama context on a thread of its own.
// Owned by the pod; start() and the destructor run on the owner's thread, the other functions may
// be called from any. Each submitted request ends exactly once through its sink; a cancelled one
// ends within one step with ErrorCode::kCancelled.
class Engine {
 public:
  // Loads model and adapters (seconds), then has the Node started; without `start_node` there is no
  // hand-off. Errors: kInvalidArgument with the file and the reason, stage kConfig, and whatever
  // `start_node` returns.
  [[nodiscard]] static Result<std::unique_ptr<Engine>> start(EngineOptions options,
                                                             StartNode start_node = {});
  virtual ~Engine() = default;

  virtual EngineRequestId submit(EngineRequest request, std::shared_ptr<EngineSink> sink) = 0;
  virtual void cancel(EngineRequestId id) = 0;

  [[nodiscard]] virtual const EngineOptions& options() const = 0;
  [[nodiscard]] virtual const EngineFacts& facts() const = 0;
  [[nodiscard]] virtual const EngineStats& stats() const = 0;
  // Adapters with a running or waiting request, by name.
  [[nodiscard]] virtual std::pair<std::vector<std::string>, std::vector<std::string>>
  running_and_waiting_loras() const = 0;
};

}  // namespace baton::adapters
