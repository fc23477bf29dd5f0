#include "core/picking/kv_event_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "core/prompt_blocks.h"

namespace baton {
namespace {

constexpr std::uint32_t kPod = 3;
constexpr std::size_t kBlockTokens = 4;
const TimePoint kNow = TimePoint{} + std::chrono::hours(1);

using Ids = std::vector<TokenId>;

Ids ids(TokenId first, std::size_t count) {
  Ids made(count);
  std::ranges::generate(made, [next = first]() mutable { return next++; });
  return made;
}

KvBlocksStored stored(std::vector<std::uint64_t> blocks, std::optional<std::uint64_t> parent,
                      Ids tokens) {
  KvBlocksStored event;
  event.blocks = std::move(blocks);
  event.parent = parent;
  event.tokens = std::move(tokens);
  event.block_tokens = kBlockTokens;
  return event;
}

KvBlocksRemoved removed(std::vector<std::uint64_t> blocks) {
  KvBlocksRemoved event;
  event.blocks = std::move(blocks);
  return event;
}

std::uint64_t count(const KvBlockTally& tally, KvBlockFate fate) {
  return tally[static_cast<std::size_t>(fate)];
}

class KvEventIndexTest : public testing::Test {
 protected:
  // Blocks of the prompt that the pod is known to hold.
  std::uint32_t held(const Ids& prompt, std::string_view salt = {}, std::string_view lora = {}) {
    const auto blocks = PromptBlocks::from_tokens(prompt, Tokens(kBlockTokens), salt, lora);
    return prefixes_.match(blocks.token_chain, std::vector<std::uint32_t>{kPod}, kNow).front();
  }
  KvBlockTally apply(const KvEvent& event, std::size_t rank = 0) {
    return index_.apply(rank, event, kNow);
  }

  PrefixIndex prefixes_{Bytes(4 << 20)};
  KvEventIndex index_{prefixes_, kPod, Tokens(kBlockTokens), 2};
};

TEST_F(KvEventIndexTest, WhatIsStoredIsFoundByTheRoutersOwnChain) {
  EXPECT_EQ(count(apply(stored({11, 12}, {}, ids(0, 8))), KvBlockFate::kStored), 2U);
  EXPECT_EQ(held(ids(0, 20)), 2U);
  apply(stored({13}, 12, ids(8, 4)));
  EXPECT_EQ(held(ids(0, 20)), 3U);
  EXPECT_EQ(held(ids(1, 20)), 0U);
  EXPECT_EQ(index_.blocks_held(), 3U);
}

TEST_F(KvEventIndexTest, WhatIsRemovedIsNotHeld) {
  apply(stored({11, 12, 13}, {}, ids(0, 12)));
  EXPECT_EQ(count(apply(removed({12, 99})), KvBlockFate::kRemoved), 1U);
  EXPECT_EQ(held(ids(0, 12)), 1U);
  apply(stored({12}, 11, ids(4, 4)));
  EXPECT_EQ(held(ids(0, 12)), 3U);
  apply(KvBlocksCleared{});
  EXPECT_EQ(held(ids(0, 12)), 0U);
  EXPECT_EQ(index_.blocks_held(), 0U);
}

TEST_F(KvEventIndexTest, AChainGoesOnBehindARemovedBlock) {
  apply(stored({11}, {}, ids(0, 4)));
  apply(removed({11}));
  apply(stored({12}, 11, ids(4, 4)));
  EXPECT_EQ(held(ids(0, 8)), 0U);
  apply(stored({11}, {}, ids(0, 4)));
  EXPECT_EQ(held(ids(0, 8)), 2U);
}

TEST_F(KvEventIndexTest, WhatIsStoredTwiceGoesWithOneRemoval) {
  apply(stored({11}, {}, ids(0, 4)));
  apply(stored({11, 12}, {}, ids(0, 8)));
  EXPECT_EQ(index_.blocks_held(), 2U);
  apply(removed({11}));
  EXPECT_EQ(held(ids(0, 8)), 0U);
}

TEST_F(KvEventIndexTest, APodHoldsWhatAnyOfItsRanksHolds) {
  apply(stored({11}, {}, ids(0, 4)), 0);
  apply(stored({77}, {}, ids(0, 4)), 1);
  apply(removed({11}), 0);
  EXPECT_EQ(held(ids(0, 4)), 1U);
  index_.clear(1);
  EXPECT_EQ(held(ids(0, 4)), 0U);
}

TEST_F(KvEventIndexTest, ABlockIsHeldWhileAnyGroupOfLayersHoldsIt) {
  auto event = stored({11}, {}, ids(0, 4));
  apply(event);
  event.group = 1;
  apply(event);
  auto gone = removed({11});
  gone.group = 1;
  apply(gone);
  EXPECT_EQ(held(ids(0, 4)), 1U);
  gone.group = 0;
  apply(gone);
  EXPECT_EQ(held(ids(0, 4)), 0U);
}

TEST_F(KvEventIndexTest, SaltAndAdapterAreOthersPrompts) {
  auto event = stored({11}, {}, ids(0, 4));
  event.salt = "pepper";
  event.lora = "sql";
  apply(event);
  apply(stored({12}, 11, ids(4, 4)));
  EXPECT_EQ(held(ids(0, 8)), 0U);
  EXPECT_EQ(held(ids(0, 8), "pepper", ""), 0U);
  EXPECT_EQ(held(ids(0, 8), "pepper", "sql"), 2U);
}

TEST_F(KvEventIndexTest, CountsWhatItCannotUse) {
  auto other_size = stored({11}, {}, ids(0, 2));
  other_size.block_tokens = 2;
  EXPECT_EQ(count(apply(other_size), KvBlockFate::kOtherSize), 1U);
  auto on_cpu = stored({11}, {}, ids(0, 4));
  on_cpu.is_resident = false;
  EXPECT_EQ(count(apply(on_cpu), KvBlockFate::kNotResident), 1U);
  auto with_image = stored({11, 12, 13}, {}, ids(0, 12));
  with_image.plain_blocks = 1;
  EXPECT_EQ(count(apply(with_image), KvBlockFate::kOtherKeys), 2U);
  EXPECT_EQ(held(ids(0, 12)), 1U);
  EXPECT_EQ(count(apply(stored({15}, 14, ids(0, 4))), KvBlockFate::kUnknownParent), 1U);
  // Two hashes, and the tokens of three blocks: which two?
  EXPECT_EQ(count(apply(stored({21, 22}, {}, ids(50, 12))), KvBlockFate::kOtherKeys), 2U);
}

TEST_F(KvEventIndexTest, ARemovalFromTheCpuLeavesTheGpusBlock) {
  apply(stored({11}, {}, ids(0, 4)));
  auto gone = removed({11});
  gone.is_resident = false;
  EXPECT_EQ(count(apply(gone), KvBlockFate::kNotResident), 1U);
  EXPECT_EQ(held(ids(0, 4)), 1U);
}

TEST_F(KvEventIndexTest, TakesNoMoreThanItsBound) {
  KvEventIndex small(prefixes_, kPod, Tokens(kBlockTokens), 1, 2);
  const auto tally = small.apply(0, stored({11, 12, 13}, {}, ids(0, 12)), kNow);
  EXPECT_EQ(count(tally, KvBlockFate::kStored), 2U);
  EXPECT_EQ(count(tally, KvBlockFate::kNoRoom), 1U);
  EXPECT_EQ(held(ids(0, 12)), 2U);
  small.apply(0, removed({11}), kNow);
  EXPECT_EQ(count(small.apply(0, stored({13}, 12, ids(8, 4)), kNow), KvBlockFate::kStored), 1U);
}

TEST_F(KvEventIndexTest, TellsAnewWhatItHolds) {
  apply(stored({11, 12}, {}, ids(0, 8)));
  apply(removed({12}));
  prefixes_.forget_pod(kPod);
  EXPECT_EQ(held(ids(0, 8)), 0U);
  index_.confirm_all(kNow);
  EXPECT_EQ(held(ids(0, 8)), 1U);
}

// No engine sends this, a broken one can.
TEST_F(KvEventIndexTest, OfTwoPromptsUnderOneHashTheLaterIsHeld) {
  apply(stored({11}, {}, ids(0, 4)));
  apply(stored({11}, {}, ids(4, 4)));
  EXPECT_EQ(held(ids(0, 4)), 0U);
  EXPECT_EQ(held(ids(4, 4)), 1U);
  apply(stored({12, 12}, {}, ids(20, 8)));
  EXPECT_EQ(held(ids(20, 8)), 0U);
  EXPECT_EQ(index_.blocks_held(), 2U);
  index_.clear(0);
  EXPECT_EQ(prefixes_.elements(), 0U);
}

// Some ranks of an engine: which prompts' blocks each holds, for which groups, in plain sets.
class NaivePod {
 public:
  using Path = std::vector<TokenId>;  // all tokens up to the end of the block

  explicit NaivePod(std::size_t ranks) : ranks_(ranks) {}

  void store(std::size_t rank, const Path& path, std::uint32_t group) {
    ranks_[rank].emplace(path, group);
  }
  void remove(std::size_t rank, const Path& path, std::uint32_t group) {
    ranks_[rank].erase({path, group});
  }
  void clear(std::size_t rank) { ranks_[rank].clear(); }

  [[nodiscard]] std::uint32_t held(const Ids& prompt) const {
    std::uint32_t depth = 0;
    for (std::size_t end = kBlockTokens; end <= prompt.size() && holds(prompt, end);
         end += kBlockTokens) {
      ++depth;
    }
    return depth;
  }

 private:
  [[nodiscard]] bool holds(const Ids& prompt, std::size_t end) const {
    const Path path(prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(end));
    return std::ranges::any_of(ranks_, [&](const auto& rank) {
      return rank.contains({path, 0}) || rank.contains({path, 1});
    });
  }
  std::vector<std::set<std::pair<Path, std::uint32_t>>> ranks_;
};

// Prompts of few different blocks, so that they share prefixes; an engine's hash is drawn per rank.
class KvEventIndexProperty : public testing::TestWithParam<std::uint64_t> {};

TEST_P(KvEventIndexProperty, AgreesWithTheNaiveWay) {
  constexpr std::size_t kRanks = 3;
  SCOPED_TRACE("seed " + std::to_string(GetParam()));
  std::mt19937_64 rng(GetParam());
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(rng() % n); };
  PrefixIndex prefixes(Bytes(16 << 20));
  KvEventIndex index(prefixes, kPod, Tokens(kBlockTokens), kRanks);
  NaivePod naive(kRanks);
  std::vector<std::map<Ids, std::uint64_t>> hashes(kRanks);
  const auto hash_of = [&](std::size_t rank, const Ids& path) {
    return hashes[rank].try_emplace(path, rng()).first->second;
  };
  const auto draw_prompt = [&] {
    Ids prompt;
    for (std::size_t block = 1 + below(5); block > 0; --block) {
      const Ids drawn = ids(static_cast<TokenId>(below(2)), kBlockTokens);
      prompt.insert(prompt.end(), drawn.begin(), drawn.end());
    }
    return prompt;
  };
  const auto prefix = [](const Ids& prompt, std::size_t blocks) {
    return Ids(prompt.begin(), prompt.begin() + static_cast<std::ptrdiff_t>(blocks * kBlockTokens));
  };
  for (int step = 0; step < 2000; ++step) {
    const std::size_t rank = below(kRanks);
    const Ids prompt = draw_prompt();
    const std::size_t blocks = prompt.size() / kBlockTokens;
    const auto group = static_cast<std::uint32_t>(below(2));
    const std::size_t action = below(100);
    if (action == 0) {
      index.clear(rank);
      naive.clear(rank);
      hashes[rank].clear();
    } else if (action < 55) {
      // From a block whose parent was named before, as engines do.
      std::size_t from = below(blocks);
      while (from > 0 && !hashes[rank].contains(prefix(prompt, from))) --from;
      KvBlocksStored event = stored(
          {}, {},
          Ids(prompt.begin() + static_cast<std::ptrdiff_t>(from * kBlockTokens), prompt.end()));
      event.group = group;
      if (from > 0) event.parent = hash_of(rank, prefix(prompt, from));
      for (std::size_t i = from + 1; i <= blocks; ++i) {
        event.blocks.push_back(hash_of(rank, prefix(prompt, i)));
        naive.store(rank, prefix(prompt, i), group);
      }
      index.apply(rank, event, kNow);
    } else {
      const auto named = hashes[rank].find(prompt);
      KvBlocksRemoved event = removed({named == hashes[rank].end() ? rng() : named->second});
      event.group = group;
      index.apply(rank, event, kNow);
      naive.remove(rank, prompt, group);
    }
    const Ids asked = draw_prompt();
    const auto chain = PromptBlocks::from_tokens(asked, Tokens(kBlockTokens), {}, {}).token_chain;
    ASSERT_EQ(prefixes.match(chain, std::vector<std::uint32_t>{kPod}, kNow).front(),
              naive.held(asked))
        << "step " << step;
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, KvEventIndexProperty, testing::Range<std::uint64_t>(1, 9));

}  // namespace
}  // namespace baton
