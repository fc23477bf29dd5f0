#include "core/picking/prefix_shard.h"

#include <algorithm>
#include <array>
#include <vector>

namespace baton {

using namespace holder_word;

namespace {

constexpr std::size_t kSample = 512;     // elements that stand for all when the oldest are sought
constexpr std::size_t kEvictShare = 16;  // of the elements, dropped at a time

void add_to(std::atomic<std::size_t>& count, std::size_t by) {
  count.store(count.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}
void take_from(std::atomic<std::size_t>& count, std::size_t by) {
  count.store(count.load(std::memory_order_relaxed) - by, std::memory_order_relaxed);
}

}  // namespace

// While one of these lives, readers know that what they see may not fit together. Not nested.
class PrefixShard::Change {
 public:
  explicit Change(PrefixShard& shard) : version_(shard.version_) {
    version_.store(version_.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  }
  ~Change() {
    version_.store(version_.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  Change(const Change&) = delete;
  Change& operator=(const Change&) = delete;

 private:
  std::atomic<std::uint64_t>& version_;
};

void PrefixShard::use(std::span<Word> memory) {
  slots_ = memory.size() / 4 * 3 / kElementWords;
  max_elements_ = slots_ / 4 * 3;
  table_ = memory.data();
  arena_ = table_ + slots_ * kElementWords;
  arena_words_ = memory.size() - slots_ * kElementWords;
}

std::size_t PrefixShard::bytes_used() const {
  return elements() * kElementWords * sizeof(Word) * 4 / 3 +
         arena_live_.load(std::memory_order_relaxed) * sizeof(Word);
}

bool PrefixShard::says(const Holders& holders, std::uint32_t incarnation, std::uint64_t until) {
  const Word wanted = member(incarnation);
  for (std::size_t i = 0; i < holders.count(); ++i) {
    const Word word = holders.at(i);
    if (is_group(word)) {
      if (group_of(word) == group_of(wanted) && (word & wanted & kMembers) != 0) return true;
    } else if (is_belief(word) && believed(word) == incarnation && until_tick(word) >= until) {
      return true;
    }
  }
  return false;
}

bool PrefixShard::touch_known(std::uint64_t hash, std::uint32_t incarnation, std::uint64_t until,
                              std::uint64_t stamp) {
  bool known = false;
  const std::size_t slot =
      read(hash, [&](const Holders& holders) { known = says(holders, incarnation, until); });
  if (slot == kNowhere || !known) return false;
  touch(slot, stamp);
  return true;
}

// Another element can have moved into the slot since it was read: then that one stays for longer.
void PrefixShard::touch(std::size_t slot, std::uint64_t stamp) {
  const std::atomic_ref used(part(slot, kStamp));
  if (used.load(std::memory_order_relaxed) < stamp) used.store(stamp, std::memory_order_release);
}

void PrefixShard::hold(std::uint64_t hash, std::uint32_t pod, std::uint64_t until,
                       std::uint64_t stamp, std::uint64_t now_tick,
                       const Incarnations& incarnations) {
  const std::lock_guard lock(mutex_);
  // Asked for under the lock, so that nothing is said of a number after clear().
  const std::uint32_t incarnation = incarnations.of(pod);
  if (incarnation == Incarnations::kNone) return;
  const bool confirmed = until == kConfirmed;
  const Word word = confirmed ? member(incarnation) : belief(incarnation, until);
  std::size_t slot = find(hash);
  if (slot == kNowhere) {
    insert(hash, stamp, word);
    return;
  }
  touch(slot, stamp);
  const Standing standing = standing_of(slot, incarnation);
  if (standing.until >= until) return;
  if (!confirmed && standing.belief != kNowhere) {
    put(slot, standing.belief, word);
    return;
  }
  const bool has_group = confirmed && standing.group != kNowhere;
  if (has_group) put(slot, standing.group, holders(slot).at(standing.group) | word);
  if (standing.belief != kNowhere) remove_word(slot, standing.belief);
  if (has_group) return;
  if (holders(slot).count() >= 2) prune(slot, now_tick, incarnations);
  if (add(slot, word)) return;
  make_room();
  slot = find(hash);
  if (slot == kNowhere) {
    insert(hash, stamp, word);
  } else if (!add(slot, word)) {
    remove_word(slot, 0);
    add(slot, word);
  }
}

PrefixShard::Standing PrefixShard::standing_of(std::size_t slot, std::uint32_t incarnation) const {
  const Word wanted = member(incarnation);
  const Holders known = holders(slot);
  Standing standing;
  for (std::size_t i = 0; i < known.count(); ++i) {
    const Word word = known.at(i);
    if (is_belief(word) && believed(word) == incarnation) {
      standing.belief = i;
      standing.until = until_tick(word);
    } else if (is_group(word) && group_of(word) == group_of(wanted)) {
      standing.group = i;
      if ((word & wanted) == wanted) standing.until = kConfirmed;
    }
  }
  return standing;
}

void PrefixShard::retract(std::uint64_t hash, std::uint32_t incarnation) {
  bool known = false;
  read(hash, [&](const Holders& holders) { known = says(holders, incarnation, 0); });
  if (!known) return;
  const std::lock_guard lock(mutex_);
  const std::size_t slot = find(hash);
  if (slot == kNowhere) return;
  const Standing standing = standing_of(slot, incarnation);
  if (standing.belief != kNowhere) remove_word(slot, standing.belief);
  if (standing.group != kNowhere) {
    const Word group = holders(slot).at(standing.group);
    keep(slot, standing.group, without(group, member(incarnation) & kMembers));
  }
  if (holders(slot).count() == 0) erase(slot);
}

void PrefixShard::clear() {
  const std::lock_guard lock(mutex_);
  evictions_.store(evictions() + elements(), std::memory_order_relaxed);
  const Change change(*this);
  for (std::size_t i = 0; i < slots_ * kElementWords; ++i) store(table_[i], 0);
  elements_.store(0, std::memory_order_relaxed);
  arena_live_.store(0, std::memory_order_relaxed);
  arena_end_ = 0;
}

void PrefixShard::insert(std::uint64_t hash, std::uint64_t stamp, Word word) {
  while (elements() >= max_elements_) evict();
  std::size_t slot = home(hash);
  while (load(part(slot, kHash)) != 0) slot = after(slot);
  const Change change(*this);
  store(part(slot, kStamp), stamp);
  store(part(slot, kFirst), word);
  store(part(slot, kSecond), 0);
  store(part(slot, kHash), hash);
  add_to(elements_, 1);
}

// Of one word readers see the old or the new value, so that this alone needs no Change.
void PrefixShard::put(std::size_t slot, std::size_t index, Word word) {
  store(index == 0 ? part(slot, kFirst) : holders(slot).rest[index - 1], word);
}

// A word of a group or belief that is not there yet. False: there is no room for one more.
bool PrefixShard::add(std::size_t slot, Word word) {
  const Holders before = holders(slot);
  const std::size_t count = before.count();
  const Change change(*this);
  if (count >= 2 && !grow(slot, before)) return false;
  const Holders known = holders(slot);
  std::size_t index = count;
  for (; index > 0 && known.at(index - 1) > word; --index) put(slot, index, known.at(index - 1));
  put(slot, index, word);
  return true;
}

// Room for one more word behind the `known` ones, of which there are two or more.
bool PrefixShard::grow(std::size_t slot, const Holders& known) {
  const std::size_t wanted = known.rest_count + 1;
  const bool is_last = known.rest_count > 1 && known.rest + known.rest_count == arena_ + arena_end_;
  const std::size_t offset = is_last ? arena_end_ - known.rest_count : arena_end_;
  if (offset + wanted > arena_words_) return false;
  if (!is_last) {
    for (std::size_t i = 0; i < known.rest_count; ++i) {
      store(arena_[offset + i], load(known.rest[i]));
    }
  }
  store(arena_[offset + wanted - 1], 0);
  add_to(arena_live_, known.rest_count > 1 ? 1 : wanted);
  arena_end_ = offset + wanted;
  store(part(slot, kSecond), reference(offset, wanted));
  return true;
}

void PrefixShard::remove_word(std::size_t slot, std::size_t index) {
  const Change change(*this);
  const Holders known = holders(slot);
  for (std::size_t i = index; i + 1 < known.count(); ++i) put(slot, i, known.at(i + 1));
  if (known.rest_count == 0) {
    store(part(slot, kFirst), 0);
  } else if (!is_reference(load(part(slot, kSecond)))) {
    store(part(slot, kSecond), 0);
  } else if (known.rest_count == 2) {
    const Word left = load(known.rest[0]);
    let_go_of_rest(slot);
    store(part(slot, kSecond), left);
  } else {
    const auto offset = static_cast<std::size_t>(known.rest - arena_);
    if (offset + known.rest_count == arena_end_) --arena_end_;
    take_from(arena_live_, 1);
    store(part(slot, kSecond), reference(offset, known.rest_count - 1));
  }
}

// Leaves that much of a word, which may be nothing; returns how many words it now is.
std::size_t PrefixShard::keep(std::size_t slot, std::size_t index, Word left) {
  if (left == 0) {
    remove_word(slot, index);
    return 0;
  }
  if (left != holders(slot).at(index)) put(slot, index, left);
  return 1;
}

void PrefixShard::prune(std::size_t slot, std::uint64_t now_tick,
                        const Incarnations& incarnations) {
  for (std::size_t i = 0; i < holders(slot).count();) {
    i += keep(slot, i, still_true(holders(slot).at(i), now_tick, incarnations));
  }
}

// Those behind it move up, unless their home lies between the two, so that no gap ends a search.
void PrefixShard::erase(std::size_t slot) {
  const Change change(*this);
  let_go_of_rest(slot);
  const auto distance = [this](std::size_t from, std::size_t to) {
    return to >= from ? to - from : to + slots_ - from;
  };
  std::size_t hole = slot;
  for (std::size_t next = after(hole);; next = after(next)) {
    const Word hash = load(part(next, kHash));
    if (hash == 0) break;
    if (distance(home(hash), next) < distance(hole, next)) continue;
    for (const Part which : {kHash, kStamp, kFirst, kSecond}) {
      store(part(hole, which), load(part(next, which)));
    }
    hole = next;
  }
  for (const Part which : {kHash, kStamp, kFirst, kSecond}) store(part(hole, which), 0);
  take_from(elements_, 1);
}

void PrefixShard::let_go_of_rest(std::size_t slot) {
  const Word second = load(part(slot, kSecond));
  if (!is_reference(second)) return;
  take_from(arena_live_, count_of(second));
  if (offset_of(second) + count_of(second) == arena_end_) arena_end_ = offset_of(second);
  store(part(slot, kSecond), 0);
}

// Drops all that were last used before what a sample says is the oldest sixteenth's end.
void PrefixShard::evict() {
  std::array<std::uint64_t, kSample> sample;
  std::size_t sampled = 0;
  const std::size_t step = std::max<std::size_t>(1, slots_ / kSample);
  for (std::size_t slot = 0; slot < slots_ && sampled < kSample; slot += step) {
    if (load(part(slot, kHash)) != 0) sample[sampled++] = load(part(slot, kStamp));
  }
  const auto end = sample.begin() + static_cast<std::ptrdiff_t>(sampled);
  const auto last = sample.begin() + static_cast<std::ptrdiff_t>(sampled / kEvictShare);
  std::nth_element(sample.begin(), last, end);
  const std::uint64_t cut = sampled == 0 ? ~std::uint64_t{0} : *last;

  std::size_t evicted = 0;
  const std::size_t most = elements() * 2 / kEvictShare + 1;  // many can have the same stamp
  for (std::size_t slot = 0; slot < slots_ && evicted < most;) {
    if (load(part(slot, kHash)) == 0 || load(part(slot, kStamp)) > cut) {
      ++slot;
      continue;
    }
    erase(slot);  // which can bring another one here
    ++evicted;
  }
  evictions_.store(evictions() + evicted, std::memory_order_relaxed);
}

// For further words of an element, of which there are never so many that a few rounds do not help,
// unless one element alone takes most of the room.
void PrefixShard::make_room() {
  constexpr int kRounds = 4;
  compact();
  for (int i = 0; i < kRounds && arena_end_ > arena_words_ / 16 * 15; ++i) {
    evict();
    compact();
  }
}

void PrefixShard::compact() {
  const Change change(*this);
  std::vector<Word> live;
  live.reserve(arena_live_.load(std::memory_order_relaxed));
  for (std::size_t slot = 0; slot < slots_; ++slot) {
    const Word second = load(part(slot, kSecond));
    if (!is_reference(second)) continue;
    const std::size_t offset = live.size();
    for (std::size_t i = 0; i < count_of(second); ++i) {
      live.push_back(load(arena_[offset_of(second) + i]));
    }
    store(part(slot, kSecond), reference(offset, count_of(second)));
  }
  for (std::size_t i = 0; i < live.size(); ++i) store(arena_[i], live[i]);
  arena_end_ = live.size();
}

}  // namespace baton
