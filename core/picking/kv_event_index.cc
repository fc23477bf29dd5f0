#include "core/picking/kv_event_index.h"

#include <algorithm>
#include <cassert>
#include <span>
#include <variant>

#include "core/prompt_blocks.h"

namespace baton {
namespace {

// Removed blocks of a rank that are kept so that a chain can go on behind them: a copy of the block
// may still be there, or it comes back from the CPU.
constexpr std::size_t kRemovedKept = 4096;

std::uint64_t group_bit(std::uint32_t group) { return std::uint64_t{1} << std::min(group, 63U); }

std::uint64_t& count(KvBlockTally& tally, KvBlockFate fate) {
  return tally[static_cast<std::size_t>(fate)];
}

}  // namespace

std::string_view name_of(KvBlockFate fate) {
  switch (fate) {
    case KvBlockFate::kStored: return "stored";
    case KvBlockFate::kRemoved: return "removed";
    case KvBlockFate::kOtherSize: return "other_size";
    case KvBlockFate::kOtherKeys: return "other_keys";
    case KvBlockFate::kNotResident: return "not_resident";
    case KvBlockFate::kUnknownParent: return "unknown_parent";
    case KvBlockFate::kNoRoom: return "no_room";
  }
  return "stored";
}

KvEventIndex::KvEventIndex(PrefixIndex& prefixes, std::uint32_t pod, Tokens block_tokens,
                           std::size_t ranks, std::size_t max_blocks)
    : prefixes_(prefixes),
      pod_(pod),
      block_tokens_(static_cast<std::size_t>(std::max<std::int64_t>(block_tokens.count(), 0))),
      max_blocks_(max_blocks),
      ranks_(ranks) {}

KvBlockTally KvEventIndex::apply(std::size_t rank, const KvEvent& event, TimePoint now) {
  assert(rank < ranks_.size());
  KvBlockTally tally{};
  if (const auto* stored = std::get_if<KvBlocksStored>(&event)) {
    store(ranks_[rank], *stored, now, tally);
  } else if (const auto* removed = std::get_if<KvBlocksRemoved>(&event)) {
    remove(ranks_[rank], *removed, tally);
  } else {
    clear(rank);
  }
  return tally;
}

std::optional<std::uint64_t> KvEventIndex::element_before(const Rank& rank,
                                                          const KvBlocksStored& event) const {
  if (!event.parent) return chain_seed(event.salt, event.lora);
  const auto known = rank.blocks.find(*event.parent);
  if (known == rank.blocks.end()) return std::nullopt;
  return known->second.element;
}

void KvEventIndex::store(Rank& rank, const KvBlocksStored& event, TimePoint now,
                         KvBlockTally& tally) {
  const std::size_t blocks = event.blocks.size();
  if (!event.is_resident) {
    count(tally, KvBlockFate::kNotResident) += blocks;
    return;
  }
  if (event.block_tokens != block_tokens_ || block_tokens_ == 0) {
    count(tally, KvBlockFate::kOtherSize) += blocks;
    return;
  }
  // An engine that leaves blocks out of an event (those that a sliding window has passed) does not
  // say which tokens belong to the others.
  const bool tokens_fit = event.tokens.size() / block_tokens_ == blocks;
  const std::size_t usable = tokens_fit ? std::min(event.plain_blocks, blocks) : 0;
  count(tally, KvBlockFate::kOtherKeys) += blocks - usable;
  if (usable == 0) return;
  auto element = element_before(rank, event);
  if (!element) {
    count(tally, KvBlockFate::kUnknownParent) += usable;
    return;
  }
  std::vector<std::uint64_t> held;
  held.reserve(usable);
  std::vector<std::uint64_t> gone;
  const std::span<const TokenId> tokens = event.tokens;
  for (std::size_t i = 0; i < usable; ++i) {
    element = chain_next(*element, tokens.subspan(i * block_tokens_, block_tokens_));
    if (!hold(rank, event.blocks[i], *element, group_bit(event.group), gone)) break;
    held.push_back(*element);
  }
  count(tally, KvBlockFate::kStored) += held.size();
  count(tally, KvBlockFate::kNoRoom) += usable - held.size();
  prefixes_.confirm(held, pod_, now);
  // Within one event a hash can come twice: what the first stood for was confirmed above, and what
  // went can have come back.
  std::erase_if(gone, [this](std::uint64_t was) { return claims_.contains(was); });
  prefixes_.retract(gone, pod_);
}

// False: there is no room for one more.
bool KvEventIndex::hold(Rank& rank, std::uint64_t block, std::uint64_t element, std::uint64_t group,
                        std::vector<std::uint64_t>& gone) {
  const auto known = rank.blocks.find(block);
  if (known != rank.blocks.end() && known->second.groups != 0) {
    if (known->second.element == element) {
      known->second.groups |= group;
      return true;
    }
    // Two prompts under one hash: the later one is what the engine would find.
    let_go(known->second, gone);
    known->second.groups = 0;
  }
  if (blocks_held_ >= max_blocks_) return false;
  ++blocks_held_;
  ++claims_[element];
  rank.blocks.insert_or_assign(block, Block{element, group});
  return true;
}

void KvEventIndex::let_go(const Block& block, std::vector<std::uint64_t>& gone) {
  const auto claims = claims_.find(block.element);
  assert(claims != claims_.end());
  --blocks_held_;
  if (--claims->second > 0) return;
  claims_.erase(claims);
  gone.push_back(block.element);
}

void KvEventIndex::remove(Rank& rank, const KvBlocksRemoved& event, KvBlockTally& tally) {
  if (!event.is_resident) {
    count(tally, KvBlockFate::kNotResident) += event.blocks.size();
    return;
  }
  const std::uint64_t groups = event.group ? group_bit(*event.group) : ~std::uint64_t{0};
  std::vector<std::uint64_t> gone;
  for (const std::uint64_t block : event.blocks) {
    const auto known = rank.blocks.find(block);
    if (known == rank.blocks.end() || known->second.groups == 0) continue;
    known->second.groups &= ~groups;
    if (known->second.groups != 0) continue;
    ++count(tally, KvBlockFate::kRemoved);
    let_go(known->second, gone);
    keep_removed(rank, block);
  }
  prefixes_.retract(gone, pod_);
}

void KvEventIndex::keep_removed(Rank& rank, std::uint64_t block) {
  rank.removed.push_back(block);
  if (rank.removed.size() <= kRemovedKept) return;
  const auto oldest = rank.blocks.find(rank.removed.front());
  if (oldest != rank.blocks.end() && oldest->second.groups == 0) rank.blocks.erase(oldest);
  rank.removed.pop_front();
}

void KvEventIndex::clear(std::size_t rank) {
  assert(rank < ranks_.size());
  Rank& cleared = ranks_[rank];
  std::vector<std::uint64_t> gone;
  for (const auto& [hash, block] : cleared.blocks) {
    if (block.groups != 0) let_go(block, gone);
  }
  cleared = {};
  prefixes_.retract(gone, pod_);
}

void KvEventIndex::confirm_all(TimePoint now) {
  std::vector<std::uint64_t> held;
  held.reserve(claims_.size());
  for (const auto& [element, claims] : claims_) held.push_back(element);
  prefixes_.confirm(held, pod_, now);
}

}  // namespace baton
