#include "core/picking/prefix_match.h"

#include <algorithm>
#include <bit>

namespace baton {

using namespace holder_word;

void PrefixMatch::begin() {
  groups_.clear();
  places_.clear();
  depths_.clear();
  all_stay_ = false;
}

void PrefixMatch::start(const PrefixShard::Holders& holders, std::uint64_t now_tick,
                        const Incarnations& incarnations) {
  groups_.clear();
  for (std::size_t i = 0; i < holders.count(); ++i) {
    const Word held = holders.at(i);
    if (is_reference(held)) continue;  // read while it was written, and so again
    const Word word = still_true(held, now_tick, incarnations);
    if (word != 0) add(is_belief(word) ? member(believed(word)) : word);
  }
}

void PrefixMatch::add(Word members) {
  const auto before = [](Word a, Word b) { return group_of(a) < group_of(b); };
  const auto at = std::ranges::lower_bound(groups_, members, before);
  if (at != groups_.end() && group_of(*at) == group_of(members)) {
    *at |= members;
  } else {
    groups_.insert(at, members);
  }
}

bool PrefixMatch::all_stay(const PrefixShard::Holders& holders) const {
  if (holders.count() != groups_.size()) return false;
  if (groups_.empty()) return true;
  const Word* const wanted = groups_.data() + 1;
  Word other_groups = groups_[0] ^ holders.first;
  Word lacking = groups_[0] & ~holders.first;
  for (std::size_t i = 0; i < holders.rest_count; ++i) {
    const Word held = PrefixShard::load(holders.rest[i]);
    other_groups |= wanted[i] ^ held;
    lacking |= wanted[i] & ~held;
  }
  return ((other_groups & ~kMembers) | lacking) == 0;
}

void PrefixMatch::stay(const PrefixShard::Holders& holders, std::uint64_t now_tick) {
  all_stay_ = all_stay(holders);
  if (all_stay_) return;
  staying_.assign(groups_.size(), 0);
  std::size_t place = 0;
  for (std::size_t i = 0; i < holders.count(); ++i) {
    Word held = holders.at(i);
    if (is_belief(held)) {
      if (until_tick(held) <= now_tick) continue;
      held = member(believed(held));
      place = 0;
    }
    while (place < groups_.size() && group_of(groups_[place]) < group_of(held)) ++place;
    if (place == groups_.size() || group_of(groups_[place]) != group_of(held)) continue;
    staying_[place] |= groups_[place] & held;
  }
}

bool PrefixMatch::settle_others(std::uint32_t depth) {
  if (all_stay_) return true;
  std::size_t left = 0;
  for (std::size_t i = 0; i < groups_.size(); ++i) {
    // Whole groups, which is quicker: those that stay are settled again, further on.
    if (groups_[i] != staying_[i]) settle(groups_[i], depth);
    if ((staying_[i] & kMembers) != 0) groups_[left++] = staying_[i];
  }
  groups_.resize(left);
  return left > 0;
}

void PrefixMatch::settle_all(std::uint32_t depth) {
  for (const Word group : groups_) settle(group, depth);
  groups_.clear();
}

void PrefixMatch::settle(Word members, std::uint32_t depth) {
  if (depth == 0 || (members & kMembers) == 0) return;
  const std::uint32_t group = group_of(members);
  if (group >= places_.size()) places_.resize(group + std::size_t{1}, 0);
  if (places_[group] == 0) {
    depths_.resize(depths_.size() + Incarnations::kStride, 0);
    places_[group] = static_cast<std::uint16_t>(depths_.size() / Incarnations::kStride);
  }
  std::uint32_t* const depths = &depths_[(places_[group] - std::size_t{1}) * Incarnations::kStride];
  if ((members & kMembers) == kMembers) {
    std::fill_n(depths, Incarnations::kMembers, depth);
    return;
  }
  for (Word rest = members & kMembers; rest != 0; rest &= rest - 1) {
    depths[std::countr_zero(rest)] = depth;
  }
}

}  // namespace baton
