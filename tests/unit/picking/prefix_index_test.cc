#include "core/picking/prefix_index.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>
#include <set>
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

TEST_F(PrefixIndexTest, HoldsAThousandPodsOnOneElement) {
  std::vector<std::uint32_t> pods;
  for (std::uint32_t pod = 0; pod < 1000; ++pod) {
    pods.push_back(pod);
    PrefixIndex& index = index_;
    index.confirm(std::span(chain_).first(1), pod, kStart);
  }
  // A shard of this small index has room for 512 holders beside those in place.
  const auto depths = match(chain_, pods);
  EXPECT_GT(std::ranges::count(depths, 1U), 400);
  EXPECT_EQ(depths.back(), 1U);

  PrefixIndex large(Bytes(64 << 20));
  for (const std::uint32_t pod : pods) large.confirm(chain_, pod, kStart);
  EXPECT_THAT(large.match(chain_, pods, kStart), testing::Each(10U));
  EXPECT_LE(large.memory_used(), Bytes(10 * (1000 * 9 + 1000)));
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

TEST_F(PrefixIndexTest, TakesAtMostAKibibyteForAThousandTokens) {
  PrefixIndex index(Bytes(64 << 20));
  index.confirm(chain_of(4, 15625), 1, kStart);  // a million tokens in blocks of 64
  EXPECT_LE(index.memory_used(), Bytes(1000 * 1024));
}

TEST_F(PrefixIndexTest, IgnoresPodsBeyondItsRange) {
  index_.confirm(chain_, 1U << 16, kStart);
  index_.retract(chain_, 1U << 16);
  index_.forget_pod(1U << 16);
  EXPECT_EQ(index_.elements(), 0U);
}

TEST_F(PrefixIndexTest, RetractingTheLastPodFreesTheElement) {
  index_.confirm(chain_, 1, kStart);
  EXPECT_EQ(index_.elements(), 10U);
  index_.retract(chain_, 1);
  EXPECT_EQ(index_.elements(), 0U);
  EXPECT_EQ(index_.memory_used(), Bytes(0));
}

// Against the naive way: a map from element and pod to the end of what is known.
TEST_F(PrefixIndexTest, AgreesWithAMapWhileNothingIsEvicted) {
  constexpr std::uint32_t kPods = 12;
  std::mt19937_64 rng(5);
  std::map<std::pair<std::uint64_t, std::uint32_t>, TimePoint> known;
  TimePoint now = kStart;
  for (int round = 0; round < 20000; ++round) {
    const Chain chain = chain_of(rng() % 20, 1 + rng() % 12);
    const auto pod = static_cast<std::uint32_t>(rng() % kPods);
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
        std::vector<std::uint32_t> pods;
        std::vector<std::uint32_t> expected;
        for (std::uint32_t p = 0; p < kPods; ++p) {
          std::uint32_t depth = 0;
          while (depth < chain.size()) {
            const auto it = known.find({chain[depth], p});
            if (it == known.end() || it->second <= now) break;
            ++depth;
          }
          pods.push_back(p);
          expected.push_back(depth);
        }
        ASSERT_EQ(match(chain, pods, now), expected) << "round " << round;
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
  std::vector<std::thread> threads;
  std::atomic<int> wrong{0};
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      std::mt19937_64 rng(t);
      for (int i = 0; i < 3000; ++i) {
        const TimePoint now = kStart + milliseconds(i);
        const std::uint64_t seed = rng() % 600;
        const Chain chain = chain_of(seed, 30);
        // A pod holds only chains whose seed it divides into evenly, so any other answer is wrong.
        const auto owner = static_cast<std::uint32_t>(seed % kPods);
        switch (rng() % 5) {
          case 0: index.believe(chain, owner, now, now + kBeliefTime); break;
          case 1: index.confirm(chain, owner, now); break;
          case 2: index.retract(std::span(chain).subspan(10, 3), owner); break;
          case 3:
            if (rng() % 100 == 0) index.forget_pod(owner);
            break;
          default: {
            const std::vector<std::uint32_t> pods = {0, 1, 2, 3, 4, 5, 6, 7};
            const auto depths = index.match(chain, pods, now);
            for (std::uint32_t pod = 0; pod < kPods; ++pod) {
              if (pod != owner && depths[pod] != 0) ++wrong;
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

}  // namespace
}  // namespace baton
