#include "core/picking/prefix_index.h"

#include <algorithm>
#include <bit>

#include "core/picking/pod_load.h"

namespace baton {

using namespace holder_word;

namespace {

constexpr std::size_t kShardBytes = 256 << 10;  // so that looking for the oldest takes microseconds
constexpr std::size_t kMaxShards = 1 << 16;
constexpr std::size_t kLeastShardBytes = 1 << 10;
constexpr std::size_t kLineWords = 8;
constexpr std::size_t kAhead = 20;  // elements whose memory is asked for before they are needed

// Time in steps of 10 ms.
std::uint64_t tick_of(TimePoint time) {
  const auto steps =
      std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count() / 10;
  constexpr auto kLast = static_cast<std::int64_t>(kLastTick) - 1;
  return static_cast<std::uint64_t>(std::clamp<std::int64_t>(steps, 0, kLast));
}

// By last use, and among those of one tick the deeper the older.
std::uint64_t stamp_of(std::uint64_t tick, std::size_t depth) {
  constexpr std::size_t kDeepest = 0xFFFF;
  return tick << 16 | (kDeepest - std::min(depth, kDeepest));
}

// Chain hashes come from XXH3, but a caller's need not; 0 marks an empty slot.
std::uint64_t mixed(std::uint64_t hash) {
  const std::uint64_t product = (hash ^ (hash >> 32)) * 0x9E3779B97F4A7C15;
  return product == 0 ? 1 : product;
}

}  // namespace

PrefixIndex::PrefixIndex(Bytes memory) : memory_bound_(memory) {
  const auto bytes = static_cast<std::size_t>(std::max<std::int64_t>(memory.count(), 0));
  const std::size_t shards =
      std::bit_floor(std::clamp<std::size_t>(bytes / kShardBytes, 1, kMaxShards));
  const std::size_t each = bytes / shards;
  if (each < sizeof(PrefixShard) + kLeastShardBytes) return;
  const std::size_t words = (each - sizeof(PrefixShard)) / sizeof(Word) / kLineWords * kLineWords;
  memory_ = ZeroedWords(words * shards);
  shards_ = std::make_unique<PrefixShard[]>(shards);
  for (std::size_t i = 0; i < shards; ++i) shards_[i].use({memory_.begin() + i * words, words});
  shard_count_ = shards;
}

PrefixIndex::~PrefixIndex() = default;

PrefixShard& PrefixIndex::shard_of(std::uint64_t hash) const {
  // The upper bits, since a shard places its elements by the lower ones.
  return shards_[(hash >> 32) * shard_count_ >> 32];
}

void PrefixIndex::prefetch(std::span<const std::uint64_t> chain, std::size_t at) const {
  if (at >= chain.size()) return;
  const std::uint64_t hash = mixed(chain[at]);
  shard_of(hash).prefetch(hash);
}

// The latest time that anybody told: when the clock jumps back, uses are ordered as if it stood.
std::uint64_t PrefixIndex::latest_tick(std::uint64_t now_tick) const {
  std::uint64_t latest = latest_tick_.load(std::memory_order_relaxed);
  while (latest < now_tick &&
         !latest_tick_.compare_exchange_weak(latest, now_tick, std::memory_order_relaxed)) {
  }
  return std::max(latest, now_tick);
}

void PrefixIndex::hold(std::span<const std::uint64_t> chain, std::uint32_t pod, TimePoint now,
                       std::uint64_t until_tick) {
  if (pod >= LoadTable::kMaxPods || shard_count_ == 0) return;
  std::uint32_t incarnation = incarnations_.of(pod);
  if (incarnation == Incarnations::kNone) incarnation = incarnations_.give(pod);
  if (incarnation == Incarnations::kNone) {
    start_anew();
    incarnation = incarnations_.give(pod);
  }
  const std::uint64_t now_tick = tick_of(now);
  const std::uint64_t used = latest_tick(now_tick);
  for (std::size_t i = 0; i < kAhead; ++i) prefetch(chain, i);
  for (std::size_t i = 0; i < chain.size(); ++i) {
    prefetch(chain, i + kAhead);
    const std::uint64_t hash = mixed(chain[i]);
    const std::uint64_t stamp = stamp_of(used, i);
    PrefixShard& shard = shard_of(hash);
    if (shard.touch_known(hash, incarnation, until_tick, stamp)) continue;
    shard.hold(hash, pod, until_tick, stamp, now_tick, incarnations_);
  }
}

// Incarnations ran out. Once closed, no shard learns of any; those that are cleared stay so.
void PrefixIndex::start_anew() {
  const std::lock_guard lock(starting_anew_);
  if (incarnations_.open()) return;
  incarnations_.close();
  for (std::size_t i = 0; i < shard_count_; ++i) shards_[i].clear();
  incarnations_.reopen();
}

void PrefixIndex::believe(std::span<const std::uint64_t> chain, std::uint32_t pod, TimePoint now,
                          TimePoint until) {
  hold(chain, pod, now, tick_of(until));
}

void PrefixIndex::confirm(std::span<const std::uint64_t> chain, std::uint32_t pod, TimePoint now) {
  hold(chain, pod, now, PrefixShard::kConfirmed);
}

void PrefixIndex::retract(std::span<const std::uint64_t> elements, std::uint32_t pod) {
  if (pod >= LoadTable::kMaxPods || shard_count_ == 0) return;
  const std::uint32_t incarnation = incarnations_.of(pod);
  if (incarnation == Incarnations::kNone) return;
  for (std::size_t i = 0; i < kAhead; ++i) prefetch(elements, i);
  for (std::size_t i = 0; i < elements.size(); ++i) {
    prefetch(elements, i + kAhead);
    const std::uint64_t hash = mixed(elements[i]);
    shard_of(hash).retract(hash, incarnation);
  }
}

void PrefixIndex::forget_pod(std::uint32_t pod) {
  if (pod < LoadTable::kMaxPods) incarnations_.forget(pod);
}

// Follows every holder, asked for or not: a prompt that comes is in use wherever it is held.
void PrefixIndex::follow(std::span<const std::uint64_t> chain, TimePoint now,
                         PrefixMatch& match) const {
  match.begin();
  if (shard_count_ == 0) return;
  const std::uint64_t now_tick = tick_of(now);
  const std::uint64_t used = latest_tick(now_tick);
  for (std::size_t i = 0; i < kAhead; ++i) prefetch(chain, i);
  std::uint32_t depth = 0;
  for (; depth < chain.size(); ++depth) {
    prefetch(chain, depth + kAhead);
    const std::uint64_t hash = mixed(chain[depth]);
    PrefixShard& shard = shard_of(hash);
    const std::size_t slot = shard.read(hash, [&](const PrefixShard::Holders& holders) {
      if (depth == 0) match.start(holders, now_tick, incarnations_);
      match.stay(holders, now_tick);
    });
    if (slot == PrefixShard::kNowhere || !match.settle_others(depth)) break;
    shard.touch(slot, stamp_of(used, depth));
  }
  match.settle_all(depth);
}

std::vector<std::uint32_t> PrefixIndex::match(std::span<const std::uint64_t> chain,
                                              std::span<const std::uint32_t> pods,
                                              TimePoint now) const {
  PrefixMatch match;
  follow(chain, now, match);
  std::vector<std::uint32_t> depths;
  for (const std::uint32_t pod : pods) depths.push_back(depth(pod, match));
  return depths;
}

std::size_t PrefixIndex::elements() const {
  std::size_t sum = 0;
  for (std::size_t i = 0; i < shard_count_; ++i) sum += shards_[i].elements();
  return sum;
}

Bytes PrefixIndex::memory_used() const {
  std::size_t sum = 0;
  for (std::size_t i = 0; i < shard_count_; ++i) sum += shards_[i].bytes_used();
  return Bytes(static_cast<std::int64_t>(sum));
}

Bytes PrefixIndex::memory_bound() const { return memory_bound_; }

std::uint64_t PrefixIndex::evictions() const {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < shard_count_; ++i) sum += shards_[i].evictions();
  return sum;
}

}  // namespace baton
