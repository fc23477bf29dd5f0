#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/engine_model/answer.h"
#include "core/engine_model/block_pool.h"
#include "core/engine_model/timing.h"
#include "core/units.h"

namespace baton::engine_model {

using SequenceId = std::uint64_t;

struct EngineModelOptions {
  std::int32_t blocks = 4096;
  Tokens block_tokens{16};
  int max_num_seqs = 256;           // sequences in one batch
  Tokens max_batched_tokens{8192};  // tokens in one step
  bool chunked_prefill = true;      // else a prompt is computed in one step, whatever the limit
  bool prefix_caching = true;
  int max_loras = 4;  // adapters resident at once; sequences of others wait
  LatencyProfile timing;
  AnswerVocabulary vocabulary;
};

// One answer that is wanted. The prompt is not empty.
struct SequenceSpec {
  std::vector<TokenId> prompt;
  std::string salt;
  std::string lora;  // empty: the base model
  int max_tokens = 16;
  int min_tokens = 0;  // no end of text or stop token before
  std::vector<TokenId> stop_tokens;
  bool ignore_end = false;
  AnswerStream::Sampling sampling;
  int top = 0;               // candidates wanted with each token
  bool wait_for_kv = false;  // the prompt's KV comes from another engine
  bool keep_blocks = false;  // at a finish by length or stop, until free_kept()
  // Blocks that wait for KV are kept at an abort too: someone may write into them yet.
  bool fetch_outlives_abort = false;
  // An answer of these tokens, then the end of text; asked once, with the KV's content. Null: the
  // answer is drawn.
  std::function<std::vector<TokenId>(std::uint64_t content)> script;
};

enum class Finish : std::uint8_t { kStop, kLength, kAbort, kError };

struct EngineEvent {
  enum class Kind : std::uint8_t {
    kWantsKv,   // blocks are ready for KV from elsewhere; wait_for_kv
    kToken,     // with the finish, at the last one
    kFinished,  // without a token: it could not run
  };
  Kind kind = Kind::kToken;
  SequenceId sequence = 0;
  TimePoint at;
  Candidate token;
  std::vector<Candidate> top;
  std::optional<Finish> finish;
  Tokens cached_tokens{0};  // prompt tokens whose KV was held or fetched; kWantsKv: held
  TimePoint scheduled_at;   // for the first time
};

// What is known of a sequence while it lives.
struct SequenceState {
  std::span<const BlockId> blocks;
  Tokens prompt_tokens;
  Tokens cached_tokens;  // prompt tokens whose KV was held or fetched when it was scheduled
  int made = 0;          // tokens of the answer
  std::uint64_t content = 0;
  std::optional<TimePoint> scheduled_at;
};

struct EngineLoad {
  int running = 0;
  int waiting = 0;   // deferred ones too
  int deferred = 0;  // of those: waiting for KV or for an adapter's place
  double kv_usage = 0.0;
  std::vector<std::string> running_loras;  // distinct, sorted
  std::vector<std::string> waiting_loras;
};

struct EngineCounts {
  std::int64_t steps = 0;
  std::int64_t preemptions = 0;
  std::int64_t prompt_tokens = 0;    // of sequences that were scheduled
  std::int64_t prompt_computed = 0;  // of those, by this engine
  std::int64_t generated_tokens = 0;
  std::int64_t prefix_queries = 0;  // tokens looked up in the prefix cache
  std::int64_t prefix_hits = 0;
  std::int64_t external_queries = 0;  // tokens wanted from elsewhere
  std::int64_t external_hits = 0;     // and received
};

// An engine with continuous batching in virtual time, after vLLM 0.32.0's scheduler
// (v1/core/sched/scheduler.py): running sequences first, one token each or a chunk of their prompt,
// then waiting ones in order, within the limits of sequences and tokens; where blocks run out, the
// newest running sequence is preempted and computed again. Pure: time is passed in, nothing is
// drawn. Owned by a mock pod or a simulator, on one thread.
class Engine {
 public:
  Engine(EngineModelOptions options, BlockEvents* sink);

  // Queues it. The id is the caller's, never used before.
  void submit(SequenceId id, SequenceSpec spec);
  // Ends it without a further event and frees its blocks, those that were kept before too. Unknown
  // ids are ignored.
  void abort(SequenceId id);
  // Answers kWantsKv: the whole prompt's KV is here, good for `content` (kv_content()).
  void kv_arrived(SequenceId id, std::uint64_t content);
  // Answers kWantsKv: compute the prompt here.
  void kv_missing(SequenceId id);

  // Ends the step that is over at `now`, if any, and begins the next one. Events are added to
  // `out`. Call again while next_event_time() <= now.
  void advance(TimePoint now, std::vector<EngineEvent>& out);
  // When advance() has something to do: TimePoint::min() means now, max() nothing until a call of
  // the other functions.
  [[nodiscard]] TimePoint next_event_time() const;

  [[nodiscard]] std::optional<SequenceState> find(SequenceId id) const;
  // Blocks of a finished sequence that were kept; empty: none are.
  [[nodiscard]] std::span<const BlockId> kept(SequenceId id) const;
  void free_kept(SequenceId id);

  [[nodiscard]] EngineLoad load() const;
  [[nodiscard]] const EngineCounts& counts() const { return counts_; }
  [[nodiscard]] const BlockPool& pool() const { return pool_; }
  [[nodiscard]] const EngineModelOptions& options() const { return options_; }
  // Forgets the prefix cache; false while anything holds a block.
  bool reset_prefix_cache() { return pool_.clear(); }
  [[nodiscard]] std::size_t live() const { return sequences_.size(); }
  // Adapters that are loaded, the one used longest ago first.
  [[nodiscard]] const std::vector<std::string>& resident_loras() const { return resident_; }

 private:
  enum class Place : std::uint8_t { kWaiting, kAwaitsKv, kRunning };
  struct Sequence {
    SequenceId id = 0;
    SequenceSpec spec;
    Place place = Place::kWaiting;
    bool kv_fetched = false;
    std::vector<TokenId> tokens;        // prompt, then the answer
    std::vector<std::uint64_t> hashes;  // of every full block of `tokens`
    std::vector<BlockId> blocks;
    std::size_t computed = 0;   // tokens whose KV is in `blocks`
    std::size_t published = 0;  // blocks
    std::int64_t cached = -1;   // prompt tokens found at the first scheduling; -1: not yet
    int made = 0;
    std::uint64_t content = 0;
    std::optional<AnswerStream> answer;
    std::vector<TokenId> script;
    std::optional<TimePoint> scheduled_at;
  };
  struct Scheduled {
    Sequence* sequence;  // null: aborted meanwhile
    std::size_t tokens;
  };

  void end_step(TimePoint now, std::vector<EngineEvent>& out);
  void begin_step(TimePoint now, std::vector<EngineEvent>& out);
  void schedule_running(std::size_t& budget);
  void schedule_waiting(TimePoint now, std::size_t& budget, std::vector<EngineEvent>& out);
  enum class Admission : std::uint8_t { kAdmitted, kDeferred, kNoRoom };
  Admission admit(Sequence& sequence, std::size_t& budget);
  Admission want_kv(SequenceId id, Sequence& sequence, TimePoint now,
                    std::vector<EngineEvent>& out);
  [[nodiscard]] std::optional<std::size_t> take_blocks(Sequence& sequence, std::size_t budget);
  [[nodiscard]] bool grow(Sequence& sequence, std::size_t tokens);
  [[nodiscard]] bool preempt_for(const Sequence& in_need);
  [[nodiscard]] bool adapter_fits(const std::string& lora) const;
  void use_adapter(const std::string& lora);
  void extend_hashes(Sequence& sequence) const;
  void publish(Sequence& sequence, std::size_t tokens);
  void give_token(Sequence& sequence, TimePoint now, std::vector<EngineEvent>& out);
  void remove(SequenceId id, bool keep);
  [[nodiscard]] Duration step_time() const;

  EngineModelOptions options_;
  BlockPool pool_;
  std::unordered_map<SequenceId, Sequence> sequences_;
  std::vector<Sequence*> running_;  // oldest first
  std::deque<SequenceId> waiting_;  // next first
  std::unordered_map<SequenceId, std::vector<BlockId>> kept_;
  std::vector<std::string> resident_;  // adapters, last used last
  std::vector<Scheduled> step_;
  std::vector<Scheduled> ended_step_;
  Duration adapter_time_{};  // of the step being made
  std::optional<TimePoint> step_end_;
  bool dirty_ = false;  // something changed since the last begin_step()
  EngineCounts counts_;
};

}  // namespace baton::engine_model
