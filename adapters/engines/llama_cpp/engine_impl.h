#pragma once

#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "adapters/engines/llama_cpp/block_cache.h"
#include "adapters/engines/llama_cpp/engine.h"
#include "adapters/engines/llama_cpp/engine_queue.h"
#include "adapters/engines/llama_cpp/llama_runtime.h"
#include "adapters/engines/llama_cpp/sequence.h"
#include "adapters/engines/llama_cpp/step_scheduler.h"

namespace baton::adapters {

// The engine thread and all that lives on it. One turn of its loop: take commands, admit what
// fits, put arrived blocks in place, compute one step, tell the sinks, store finished blocks.
// engine.cc has the owner's side, engine_loop.cc the turn, engine_blocks.cc prefix reuse,
// engine_handoff.cc both sides of a hand-off.
class EngineImpl final : public Engine {
 public:
  EngineImpl(EngineOptions options, LlamaRuntime runtime, EngineFacts facts,
             std::shared_ptr<EngineQueue> queue, kv::Node* node,
             std::unique_ptr<kv::BlockArena> own_arena);
  ~EngineImpl() override;

  EngineRequestId submit(EngineRequest request, std::shared_ptr<EngineSink> sink) override;
  void cancel(EngineRequestId id) override;
  [[nodiscard]] const EngineOptions& options() const override { return options_; }
  [[nodiscard]] const EngineFacts& facts() const override { return facts_; }
  [[nodiscard]] const EngineStats& stats() const override;
  [[nodiscard]] std::pair<std::vector<std::string>, std::vector<std::string>>
  running_and_waiting_loras() const override;

 private:
  using SequencePtr = std::unique_ptr<Sequence>;

  // engine_loop.cc
  void run();
  [[nodiscard]] std::optional<Duration> patience() const;
  void handle(EngineCommand& command);
  void make_room(int slots);
  void accept(SubmitCommand command);
  [[nodiscard]] Result<void> check(const EngineRequest& request) const;
  void admit();
  [[nodiscard]] bool has_room(const Sequence& sequence) const;
  [[nodiscard]] int cells_needed(const Sequence& sequence) const;
  void begin(Sequence& sequence);
  void run_step();
  void after_prefill(Sequence& sequence, int tokens, Duration took);
  void after_decode(Sequence& sequence, std::span<float> logits, Duration took);
  [[nodiscard]] EngineToken make_token(Sequence& sequence, std::span<float> logits);
  void finish(Sequence& sequence, FinishReason reason);
  void fail_sequence(Sequence& sequence, Error error);
  void forget(Sequence& sequence);  // destroys it
  void stop_all();
  void update_stats();

  // engine_blocks.cc
  void extend_chain(Sequence& sequence, int tokens) const;
  [[nodiscard]] std::uint64_t hash_of_tail(const Sequence& sequence) const;
  [[nodiscard]] std::vector<std::uint64_t> held_prefix(Sequence& sequence) const;
  void import_held(Sequence& sequence, std::span<const std::uint64_t> hashes);
  [[nodiscard]] Result<StoredBlock> store_range(const Sequence& sequence, int first, int count,
                                                int ahead, std::uint64_t hash);
  void store_blocks(Sequence& sequence, int limit);

  // engine_handoff.cc
  void begin_publish(Sequence& sequence);
  void publish_computed(Sequence& sequence);
  void wait_for_slots(Sequence& sequence, const Error& error);
  void publish_waiting();
  [[nodiscard]] int slots_needed(const Sequence& sequence) const;
  [[nodiscard]] bool has_slots_for(const Sequence& sequence) const;
  void begin_receive(Sequence& sequence);
  void take_block(const BlockArrived& arrived);
  void import_arrived(Sequence& sequence);
  [[nodiscard]] bool import_block(Sequence& sequence, const kv::BlockDescriptor& block);
  void end_receive(const ReceiveEnded& ended);
  void give_back(const kv::BlockDescriptor& block);
  void abandon_handoff(Sequence& sequence, const Error& reason);

  [[nodiscard]] Sequence* find(EngineRequestId id);

  const EngineOptions options_;
  const EngineFacts facts_;
  mutable EngineStats stats_;  // stats() looks at the arena anew
  const std::shared_ptr<EngineQueue> queue_;
  std::atomic<EngineRequestId> next_id_{1};

  // Engine thread only, from here on.
  LlamaRuntime runtime_;
  kv::Node* const node_;
  const std::unique_ptr<kv::BlockArena> own_arena_;  // where there is no node
  kv::BlockArena& arena_;
  BlockCache blocks_;
  StepScheduler scheduler_;
  std::mt19937_64 rng_;
  const int block_;
  std::vector<TokenId> end_tokens_;  // that end a generation
  std::map<EngineRequestId, SequencePtr> sequences_;
  std::deque<EngineRequestId> waiting_;
  std::vector<int> free_slots_;  // sequence ids of the context; the lowest is taken first
  int cells_reserved_ = 0;
  bool stopping_ = false;

  mutable std::mutex loras_mutex_;
  std::vector<std::string> running_loras_;
  std::vector<std::string> waiting_loras_;

  std::thread thread_;
};

}  // namespace baton::adapters
