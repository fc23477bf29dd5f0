#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "core/picking/holder_word.h"
#include "core/picking/incarnations.h"
#include "core/picking/prefix_shard.h"

namespace baton {

// One walk along a chain: who holds all of it so far, and how far the others did. Made by
// PrefixIndex::follow() in room that the caller owns and may reuse, so that a match allocates
// nothing. One thread at a time.
class PrefixMatch {
 public:
  void begin();
  // The holders of the chain's first element. May be called again, in which case what was seen
  // before counts for nothing; so may stay().
  void start(const PrefixShard::Holders& holders, std::uint64_t now_tick,
             const Incarnations& incarnations);
  // Which of those that held everything so far hold the next element too.
  void stay(const PrefixShard::Holders& holders, std::uint64_t now_tick);
  // All others held `depth` elements; false: nobody is left.
  bool settle_others(std::uint32_t depth);
  void settle_all(std::uint32_t depth);
  // How many elements a pod held that has this incarnation.
  [[nodiscard]] std::uint32_t depth(std::uint32_t incarnation) const {
    const std::uint32_t group = incarnation / Incarnations::kStride;
    if (group >= places_.size() || places_[group] == 0) return 0;
    return depths_[(places_[group] - std::size_t{1}) * Incarnations::kStride +
                   incarnation % Incarnations::kStride];
  }

 private:
  using Word = holder_word::Word;

  void add(Word members);
  [[nodiscard]] bool all_stay(const PrefixShard::Holders& holders) const;
  void settle(Word members, std::uint32_t depth);

  std::vector<Word> groups_;           // the pods that held everything so far, in order
  std::vector<Word> staying_;          // of each group, those that held the next element too
  bool all_stay_ = false;              // staying_ was not needed
  std::vector<std::uint16_t> places_;  // by group: where in depths_ it begins, and 1; 0: nowhere
  std::vector<std::uint32_t> depths_;  // by place and member
};

}  // namespace baton
