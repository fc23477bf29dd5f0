#include "core/picking/prefix_index.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <mutex>
#include <new>
#include <shared_mutex>

#include "core/picking/pod_load.h"

namespace baton {
namespace {

constexpr std::size_t kShards = 64;
constexpr std::size_t kFewHolders = 4;
constexpr std::uint32_t kConfirmed = std::numeric_limits<std::uint32_t>::max();
constexpr std::size_t kEvictionSample = 8;

// Time in steps of 10 ms, compared modulo 2^32 (497 days).
std::uint32_t tick_of(TimePoint time) {
  const auto steps =
      std::chrono::duration_cast<std::chrono::milliseconds>(time.time_since_epoch()).count() / 10;
  const auto tick = static_cast<std::uint32_t>(steps);
  return tick == kConfirmed ? kConfirmed - 1 : tick;
}

bool is_later(std::uint32_t a, std::uint32_t b) { return static_cast<std::int32_t>(a - b) > 0; }

// Chain hashes come from XXH3, but a caller's need not; 0 marks an empty slot.
std::uint64_t mixed(std::uint64_t hash) {
  const std::uint64_t product = (hash ^ (hash >> 32)) * 0x9E3779B97F4A7C15;
  return product == 0 ? 1 : product;
}

}  // namespace

struct PrefixIndex::Holder {
  std::uint16_t pod;
  std::uint16_t generation;
  std::uint32_t until;  // tick, or kConfirmed

  [[nodiscard]] bool is_valid(const std::atomic<std::uint16_t>* generations,
                              std::uint32_t now) const {
    return generation == generations[pod].load(std::memory_order_relaxed) &&
           (until == kConfirmed || is_later(until, now));
  }
};

// One hash with its pods: up to four in place, more in an array of its own. Plain data, so that a
// table of them can be zero pages until it is used.
struct PrefixIndex::Element {
  std::uint64_t hash;  // mixed; 0: empty slot
  std::uint32_t used;  // tick; readers under a shared lock write it through atomic_ref
  std::uint16_t count;
  std::uint16_t capacity;  // of `many`; 0: `few` is in use
  union {
    Holder few[kFewHolders];
    Holder* many;
  };

  [[nodiscard]] std::span<Holder> holders() { return {capacity == 0 ? few : many, count}; }
  [[nodiscard]] std::size_t many_bytes() const { return capacity * sizeof(Holder); }
};

// Open addressing with linear probing and backward-shift deletion; a fixed number of slots. A
// quarter of the memory is for holders beyond four.
class PrefixIndex::Shard {
 public:
  ~Shard() {
    for (std::size_t i = 0; i < slots_; ++i) free_many(table_[i]);
    std::free(table_);
  }
  Shard() = default;
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  void allocate(std::size_t bytes) {
    static_assert(sizeof(Element) == 48);
    slots_ = std::max<std::size_t>(bytes / 4 * 3 / sizeof(Element), 2 * kEvictionSample);
    max_elements_ = slots_ / 5 * 4;
    max_many_bytes_ = bytes / 4;
    table_ = static_cast<Element*>(std::calloc(slots_, sizeof(Element)));
    if (table_ == nullptr) throw std::bad_alloc();
  }

  void hold(std::uint64_t hash, Holder holder, std::uint32_t now,
            const std::atomic<std::uint16_t>* generations) {
    const std::unique_lock lock(mutex_);
    Element* element = find(hash);
    if (element == nullptr) element = &insert(hash);
    element->used = now;
    for (Holder& known : element->holders()) {
      if (known.pod != holder.pod || known.generation != holder.generation) continue;
      if (known.until != kConfirmed &&
          (holder.until == kConfirmed || is_later(holder.until, known.until))) {
        known.until = holder.until;
      }
      return;
    }
    drop_invalid(*element, now, generations);
    append(*element, holder);
  }

  void retract(std::uint64_t hash, std::uint16_t pod) {
    const std::unique_lock lock(mutex_);
    Element* element = find(hash);
    if (element == nullptr) return;
    keep_only(*element, [pod](const Holder& holder) { return holder.pod != pod; });
    if (element->count == 0) erase(*element);
  }

  // Calls visit(pod) for each pod that holds the element; touches it if that says true for any.
  template <class Visit>
  void read(std::uint64_t hash, std::uint32_t now, const std::atomic<std::uint16_t>* generations,
            Visit visit) {
    const std::shared_lock lock(mutex_);
    Element* element = find(hash);
    if (element == nullptr) return;
    bool wanted = false;
    for (const Holder& holder : element->holders()) {
      if (holder.is_valid(generations, now) && visit(holder.pod)) wanted = true;
    }
    if (!wanted) return;
    const std::atomic_ref used(element->used);
    if (used.load(std::memory_order_relaxed) != now) used.store(now, std::memory_order_relaxed);
  }

  struct Figures {
    std::size_t elements;
    std::size_t bytes;
    std::uint64_t evictions;
  };
  [[nodiscard]] Figures figures() const {
    const std::shared_lock lock(mutex_);
    return {elements_, elements_ * sizeof(Element) * 5 / 4 + many_bytes_, evictions_};
  }

 private:
  [[nodiscard]] std::size_t home(std::uint64_t hash) const {
    return static_cast<std::size_t>((hash & 0xFFFFFFFF) * slots_ >> 32);
  }
  [[nodiscard]] std::size_t after(std::size_t slot) const {
    return slot + 1 == slots_ ? 0 : slot + 1;
  }

  Element* find(std::uint64_t hash) {
    for (std::size_t slot = home(hash); table_[slot].hash != 0; slot = after(slot)) {
      if (table_[slot].hash == hash) return &table_[slot];
    }
    return nullptr;
  }

  Element& insert(std::uint64_t hash) {
    if (elements_ == max_elements_) evict_one();
    std::size_t slot = home(hash);
    while (table_[slot].hash != 0) slot = after(slot);
    table_[slot].hash = hash;
    ++elements_;
    return table_[slot];
  }

  // Least recently used of a few in a row, from where the last eviction stopped: close to LRU
  // without a list that every reader would have to write to.
  void evict_one() {
    Element* oldest = nullptr;
    for (std::size_t seen = 0; seen < kEvictionSample; hand_ = after(hand_)) {
      Element& element = table_[hand_];
      if (element.hash == 0) continue;
      ++seen;
      if (oldest == nullptr || is_later(oldest->used, element.used)) oldest = &element;
    }
    ++evictions_;
    erase(*oldest);
  }

  void erase(Element& element) {
    free_many(element);
    auto hole = static_cast<std::size_t>(&element - table_);
    for (std::size_t slot = after(hole); table_[slot].hash != 0; slot = after(slot)) {
      // An element may move back into the hole unless its home lies between the two.
      const std::size_t from_home = distance(home(table_[slot].hash), slot);
      if (from_home < distance(hole, slot)) continue;
      table_[hole] = table_[slot];
      hole = slot;
    }
    std::memset(static_cast<void*>(&table_[hole]), 0, sizeof(Element));
    --elements_;
  }
  [[nodiscard]] std::size_t distance(std::size_t from, std::size_t to) const {
    return to >= from ? to - from : to + slots_ - from;
  }

  template <class Keep>
  static void keep_only(Element& element, Keep keep) {
    const auto holders = element.holders();
    const auto removed = std::ranges::remove_if(holders, [&](const Holder& h) { return !keep(h); });
    element.count = static_cast<std::uint16_t>(holders.size() - removed.size());
  }

  static void drop_invalid(Element& element, std::uint32_t now,
                           const std::atomic<std::uint16_t>* generations) {
    keep_only(element, [&](const Holder& holder) { return holder.is_valid(generations, now); });
  }

  // Where there is no room for one more, the one that came first makes way.
  void append(Element& element, Holder holder) {
    const std::size_t room = element.capacity == 0 ? kFewHolders : element.capacity;
    if (element.count == room && !grow(element)) {
      const auto holders = element.holders();
      std::ranges::rotate(holders, holders.begin() + 1);
      --element.count;
    }
    ++element.count;
    element.holders().back() = holder;
  }

  bool grow(Element& element) {
    const std::size_t room = element.count + std::max<std::size_t>(4, element.count / 8);
    const std::size_t bytes = room * sizeof(Holder);
    if (many_bytes_ - element.many_bytes() + bytes > max_many_bytes_ ||
        room > std::numeric_limits<std::uint16_t>::max()) {
      return false;
    }
    auto* many = static_cast<Holder*>(std::malloc(bytes));
    if (many == nullptr) return false;
    std::ranges::copy(element.holders(), many);
    free_many(element);
    element.many = many;
    element.capacity = static_cast<std::uint16_t>(room);
    many_bytes_ += bytes;
    return true;
  }

  void free_many(Element& element) {
    if (element.capacity == 0) return;
    many_bytes_ -= element.many_bytes();
    std::free(element.many);
    element.capacity = 0;
  }

  mutable std::shared_mutex mutex_;
  Element* table_ = nullptr;  // calloc: pages that were never used cost nothing
  std::size_t slots_ = 0;
  std::size_t max_elements_ = 0;
  std::size_t max_many_bytes_ = 0;
  std::size_t elements_ = 0;
  std::size_t many_bytes_ = 0;
  std::size_t hand_ = 0;
  std::uint64_t evictions_ = 0;
};

PrefixIndex::PrefixIndex(Bytes memory)
    : shards_(std::make_unique<Shard[]>(kShards)),
      generations_(std::make_unique<std::atomic<std::uint16_t>[]>(LoadTable::kMaxPods)),
      memory_(memory) {
  const auto bytes = static_cast<std::size_t>(std::max<std::int64_t>(memory.count(), 0));
  for (std::size_t i = 0; i < kShards; ++i) shards_[i].allocate(bytes / kShards);
}

PrefixIndex::~PrefixIndex() = default;

PrefixIndex::Shard& PrefixIndex::shard_of(std::uint64_t mixed_hash) const {
  return shards_[mixed_hash >> 58];
}

void PrefixIndex::hold(std::span<const std::uint64_t> chain, std::uint32_t pod,
                       std::uint32_t now_tick, std::uint32_t until_tick) {
  if (pod >= LoadTable::kMaxPods) return;
  const Holder holder{static_cast<std::uint16_t>(pod),
                      generations_[pod].load(std::memory_order_relaxed), until_tick};
  for (const std::uint64_t element : chain) {
    const std::uint64_t hash = mixed(element);
    shard_of(hash).hold(hash, holder, now_tick, generations_.get());
  }
}

void PrefixIndex::believe(std::span<const std::uint64_t> chain, std::uint32_t pod, TimePoint now,
                          TimePoint until) {
  hold(chain, pod, tick_of(now), tick_of(until));
}

void PrefixIndex::confirm(std::span<const std::uint64_t> chain, std::uint32_t pod, TimePoint now) {
  hold(chain, pod, tick_of(now), kConfirmed);
}

void PrefixIndex::retract(std::span<const std::uint64_t> elements, std::uint32_t pod) {
  if (pod >= LoadTable::kMaxPods) return;
  for (const std::uint64_t element : elements) {
    const std::uint64_t hash = mixed(element);
    shard_of(hash).retract(hash, static_cast<std::uint16_t>(pod));
  }
}

void PrefixIndex::forget_pod(std::uint32_t pod) {
  if (pod < LoadTable::kMaxPods) generations_[pod].fetch_add(1, std::memory_order_relaxed);
}

std::vector<std::uint32_t> PrefixIndex::match(std::span<const std::uint64_t> chain,
                                              std::span<const std::uint32_t> pods,
                                              TimePoint now) const {
  std::vector<std::uint32_t> depths(pods.size(), 0);
  if (pods.empty()) return depths;
  constexpr std::uint32_t kNowhere = std::numeric_limits<std::uint32_t>::max();
  std::vector<std::uint32_t> positions(std::ranges::max(pods) + std::size_t{1}, kNowhere);
  for (std::uint32_t i = 0; i < pods.size(); ++i) positions[pods[i]] = i;

  const std::uint32_t now_tick = tick_of(now);
  for (std::uint32_t depth = 0; depth < chain.size(); ++depth) {
    const std::uint64_t hash = mixed(chain[depth]);
    bool any = false;
    shard_of(hash).read(hash, now_tick, generations_.get(), [&](std::uint16_t pod) {
      if (pod >= positions.size() || positions[pod] == kNowhere) return false;
      std::uint32_t& held = depths[positions[pod]];
      if (held != depth) return false;  // it lacks an element before this one
      ++held;
      any = true;
      return true;
    });
    if (!any) break;
  }
  return depths;
}

std::size_t PrefixIndex::elements() const {
  std::size_t sum = 0;
  for (std::size_t i = 0; i < kShards; ++i) sum += shards_[i].figures().elements;
  return sum;
}

Bytes PrefixIndex::memory_used() const {
  std::size_t sum = 0;
  for (std::size_t i = 0; i < kShards; ++i) sum += shards_[i].figures().bytes;
  return Bytes(static_cast<std::int64_t>(sum));
}

Bytes PrefixIndex::memory_bound() const { return memory_; }

std::uint64_t PrefixIndex::evictions() const {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < kShards; ++i) sum += shards_[i].figures().evictions;
  return sum;
}

}  // namespace baton
