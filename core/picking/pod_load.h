#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <optional>

#include "core/picking/busy_time.h"
#include "core/picking/prefill_watch.h"
#include "core/picking/prompt_work.h"
#include "core/picking/sent_adapters.h"
#include "core/units.h"

namespace baton {

// What this router has in flight on one pod, exact and without age, and what was done there. Counts
// are written through LoadTicket and read by any thread with relaxed order.
struct alignas(64) PodLoad {
  // First what is read of a thousand pods for each request.
  std::atomic<int> in_flight{0};        // requests with work planned or running here
  std::atomic<int> waiting_prompts{0};  // to be computed here, or being computed
  std::atomic<int> running_decodes{0};  // requests that decode or will decode here
  std::atomic<bool> draining{false};    // takes nothing new; set by the operator
  std::atomic<std::int64_t> uncached_prefill_tokens{0};  // of the waiting prompts
  std::atomic<std::int64_t> waiting_pairs{0};  // of those: sum of (cached + uncached)² − cached²
  std::atomic<std::int64_t> reserved_kv_tokens{0};  // prompt plus expected answer of the running
  std::atomic<TimePoint> busy_since{};              // when the oldest prompt found it idle
  PrefillWatch prefills;                            // done here
  std::atomic<std::int64_t> computed_tokens{0};  // of prompts that are done, from the beginning on
  std::atomic<std::int64_t> computed_pairs{0};
  std::atomic<int> coming_decodes{0};      // of running_decodes, whose prompt is not computed yet
  std::atomic<int> consecutive_errors{0};  // failed legs since the last good one
  BusyTime prompt_time;                    // in which prompts waited or were computed
  SentAdapters adapters;                   // that requests sent here asked for

  // For how long the oldest prompt in flight here has been computed; none: nothing is, or nobody
  // can tell.
  [[nodiscard]] std::optional<double> computing_seconds(TimePoint now) const {
    if (waiting_prompts.load(std::memory_order_relaxed) == 0) return std::nullopt;
    const TimePoint since =
        std::max(busy_since.load(std::memory_order_relaxed), prefills.last_done());
    if (since == TimePoint{}) return std::nullopt;
    return std::max(0.0, to_seconds(now - since));
  }
  // Of the time, the share in which prompts are computed here and streams stand still; below 1.
  [[nodiscard]] double still_share(TimePoint now) const {
    constexpr double kMost = 0.9;
    return std::min(prefills.share(now), kMost);
  }
};

inline PromptWork PromptWork::waiting_at(const PodLoad& load) {
  const auto count = [](const auto& of) {
    return static_cast<double>(of.load(std::memory_order_relaxed));
  };
  return {count(load.waiting_prompts), count(load.uncached_prefill_tokens),
          count(load.waiting_pairs)};
}

// The PodLoad of every pod of the process, by PodEntry::index, which therefore has to be unique
// over all pools. Owned by the router, outlives every ticket. Any thread; reading takes no lock and
// a reference stays valid as long as the table.
class LoadTable {
 public:
  static constexpr std::uint32_t kMaxPods = 1U << 16;

  LoadTable() = default;
  LoadTable(const LoadTable&) = delete;
  LoadTable& operator=(const LoadTable&) = delete;
  ~LoadTable();

  // The load of a pod, made on first use. `index` below kMaxPods (asserted).
  [[nodiscard]] PodLoad& of(std::uint32_t index) {
    if (index >= kMaxPods) std::abort();  // the registry gives out no such index
    const std::uint32_t chunk_index = index / kChunkPods;
    Chunk* chunk = chunks_[chunk_index].load(std::memory_order_acquire);
    if (chunk == nullptr) chunk = grow(chunk_index);
    return (*chunk)[index % kChunkPods];
  }

  // Clears errors and the draining flag when an index is given to another pod. What is in flight is
  // returned by its tickets.
  void reset(std::uint32_t index);

 private:
  static constexpr std::uint32_t kChunkPods = 256;
  using Chunk = std::array<PodLoad, kChunkPods>;

  Chunk* grow(std::uint32_t chunk_index);

  std::mutex growing_;
  std::array<std::atomic<Chunk*>, kMaxPods / kChunkPods> chunks_{};
};

// One request's share of a pod's load: added on construction, returned exactly once, by finish(),
// by destruction or by being assigned to. Owned by the request's leg; not shared between threads.
// Who keeps a time of its own passes it, and calls finish() before destruction.
class LoadTicket {
 public:
  LoadTicket() = default;  // holds nothing
  [[nodiscard]] static LoadTicket for_prefill(PodLoad& load, Tokens uncached,
                                              Tokens cached = Tokens(0),
                                              TimePoint now = Clock::now());
  [[nodiscard]] static LoadTicket for_decode(PodLoad& load, Tokens kv);
  // One pod does both.
  [[nodiscard]] static LoadTicket for_decode_only(PodLoad& load, Tokens uncached, Tokens kv,
                                                  Tokens cached = Tokens(0),
                                                  TimePoint now = Clock::now());

  LoadTicket(LoadTicket&& other) noexcept;
  LoadTicket& operator=(LoadTicket&& other) noexcept;
  ~LoadTicket();

  [[nodiscard]] bool open() const { return load_ != nullptr; }
  // The prompt is computed: its uncached tokens no longer wait on this pod, which has done them.
  // Idempotent.
  void prefill_done(TimePoint now = Clock::now());
  // The prompt is computed, here or elsewhere: the stream begins. prefill_done() says it too.
  // Idempotent.
  void decode_begins();
  // Corrects the reserved KV once the prompt's true length is known. Only for tickets that decode.
  void set_kv(Tokens kv);
  // Idempotent; a prompt that is not done by then never will be.
  void finish(TimePoint now = Clock::now());

 private:
  void return_prompt(TimePoint now);
  LoadTicket(PodLoad& load, Tokens cached, Tokens uncached, Tokens kv, bool decodes, TimePoint now);

  PodLoad* load_ = nullptr;
  Tokens uncached_{0};
  std::int64_t pairs_ = 0;
  Tokens kv_{0};
  bool decodes_ = false;
  bool is_coming_ = false;
};

}  // namespace baton
