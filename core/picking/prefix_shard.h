#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <span>

#include "core/picking/holder_word.h"
#include "core/picking/incarnations.h"

namespace baton {

// One shard of the prefix index: a hash table (linear probing, backward-shift deletion) of elements
// with who holds them, in memory of the index whose size is fixed. Writers take turns; readers take
// no lock but read again what a writer changed meanwhile (a seqlock), and wait for it only after
// many tries. Full, it drops about a sixteenth, the least recently used.
class alignas(64) PrefixShard {
 public:
  using Word = holder_word::Word;
  static constexpr std::size_t kElementWords = 4;
  static constexpr std::uint64_t kConfirmed = holder_word::kLastTick;
  static constexpr std::size_t kNowhere = ~std::size_t{0};
  static constexpr int kTries = 64;  // of a reader, before it waits for the writers

  // Acquire and release, so that a reader that sees a change sees the version before it too.
  static Word load(Word& word) { return std::atomic_ref(word).load(std::memory_order_acquire); }

  // The words of an element, which a reader gets at: the first one, and where the others begin.
  struct Holders {
    Word first = 0;
    Word* rest = nullptr;
    std::size_t rest_count = 0;

    [[nodiscard]] std::size_t count() const { return first == 0 ? 0 : 1 + rest_count; }
    [[nodiscard]] Word at(std::size_t i) const { return i == 0 ? first : load(rest[i - 1]); }
  };

  PrefixShard() = default;
  PrefixShard(const PrefixShard&) = delete;
  PrefixShard& operator=(const PrefixShard&) = delete;

  // A quarter of `memory` is for words beyond the two that an element has in place.
  void use(std::span<Word> memory);

  // `hash` is never 0. The pod holds it until the tick, or kConfirmed; never shortens or
  // downgrades. `stamp` orders by last use.
  void hold(std::uint64_t hash, std::uint32_t pod, std::uint64_t until, std::uint64_t stamp,
            std::uint64_t now_tick, const Incarnations& incarnations);
  void retract(std::uint64_t hash, std::uint32_t incarnation);
  void clear();

  // True: hold() would only touch the element, and that is done.
  bool touch_known(std::uint64_t hash, std::uint32_t incarnation, std::uint64_t until,
                   std::uint64_t stamp);
  void touch(std::size_t slot, std::uint64_t stamp);

  // Calls use(holders), if there is such an element, until it was not disturbed; what `use` did
  // before counts for nothing. Returns the element's slot, or kNowhere.
  template <class Use>
  std::size_t read(std::uint64_t hash, Use use) const {
    for (int i = 0; i < kTries; ++i) {
      const std::uint64_t version = version_.load(std::memory_order_acquire);
      if (version % 2 == 1) continue;
      const std::size_t slot = find(hash);
      if (slot != kNowhere) use(holders(slot));
      if (version_.load(std::memory_order_relaxed) == version) return slot;
    }
    const std::lock_guard lock(mutex_);
    const std::size_t slot = find(hash);
    if (slot != kNowhere) use(holders(slot));
    return slot;
  }

  void prefetch(std::uint64_t hash) const {
    __builtin_prefetch(table_ + home(hash) * kElementWords);
    __builtin_prefetch(&version_);
  }

  [[nodiscard]] std::size_t elements() const { return elements_.load(std::memory_order_relaxed); }
  [[nodiscard]] std::size_t bytes_used() const;
  [[nodiscard]] std::uint64_t evictions() const {
    return evictions_.load(std::memory_order_relaxed);
  }

 private:
  class Change;
  enum Part : std::size_t { kHash, kStamp, kFirst, kSecond };

  static void store(Word& word, Word value) {
    std::atomic_ref(word).store(value, std::memory_order_release);
  }
  [[nodiscard]] Word& part(std::size_t slot, Part which) const {
    return table_[slot * kElementWords + which];
  }
  [[nodiscard]] std::size_t home(std::uint64_t hash) const {
    return static_cast<std::size_t>((hash & 0xFFFFFFFF) * slots_ >> 32);
  }
  [[nodiscard]] std::size_t after(std::size_t slot) const {
    return slot + 1 == slots_ ? 0 : slot + 1;
  }
  [[nodiscard]] std::size_t find(std::uint64_t hash) const {
    std::size_t slot = home(hash);
    for (std::size_t seen = 0; seen < slots_; ++seen, slot = after(slot)) {
      const Word at = load(part(slot, kHash));
      if (at == hash) return slot;
      if (at == 0) break;
    }
    return kNowhere;
  }
  [[nodiscard]] Holders holders(std::size_t slot) const {
    const Word second = load(part(slot, kSecond));
    Holders found{load(part(slot, kFirst)), &part(slot, kSecond), second == 0 ? 0UL : 1UL};
    if (holder_word::is_reference(second)) {
      const std::size_t offset = holder_word::offset_of(second);
      const std::size_t count = holder_word::count_of(second);
      // Beyond its end: read while it was written, and so again.
      const bool fits = offset <= arena_words_ && count <= arena_words_ - offset;
      found.rest = arena_ + (fits ? offset : 0);
      found.rest_count = fits ? count : 0;
    }
    return found;
  }

  // What is known of one incarnation: until when it holds the element, and by which words.
  struct Standing {
    std::uint64_t until = 0;
    std::size_t belief = kNowhere;
    std::size_t group = kNowhere;  // the word of its group, whether or not it is in it
  };
  [[nodiscard]] Standing standing_of(std::size_t slot, std::uint32_t incarnation) const;
  static bool says(const Holders& holders, std::uint32_t incarnation, std::uint64_t until);
  void insert(std::uint64_t hash, std::uint64_t stamp, Word word);
  bool add(std::size_t slot, Word word);
  bool grow(std::size_t slot, const Holders& known);
  void remove_word(std::size_t slot, std::size_t index);
  std::size_t keep(std::size_t slot, std::size_t index, Word left);
  void prune(std::size_t slot, std::uint64_t now_tick, const Incarnations& incarnations);
  void erase(std::size_t slot);
  void let_go_of_rest(std::size_t slot);
  void evict();
  void make_room();
  void compact();
  void put(std::size_t slot, std::size_t index, Word word);

  std::atomic<std::uint64_t> version_{0};  // odd while a writer changes something
  Word* table_ = nullptr;
  std::size_t slots_ = 0;
  Word* arena_ = nullptr;  // words beyond those in place, those of an element in a row
  std::size_t arena_words_ = 0;
  mutable std::mutex mutex_;
  std::size_t arena_end_ = 0;  // what was given out, with what was given back before it
  std::size_t max_elements_ = 0;
  std::atomic<std::size_t> elements_{0};
  std::atomic<std::size_t> arena_live_{0};
  std::atomic<std::uint64_t> evictions_{0};
};

}  // namespace baton
