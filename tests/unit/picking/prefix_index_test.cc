#include "core/picking/prefix_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <random>
#include <thread>

namespace baton {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using Chain = std::vector<std::uint64_t>;

const TimePoint kStart = TimePoint{} + std::chrono::hours(3);

Chain chain_of(std::uint64_t seed, std::size_t length) {
  std::mt19937_64 rng(seed);
  Chain chain(length);
  for (auto& element : chain) element = rng();
  return chain;
}

std::vector<std::uint32_t> pods_below(std::uint32_t end) {
  std::vector<std::uint32_t> pods(end);
  std::iota(pods.begin(), pods.end(), 0U);
  return pods;
}

class PrefixIndexTest : public testing::Test {
 protected:
  std::vector<std::uint32_t> match(const Chain& chain, std::vector<std::uint32_t> pods,
                                   TimePoint now = kStart) {
    return index_.match(chain, pods, now);
  }
  PrefixIndex index_{Bytes(1 << 20)};
  Chain chain_ = chain_of(1, 10);
};

TEST_F(PrefixIndexTest, CountsLeadingElementsForEachPod) {
  index_.confirm(chain_, 7, kStart);
  index_.confirm(std::span(chain_).first(4), 2, kStart);
  EXPECT_THAT(match(chain_, {2, 7, 9}), ElementsAre(4, 10, 0));
  EXPECT_THAT(match(chain_, {7, 2}), ElementsAre(10, 4));
  EXPECT_THAT(match(chain_, {}), ElementsAre());
  EXPECT_THAT(match({}, {7}), ElementsAre(0));
}

TEST_F(PrefixIndexTest, DoesNotCountBeyondAGap) {
  index_.confirm(chain_, 1, kStart);
  index_.retract(std::span(chain_).subspan(3, 1), 1);
  EXPECT_THAT(match(chain_, {1}), ElementsAre(3));
}

TEST_F(PrefixIndexTest, ABeliefEndsUnlessConfirmed) {
  index_.believe(chain_, 1, kStart, kStart + kBeliefTime);
  index_.believe(chain_, 2, kStart, kStart + kBeliefTime);
  EXPECT_THAT(match(chain_, {1, 2}, kStart + milliseconds(1900)), ElementsAre(10, 10));
  index_.confirm(chain_, 2, kStart + seconds(1));
  EXPECT_THAT(match(chain_, {1, 2}, kStart + milliseconds(2010)), ElementsAre(0, 10));
  // What is confirmed is not made a belief again.
  index_.believe(chain_, 2, kStart, kStart + kBeliefTime);
  EXPECT_THAT(match(chain_, {2}, kStart + std::chrono::hours(24)), ElementsAre(10));
}

TEST_F(PrefixIndexTest, ALaterBeliefProlongsAnEarlierOne) {
  index_.believe(chain_, 1, kStart, kStart + seconds(2));
  index_.believe(chain_, 1, kStart, kStart + seconds(5));
  index_.believe(chain_, 1, kStart, kStart + seconds(1));
  EXPECT_THAT(match(chain_, {1}, kStart + seconds(4)), ElementsAre(10));
}

TEST_F(PrefixIndexTest, ForgetsAPodAtOnceAndLearnsItAnew) {
  index_.confirm(chain_, 1, kStart);
  index_.confirm(chain_, 2, kStart);
  index_.forget_pod(1);
  EXPECT_THAT(match(chain_, {1, 2}), ElementsAre(0, 10));
  index_.confirm(std::span(chain_).first(5), 1, kStart);
  EXPECT_THAT(match(chain_, {1, 2}), ElementsAre(5, 10));
}

TEST_F(PrefixIndexTest, HoldsTenThousandPods) {
  const auto pods = pods_below(10'000);
  PrefixIndex index(Bytes(64 << 20));
  for (const std::uint32_t pod : pods) {
    index.confirm(std::span(chain_).first(pod % 2 == 0 ? 10 : 4), pod, kStart);
  }
  const auto depths = index.match(chain_, pods, kStart);
  for (const std::uint32_t pod : pods) ASSERT_EQ(depths[pod], pod % 2 == 0 ? 10U : 4U) << pod;
  EXPECT_LE(index.memory_used(), Bytes(10 * (64 + 8 * 9'999)));
}

TEST_F(PrefixIndexTest, AnswersWithoutTheRoomOfTheAnswerBefore) {
  index_.confirm(chain_, 7, kStart);
  index_.confirm(std::span(chain_).first(3), 9, kStart);
  PrefixMatch room;
  const auto depths = [&](std::span<const std::uint64_t> chain) {
    index_.follow(chain, kStart, room);
    return std::vector{index_.depth(7, room), index_.depth(9, room), index_.depth(1, room)};
  };
  EXPECT_THAT(depths(chain_), ElementsAre(10, 3, 0));
  EXPECT_THAT(depths(chain_of(2, 10)), ElementsAre(0, 0, 0));
  EXPECT_THAT(depths(std::span(chain_).first(5)), ElementsAre(5, 3, 0));
}

TEST_F(PrefixIndexTest, StaysWithinItsBoundAndKeepsWhatIsUsed) {
  TimePoint now = kStart;
  const Chain kept = chain_of(99, 100);
  index_.confirm(kept, 5, now);
  for (std::uint64_t i = 0; i < 2000; ++i) {
    now += milliseconds(10);
    index_.confirm(chain_of(1000 + i, 50), static_cast<std::uint32_t>(i % 20), now);
    ASSERT_THAT(match(kept, {5}, now), ElementsAre(100)) << i;
  }
  EXPECT_LE(index_.memory_used(), index_.memory_bound());
  EXPECT_GT(index_.elements(), 10000U);
  EXPECT_GT(index_.evictions(), 50000U);
  EXPECT_THAT(match(chain_of(1000, 50), {0}, now), ElementsAre(0));
  EXPECT_THAT(match(chain_of(1000 + 1999, 50), {1999 % 20}, now), ElementsAre(50));
}

// Of what was used together the ends go before the beginnings, as engines free blocks, so that what
// is left of a prompt is of use.
TEST_F(PrefixIndexTest, EvictsEndsBeforeBeginnings) {
  const Chain endless = chain_of(3, 40'000);
  index_.confirm(endless, 1, kStart);
  EXPECT_GT(index_.evictions(), 0U);
  EXPECT_GT(match(endless, {1})[0], index_.elements() * 8 / 10);

  PrefixIndex index(Bytes(1 << 20));
  const std::size_t room = index_.elements();
  const Chain first = chain_of(4, room / 2);
  const Chain second = chain_of(5, room / 2);
  index.confirm(first, 1, kStart);
  index.confirm(second, 2, kStart + seconds(1));
  index.confirm(chain_of(6, room / 4), 3, kStart + seconds(2));
  const std::vector<std::uint32_t> pods = {1, 2};
  const std::uint32_t left = index.match(first, pods, kStart + seconds(2))[0];
  EXPECT_GT(left, room / 8);
  EXPECT_LT(left, room / 2);
  EXPECT_EQ(index.match(second, pods, kStart + seconds(2))[1], second.size());
}

TEST_F(PrefixIndexTest, EvictsTheLeastRecentlyUsed) {
  constexpr std::size_t kChains = 4000;
  for (std::size_t i = 0; i < kChains; ++i) {
    index_.confirm(chain_of(i, 10), 1, kStart + milliseconds(10 * i));
  }
  const TimePoint end = kStart + milliseconds(10 * kChains);
  const std::size_t held = index_.elements();
  for (std::size_t i = 0; i < kChains; ++i) {
    const std::size_t since = (kChains - i) * 10;
    const std::uint32_t depth = match(chain_of(i, 10), {1}, end)[0];
    if (since < held * 85 / 100) ASSERT_EQ(depth, 10U) << i;
    if (since > held * 115 / 100) ASSERT_EQ(depth, 0U) << i;
  }
}

// While the clock is behind what was told before, nothing is newer than what came last.
TEST_F(PrefixIndexTest, AClockThatJumpsBackMakesNothingOld) {
  index_.confirm(chain_of(3, 40'000), 1, kStart);
  const TimePoint before = kStart - std::chrono::hours(1);
  index_.confirm(chain_, 2, before);
  index_.confirm(chain_of(4, 3000), 3, before);
  EXPECT_THAT(match(chain_, {2}, before), ElementsAre(10));
  // What is believed ends by the time that is told with the question.
  index_.believe(chain_, 4, before, before + kBeliefTime);
  EXPECT_THAT(match(chain_, {4}, before + seconds(1)), ElementsAre(10));
  EXPECT_THAT(match(chain_, {4}, before + seconds(2)), ElementsAre(0));
  EXPECT_THAT(match(chain_, {2, 4}, TimePoint::min()), ElementsAre(10, 10));
  EXPECT_THAT(match(chain_, {2, 4}, TimePoint::max()), ElementsAre(10, 0));
}

// The hashes are the only names of pieces: what two prompts agree on by accident is one piece.
TEST_F(PrefixIndexTest, ChainsThatCollideShareThatElementAlone) {
  Chain other = chain_of(2, 10);
  other[5] = chain_[5];
  index_.confirm(chain_, 1, kStart);
  EXPECT_THAT(match(other, {1}), ElementsAre(0));
  index_.confirm(std::span(other).first(5), 1, kStart);
  EXPECT_THAT(match(other, {1}), ElementsAre(6));
  index_.confirm(other, 2, kStart);
  index_.retract(chain_, 1);
  EXPECT_THAT(match(other, {1, 2}), ElementsAre(5, 10));
  EXPECT_THAT(match(chain_, {1, 2}), ElementsAre(0, 0));

  const Chain same(10, 0);  // even all of them
  index_.confirm(std::span(same).first(3), 3, kStart);
  EXPECT_THAT(match(same, {3}), ElementsAre(10));
  EXPECT_EQ(index_.elements(), 11U);
}

TEST_F(PrefixIndexTest, StaysWithinAnyBound) {
  const Chain chain = chain_of(3, 3000);
  for (const std::int64_t bytes : {-1, 0, 1, 1000, 2000, 5000, 20'000, 100'000}) {
    PrefixIndex index((Bytes(bytes)));
    for (std::uint32_t pod = 0; pod < 100; ++pod) {
      index.confirm(std::span(chain).first(300), pod, kStart);
    }
    index.confirm(chain, 7, kStart);
    index.retract(std::span(chain).last(10), 7);
    index.forget_pod(8);
    EXPECT_LE(index.memory_used().count(), std::max<std::int64_t>(bytes, 0)) << bytes;
    const auto depths = index.match(chain, std::vector<std::uint32_t>{7, 8, 9}, kStart);
    EXPECT_EQ(depths[1], 0U);
    EXPECT_EQ(depths[0] > 0, bytes >= 2000) << bytes;
    if (bytes <= 0) EXPECT_EQ(index.elements(), 0U);
  }
}

// 64 tokens a block, at most a kibibyte for a thousand of them, and 8 bytes for each further pod,
// even of pods that lie far apart.
TEST_F(PrefixIndexTest, TakesLittleMemory) {
  constexpr std::size_t kBlocks = 1000;
  PrefixIndex index(Bytes(64 << 20));
  for (const std::uint32_t pod : pods_below(2000)) index.confirm(chain_, pod, kStart);
  const Bytes before = index.memory_used();
  const Chain chain = chain_of(4, kBlocks);
  for (std::int64_t pods = 1; pods <= 20; ++pods) {
    index.confirm(chain, static_cast<std::uint32_t>(pods * 90), kStart);
    const Bytes bound{static_cast<std::int64_t>(kBlocks) * (64 + 8 * (pods - 1))};
    ASSERT_LE(index.memory_used() - before, bound) << pods;
  }
  for (const std::uint32_t pod : pods_below(2000)) index.confirm(chain, pod, kStart);
  EXPECT_LE(index.memory_used() - before, Bytes(kBlocks * 2000 / 4));
}

// Pods far apart need words beyond those in place, which have their own share of the memory.
TEST_F(PrefixIndexTest, KeepsWhatIsUsedWhereRoomForPodsRunsOut) {
  for (const std::uint32_t pod : pods_below(2000)) index_.confirm(chain_, pod, kStart);
  std::vector<std::uint32_t> pods;
  for (std::uint32_t i = 0; i < 30; ++i) pods.push_back(i * 60);
  TimePoint now = kStart;
  for (std::uint64_t i = 0; i < 500; ++i) {
    now += milliseconds(10);
    const Chain chain = chain_of(100 + i, 10);
    for (const std::uint32_t pod : pods) index_.confirm(chain, pod, now);
    ASSERT_THAT(match(chain, pods, now), testing::Each(10U)) << i;
    ASSERT_THAT(match(chain_, {5, 1999}, now), ElementsAre(10, 10)) << i;
  }
  EXPECT_GT(index_.evictions(), 1000U);
  EXPECT_LE(index_.memory_used(), index_.memory_bound());

  PrefixIndex tiny(Bytes(3000));  // less than one element can need
  for (const std::uint32_t pod : pods_below(4000)) {
    tiny.confirm(chain_of(pod + 1, 1), pod, kStart);
    if (pod % 48 != 0) continue;
    tiny.confirm(chain_, pod, kStart);
    ASSERT_THAT(tiny.match(chain_, std::vector{pod}, kStart), ElementsAre(testing::Gt(0))) << pod;
    ASSERT_LE(tiny.memory_used(), tiny.memory_bound());
  }
}

TEST_F(PrefixIndexTest, IgnoresPodsBeyondItsRange) {
  for (const std::uint32_t pod : {1U << 16, ~0U}) {
    index_.confirm(chain_, pod, kStart);
    index_.retract(chain_, pod);
    index_.forget_pod(pod);
    EXPECT_EQ(index_.elements(), 0U);
    index_.confirm(chain_, 1, kStart);
    EXPECT_THAT(match(chain_, {pod, 1}), ElementsAre(0, 10));
    index_.retract(chain_, 1);
  }
}

// After more restarts than it can tell apart it begins anew, and nothing old is believed again.
TEST_F(PrefixIndexTest, OutlastsMillionsOfRestarts) {
  const auto pods = pods_below(48);
  for (const std::uint32_t pod : pods) index_.confirm(chain_, pod, kStart);
  constexpr std::uint32_t kRestarts = Incarnations::kGroups * Incarnations::kMembers;
  std::uint64_t anew = 0;
  for (std::uint32_t i = 0; i < kRestarts + 1000; ++i) {
    const std::uint64_t before = index_.evictions();
    index_.forget_pod(100);
    index_.confirm(std::span(chain_).first(1), 100, kStart);
    if (index_.evictions() == before) continue;
    ++anew;
    EXPECT_THAT(match(chain_, pods), testing::Each(0U));
    EXPECT_THAT(match(chain_, {100}), ElementsAre(1));
    index_.confirm(chain_, 3, kStart);
  }
  EXPECT_EQ(anew, 1U);
  EXPECT_THAT(match(chain_, {2, 3, 100}), ElementsAre(0, 10, 1));
}

TEST_F(PrefixIndexTest, RetractingTheLastPodFreesTheElement) {
  index_.confirm(chain_, 1, kStart);
  EXPECT_EQ(index_.elements(), 10U);
  index_.retract(chain_, 1);
  EXPECT_EQ(index_.elements(), 0U);
  EXPECT_EQ(index_.memory_used(), Bytes(0));
}

// Against the naive way: a map from element and pod to the end of what is known.
class PrefixIndexAgreement : public PrefixIndexTest,
                             public testing::WithParamInterface<std::uint32_t> {};
INSTANTIATE_TEST_SUITE_P(PodsApart, PrefixIndexAgreement, testing::Values(1, 7, 50));

TEST_P(PrefixIndexAgreement, AgreesWithAMapWhileNothingIsEvicted) {
  constexpr std::uint32_t kPods = 12;
  for (const std::uint32_t pod : pods_below(kPods * GetParam())) {
    index_.confirm(chain_of(99, 1), pod, kStart);
  }
  std::mt19937_64 rng(5);
  std::map<std::pair<std::uint64_t, std::uint32_t>, TimePoint> known;
  TimePoint now = kStart;
  for (int round = 0; round < 20000; ++round) {
    const Chain chain = chain_of(rng() % 20, 1 + rng() % 12);
    const auto pod = static_cast<std::uint32_t>(rng() % kPods) * GetParam();
    switch (rng() % 8) {
      case 0:
      case 1: {
        const TimePoint until = now + milliseconds(10 * (1 + rng() % 300));
        index_.believe(chain, pod, now, until);
        for (const auto element : chain) {
          auto& end = known[{element, pod}];
          end = std::max(end, until);
        }
        break;
      }
      case 2:
        index_.confirm(chain, pod, now);
        for (const auto element : chain) known[{element, pod}] = TimePoint::max();
        break;
      case 3:
        index_.retract(chain, pod);
        for (const auto element : chain) known.erase({element, pod});
        break;
      case 4:
        if (rng() % 10 == 0) {
          index_.forget_pod(pod);
          std::erase_if(known, [pod](const auto& item) { return item.first.second == pod; });
        }
        break;
      case 5: now += milliseconds(10 * (rng() % 20)); break;
      default: {
        std::vector<std::uint32_t> asked;
        std::vector<std::uint32_t> expected;
        for (std::uint32_t p = 0; p < kPods * GetParam(); p += GetParam()) {
          std::uint32_t depth = 0;
          while (depth < chain.size()) {
            const auto it = known.find({chain[depth], p});
            if (it == known.end() || it->second <= now) break;
            ++depth;
          }
          asked.push_back(p);
          expected.push_back(depth);
        }
        ASSERT_EQ(match(chain, asked, now), expected) << "round " << round;
      }
    }
  }
}

// Small hashes in a row fall into few shards unless they are spread; the table must survive any.
TEST_F(PrefixIndexTest, SurvivesHashesThatAreNotRandom) {
  Chain chain;
  for (std::uint64_t i = 0; i < 3000; ++i) chain.push_back(i);
  index_.confirm(chain, 1, kStart);
  EXPECT_THAT(match(chain, {1}), ElementsAre(3000));
}

TEST(PrefixIndexConcurrent, AnswersStayWithinWhatWasWritten) {
  PrefixIndex index(Bytes(512 << 10));  // small, so that eviction goes on
  constexpr std::uint32_t kPods = 8;
  constexpr std::uint32_t kApart = 60;  // so that their words are not all in place
  const Chain shared = chain_of(~0U, 30);
  for (const std::uint32_t pod : pods_below(kPods * kApart)) index.confirm(shared, pod, kStart);
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 rng(t);
      PrefixMatch room;
      for (int i = 0; i < 3000; ++i) {
        const TimePoint now = kStart + milliseconds(i);
        const std::uint64_t seed = rng() % 600;
        const Chain chain = chain_of(seed, 30);
        // Only two pods can hold a chain, and all that which they share; other answers are wrong.
        const auto owner =
            static_cast<std::uint32_t>((seed + (rng() % 2 == 0 ? 0 : 3)) % kPods) * kApart;
        switch (rng() % 5) {
          case 0: index.believe(chain, owner, now, now + kBeliefTime); break;
          case 1: index.confirm(chain, owner, now); break;
          case 2: index.retract(std::span(chain).subspan(10, 3), owner); break;
          case 3:
            if (rng() % 100 == 0) index.forget_pod(owner);
            index.confirm(shared, owner, now);
            break;
          default: {
            index.follow(chain, now, room);
            for (std::uint32_t p = 0; p < kPods; ++p) {
              if (p == seed % kPods || p == (seed + 3) % kPods) continue;
              if (index.depth(p * kApart, room) != 0) ++wrong;
            }
          }
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, 0);
  EXPECT_LE(index.memory_used(), index.memory_bound());
}

// Elements move when others go, and their words when pods come; a reader notices neither.
TEST(PrefixIndexConcurrent, ReadersMissNothingThatStays) {
  PrefixIndex index(Bytes(1 << 20));
  const auto pods = pods_below(400);
  for (const std::uint32_t pod : pods) index.confirm(chain_of(1, 1), pod, kStart);
  index.confirm(chain_of(2, 13'000), 1, kStart);  // so that the table is rather full
  const Chain kept = chain_of(3, 20);
  index.confirm(kept, 398, kStart);
  std::atomic<int> writers{2};
  std::vector<std::thread> threads;
  threads.emplace_back([&] {
    for (std::uint64_t i = 0; i < 60; ++i) {
      const Chain passing = chain_of(100 + i, 1000);
      index.confirm(passing, 2, kStart);
      index.retract(passing, 2);
    }
    --writers;
  });
  threads.emplace_back([&] {
    for (std::uint32_t i = 0; i < 2000; ++i) {
      index.confirm(kept, 1 + i * 49 % 350, kStart);
      index.retract(kept, 1 + (i + 4) * 49 % 350);
    }
    --writers;
  });
  PrefixMatch room;
  int missed = 0;
  while (writers > 0) {
    index.follow(kept, kStart, room);
    if (index.depth(398, room) != kept.size() || index.depth(399, room) != 0) ++missed;
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(missed, 0);
  EXPECT_EQ(index.evictions(), 0U);
}

}  // namespace
}  // namespace baton
