#pragma once

#include <cstdint>
#include <limits>

#include "core/picking/incarnations.h"

// Who holds a piece of a prompt, as words of 64 bits. By number, words of one piece sort into:
// groups of 48 incarnations that hold it for certain, a bit each; beliefs, each of one incarnation
// until a tick; and at most one reference to where further words are.
namespace baton::holder_word {

using Word = std::uint64_t;

inline constexpr int kGroupShift = 48;
inline constexpr Word kMembers = (Word{1} << kGroupShift) - 1;
inline constexpr Word kBelief = Word{1} << 63;
inline constexpr Word kReference = Word{3} << 62;
inline constexpr int kTickBits = 41;  // 10 ms each: 697 years
inline constexpr std::uint64_t kLastTick = (std::uint64_t{1} << kTickBits) - 1;
inline constexpr int kOffsetBits = 36;

inline bool is_group(Word word) { return (word & kBelief) == 0; }
inline bool is_belief(Word word) { return (word & kReference) == kBelief; }
inline bool is_reference(Word word) { return (word & kReference) == kReference; }

inline std::uint32_t group_of(Word word) { return static_cast<std::uint32_t>(word >> kGroupShift); }

inline Word member(std::uint32_t incarnation) {
  constexpr std::uint32_t kStride = Incarnations::kStride;
  return Word{incarnation / kStride} << kGroupShift | Word{1} << (incarnation % kStride);
}

inline Word belief(std::uint32_t incarnation, std::uint64_t until_tick) {
  return kBelief | Word{incarnation} << kTickBits | until_tick;
}
inline std::uint32_t believed(Word word) {
  return static_cast<std::uint32_t>((word & ~kReference) >> kTickBits);
}
inline std::uint64_t until_tick(Word word) { return word & kLastTick; }

inline Word reference(std::uint64_t offset, std::uint64_t count) {
  return kReference | count << kOffsetBits | offset;
}
inline std::uint64_t offset_of(Word word) { return word & ((Word{1} << kOffsetBits) - 1); }
inline std::uint64_t count_of(Word word) { return (word & ~kReference) >> kOffsetBits; }

// A group's word less some of its members; 0: none is left.
inline Word without(Word group, Word members) {
  const Word left = group & ~members;
  return (left & kMembers) == 0 ? 0 : left;
}

// What of the word is still true of pods that have not been forgotten since; 0: nothing.
inline Word still_true(Word word, std::uint64_t now_tick, const Incarnations& incarnations) {
  if (is_group(word)) return without(word, kMembers & ~incarnations.alive(group_of(word)));
  const Word as_member = member(believed(word));
  const bool alive = (incarnations.alive(group_of(as_member)) & as_member & kMembers) != 0;
  return alive && until_tick(word) > now_tick ? word : 0;
}

}  // namespace baton::holder_word
