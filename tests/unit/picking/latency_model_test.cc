#include "core/picking/latency_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <functional>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/picking/simulated_pod.h"

namespace baton {
namespace {

using namespace simulated;

struct Learning {
  std::string profile;
  double prior = 1.0;  // wrong by this factor
};

class LatencyModelLearns : public testing::TestWithParam<Learning> {};

TEST_P(LatencyModelLearns, FromTensOfObservationsAndWellFromHundreds) {
  const SimulatedPod pod(profile_of(GetParam().profile));
  for (std::uint64_t seed = 1; seed <= 5; ++seed) {
    LatencyModel model(wrong_by(GetParam().prior));
    Draws draws(seed);
    see_both(model, pod, draws, 30);
    EXPECT_LT(prefill_errors(model, pod).mean(), 0.15) << seed;
    EXPECT_LT(step_errors(model, pod).mean(), 0.15) << seed;

    see_both(model, pod, draws, 170);
    // Dynamo's steps of 8,192 tokens are no line, nor a parabola, over the tokens of a prompt.
    EXPECT_LT(prefill_errors(model, pod).mean(), 0.05) << seed;
    EXPECT_LT(prefill_errors(model, pod).quantile(0.95), 0.1) << seed;
    EXPECT_LT(step_errors(model, pod).mean(), 0.05) << seed;
    EXPECT_LT(step_errors(model, pod).quantile(0.95), 0.12) << seed;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Profiles, LatencyModelLearns,
    testing::Values(Learning{"h100-8b"}, Learning{"h100-8b", 3.0}, Learning{"h100-8b", 1.0 / 3},
                    Learning{"dynamo-polynomial"}, Learning{"dynamo-polynomial", 3.0},
                    Learning{"dynamo-polynomial", 1.0 / 3}, Learning{"small-gpu"},
                    Learning{"small-gpu", 3.0}, Learning{"small-gpu", 1.0 / 3},
                    Learning{"small-gpu", 0.01}, Learning{"h100-8b", 100.0}));

class LatencyModelTest : public testing::Test {
 protected:
  static constexpr Tokens kPrompt{4000};

  // Predicted over true, of one prompt.
  [[nodiscard]] double prefill_ratio(const SimulatedPod& pod) const {
    return model_.prefill_seconds(pod.index, Tokens(0), kPrompt) / pod.prefill(Tokens(0), kPrompt);
  }
  [[nodiscard]] double step_ratio(const SimulatedPod& pod) const {
    return model_.step_seconds(pod.index, 32, 64e3) / pod.step(32, Tokens(64'000));
  }
  void expect_known(const SimulatedPod& pod, double within) {
    EXPECT_NEAR(prefill_ratio(pod), 1.0, within) << "pod " << pod.index;
    EXPECT_NEAR(step_ratio(pod), 1.0, within) << "pod " << pod.index;
  }

  LatencyModel model_;
  Draws draws_{17};
};

TEST_F(LatencyModelTest, StartsFromThePrior) {
  const LatencyPrior prior;
  EXPECT_NEAR(model_.prefill_seconds(3, Tokens(1000), Tokens(500)),
              prior.prefill_seconds + 500 * prior.prefill_seconds_per_token +
                  (1500.0 * 1500 - 1000.0 * 1000) * prior.prefill_seconds_per_pair,
              1e-9);
  EXPECT_NEAR(model_.step_seconds(3, 10, 20e3),
              prior.step_seconds + 10 * prior.step_seconds_per_sequence +
                  20e3 * prior.step_seconds_per_kv_token,
              1e-9);
  EXPECT_NEAR(model_.transfer_seconds(3, 4, Bytes(4'000'000)), prior.transfer_seconds + 1e-3, 1e-9);
  EXPECT_EQ(model_.handoff_seconds(), prior.handoff_seconds);
  EXPECT_EQ(model_.lora_seconds(LoraResidency::kResident), 0.0);
  EXPECT_NEAR(model_.lora_seconds(LoraResidency::kLoadable), prior.lora_load_seconds, 1e-9);
  EXPECT_NEAR(model_.lora_seconds(LoraResidency::kFull),
              prior.lora_load_seconds + prior.lora_evict_seconds, 1e-9);
  EXPECT_EQ(model_.error().prefill_seen, 0U);
}

TEST_F(LatencyModelTest, TellsPodsOfOnePoolApart) {
  std::vector<SimulatedPod> pods;
  for (std::uint32_t i = 0; i < 12; ++i) {
    pods.emplace_back(profile_of("h100-8b"), i, i % 2 == 0 ? 0.5 : 2.0);
  }
  for (int i = 0; i < 40; ++i) {
    for (const SimulatedPod& pod : pods) see_both(model_, pod, draws_, 1);
  }
  for (const SimulatedPod& pod : pods) expect_known(pod, 0.1);
  // What nothing was seen of is neither.
  const SimulatedPod other(profile_of("h100-8b"), 900);
  expect_known(other, 0.5);
}

TEST_F(LatencyModelTest, GivesANewPodWhatItsPoolTakes) {
  const SimulatedPod old(small_gpu(), 1);
  const SimulatedPod fresh(small_gpu(), 2);
  see_both(model_, old, draws_, 200);
  expect_known(fresh, 0.1);
}

TEST_F(LatencyModelTest, FollowsAPodThatBecameSlower) {
  const SimulatedPod steady(profile_of("h100-8b"), 1);
  SimulatedPod other(profile_of("h100-8b"), 2);
  for (int i = 0; i < 300; ++i) {
    see_both(model_, steady, draws_, 1);
    see_both(model_, other, draws_, 1);
  }
  for (const double factor : {3.0, 0.5, 1.0}) {
    other.become(factor);
    see_both(model_, other, draws_, 20);
    expect_known(other, 0.15);
    expect_known(steady, 0.1);
  }
}

TEST_F(LatencyModelTest, IsNotMovedByOutliers) {
  std::vector<SimulatedPod> pods;
  for (std::uint32_t i = 0; i < 4; ++i) pods.emplace_back(profile_of("h100-8b"), i);
  for (int i = 0; i < 250; ++i) {
    for (const SimulatedPod& pod : pods) {
      see_prefill(model_, pod, draws_, draws_.one_in(20) ? 20.0 : 1.0);
      see_step(model_, pod, draws_, draws_.one_in(20) ? 20.0 : 1.0);
      if (i < 50) continue;
      expect_known(pod, 0.2);
    }
  }
  for (const SimulatedPod& pod : pods) {
    EXPECT_LT(prefill_errors(model_, pod).mean(), 0.05);
    EXPECT_LT(step_errors(model_, pod).mean(), 0.08);
  }
}

TEST_F(LatencyModelTest, KeepsToItselfWhatNoObservationTells) {
  const SimulatedPod pod(profile_of("h100-8b"));
  see_both(model_, pod, draws_, 300);
  // Weeks of one kind of prompt and one batch.
  const PromptWork work = PromptWork::of(Tokens(0), Tokens(700));
  for (int i = 0; i < 20'000; ++i) {
    model_.observe(LatencyModel::PrefillSeen{0, 1, work.uncached_tokens, work.pairs,
                                             pod.prefill(Tokens(0), Tokens(700)) * draws_.noise()});
    model_.observe(
        LatencyModel::StepSeen{0, 8, 9000, 100, pod.step(8, Tokens(9000)) * draws_.noise()});
  }
  EXPECT_LT(prefill_errors(model_, pod).mean(), 0.25);
  EXPECT_LT(step_errors(model_, pod).mean(), 0.25);
  see_both(model_, pod, draws_, 50);
  EXPECT_LT(prefill_errors(model_, pod).mean(), 0.06);
  EXPECT_LT(step_errors(model_, pod).mean(), 0.08);
}

TEST_F(LatencyModelTest, NeverPredictsLessForMoreKv) {
  const SimulatedPod pod(profile_of("dynamo-polynomial"));
  see_both(model_, pod, draws_, 300);
  double before = 0.0;
  for (double kv = 0; kv < 4e6; kv += 50e3) {
    const double now = model_.step_seconds(0, 20, kv);
    EXPECT_GE(now, before);
    before = now;
  }
}

TEST_F(LatencyModelTest, WeighsLongStreamsMore) {
  LatencyModel other;
  const LatencyModel::StepSeen seen{1, 10, 10e3, 8, 12e-3};
  for (int i = 0; i < 20; ++i) {
    model_.observe(seen);
    other.observe(seen);
  }
  const double before = model_.step_seconds(1, 10, 10e3);
  model_.observe(LatencyModel::StepSeen{1, 10, 10e3, 8, 14e-3});
  other.observe(LatencyModel::StepSeen{1, 10, 10e3, 800, 14e-3});
  EXPECT_GT(model_.step_seconds(1, 10, 10e3), before);
  EXPECT_GT(other.step_seconds(1, 10, 10e3), model_.step_seconds(1, 10, 10e3));
}

TEST_F(LatencyModelTest, KnowsTheQuantilesOfItsErrors) {
  const SimulatedPod pod(profile_of("h100-8b"));
  constexpr double kSpread = 0.3;
  for (int i = 0; i < 3000; ++i) {
    see_prefill(model_, pod, draws_, draws_.noise(0.2828));  // with the 10 % together 30 %
    see_step(model_, pod, draws_, draws_.noise(0.2828));
  }
  const auto expected = [](double deviations) { return std::exp(kSpread * deviations); };
  for (const auto& quantile : {&LatencyModel::prefill_quantile, &LatencyModel::step_quantile}) {
    EXPECT_NEAR((model_.*quantile)(0.5), 1.0, 0.06);
    EXPECT_NEAR((model_.*quantile)(0.1), expected(-1.2816), 0.06);
    EXPECT_NEAR((model_.*quantile)(0.9), expected(1.2816), 0.12);
    EXPECT_NEAR((model_.*quantile)(0.99), expected(2.3263), 0.3);
  }
}

TEST_F(LatencyModelTest, TellsHowFarOffItWas) {
  const SimulatedPod pod(profile_of("h100-8b"));
  see_both(model_, pod, draws_, 400);
  const LatencyModel::Error error = model_.error();
  EXPECT_EQ(error.prefill_seen, 400U);
  EXPECT_EQ(error.step_seen, 400U);
  EXPECT_EQ(error.transfer_seen, 0U);
  // The mean of |x − 1| of 10 % noise is 8 %.
  EXPECT_NEAR(error.prefill, 0.08, 0.02);
  EXPECT_NEAR(error.step, 0.08, 0.02);
}

TEST_F(LatencyModelTest, ForgetsARestartedPod) {
  const SimulatedPod usual(profile_of("h100-8b"), 1);
  const SimulatedPod slow(profile_of("h100-8b"), 2, 3.0);
  for (int i = 0; i < 200; ++i) {
    see_both(model_, usual, draws_, 5);
    see_both(model_, slow, draws_, 1);
  }
  model_.observe(LatencyModel::TransferSeen{1, 2, Bytes(1 << 30), 30.0});
  expect_known(slow, 0.1);
  model_.forget_pod(2);
  model_.forget_pod(60'000);  // of which nothing is known
  EXPECT_EQ(model_.prefill_seconds(2, Tokens(0), kPrompt),
            model_.prefill_seconds(LatencyModel::kAnyPod, Tokens(0), kPrompt));
  EXPECT_EQ(model_.step_seconds(2, 1, 1), model_.step_seconds(LatencyModel::kAnyPod, 1, 1));
  EXPECT_EQ(model_.transfer_seconds(1, 2, Bytes(1 << 20)),
            model_.transfer_seconds(1, LatencyModel::kAnyPod, Bytes(1 << 20)));
  expect_known(usual, 0.1);
}

// Nothing is seen of it any more, since it is slow: it is given another try.
TEST_F(LatencyModelTest, TakesAPodThatWasSlowToBeAsOthersAgainAfterAWhile) {
  const SimulatedPod steady(profile_of("h100-8b"), 1);
  SimulatedPod slow(profile_of("h100-8b"), 2, 3.0);
  TimePoint now = TimePoint{} + std::chrono::hours(1);
  const auto pass = [&](Duration time) {
    for (const TimePoint end = now + time; now < end; now += std::chrono::seconds(1)) {
      see_both(model_, steady, draws_, 1);
      model_.forget(now);
    }
  };
  for (int i = 0; i < 30; ++i) {
    see_both(model_, slow, draws_, 1);
    pass(std::chrono::seconds(10));
  }
  expect_known(slow, 0.15);  // while it is seen, nothing fades

  const auto prefill = [&] {
    return model_.prefill_seconds(2, Tokens(0), kPrompt) /
           model_.prefill_seconds(1, Tokens(0), kPrompt);
  };
  const auto step = [&] {
    return model_.step_seconds(2, 32, 64e3) / model_.step_seconds(1, 32, 64e3);
  };
  pass(LatencyModel::kFactorHalfLife);
  EXPECT_NEAR(prefill(), std::sqrt(3.0), 0.3);
  EXPECT_NEAR(step(), std::sqrt(3.0), 0.3);
  pass(4 * LatencyModel::kFactorHalfLife);
  EXPECT_NEAR(prefill(), 1.0, 0.1);
  EXPECT_NEAR(step(), 1.0, 0.1);
  expect_known(steady, 0.1);

  // A few requests tell what it is now.
  see_both(model_, slow, draws_, 3);
  EXPECT_GT(prefill(), 2.0);
  EXPECT_GT(step(), 2.0);
  pass(5 * LatencyModel::kFactorHalfLife);
  slow.become(1.0);
  see_both(model_, slow, draws_, 3);
  expect_known(slow, 0.15);
}

TEST_F(LatencyModelTest, TriesASlowWayBetweenTwoPodsAgain) {
  static constexpr Bytes kLarge{1LL << 30};
  const auto see = [this](std::uint32_t to, double seconds) {
    model_.observe(LatencyModel::TransferSeen{1, to, kLarge, seconds});
  };
  for (int i = 0; i < 30; ++i) {
    see(10, 0.4);
    for (std::uint32_t to = 11; to < 15; ++to) see(to, 0.1);
  }
  const auto ratio = [this] {
    return model_.transfer_seconds(1, 10, kLarge) / model_.transfer_seconds(1, 11, kLarge);
  };
  TimePoint now = TimePoint{} + std::chrono::hours(9);
  const auto pass = [&](Duration time) {
    see(11, 0.1);
    model_.forget(now += time);
  };
  pass(Duration{});
  pass(LatencyModel::kForgetEach);
  EXPECT_GT(ratio(), 2.5);
  pass(-std::chrono::hours(1));  // a clock that went back
  EXPECT_GT(ratio(), 2.5);
  pass(8 * LatencyModel::kFactorHalfLife);
  EXPECT_NEAR(ratio(), 1.0, 0.05);
}

TEST_F(LatencyModelTest, LearnsBandwidthsOfPairs) {
  const auto seconds = [](Bytes bytes, double bandwidth) {
    return 1e-3 + static_cast<double>(bytes.count()) / bandwidth;
  };
  for (int i = 0; i < 200; ++i) {
    const Bytes bytes(static_cast<std::int64_t>(std::exp(draws_.uniform(16, 22))));
    for (std::uint32_t to = 10; to < 20; ++to) {
      const double bandwidth = to == 10 ? 5e9 : 20e9;
      model_.observe(
          LatencyModel::TransferSeen{1, to, bytes, seconds(bytes, bandwidth) * draws_.noise()});
    }
  }
  constexpr Bytes kLarge{1LL << 30};
  EXPECT_NEAR(model_.transfer_seconds(1, 11, kLarge) / seconds(kLarge, 20e9), 1.0, 0.15);
  EXPECT_NEAR(model_.transfer_seconds(1, 10, kLarge) / seconds(kLarge, 5e9), 1.0, 0.15);
  // The other way, and other pods: the pool's.
  EXPECT_NEAR(model_.transfer_seconds(10, 1, kLarge) / seconds(kLarge, 20e9), 1.0, 0.25);
  EXPECT_EQ(model_.transfer_seconds(1, 10, Bytes(0)), 0.0);
  EXPECT_LT(model_.error().transfer, 0.2);
}

TEST_F(LatencyModelTest, LearnsWhatLoadingAnAdapterTakes) {
  const double prefill = model_.prefill_seconds(3, Tokens(0), kPrompt);
  const auto saw = [&](LoraResidency residency, double load) {
    return model_.observe(
        LatencyModel::AdapterSeen{3, residency, Tokens(0), kPrompt, prefill + load});
  };
  for (int i = 0; i < 20; ++i) {
    EXPECT_TRUE(saw(LoraResidency::kLoadable, 1.5 * draws_.noise()));
    EXPECT_TRUE(saw(LoraResidency::kFull, 4.0 * draws_.noise()));
    EXPECT_FALSE(saw(LoraResidency::kResident, 9.0));
  }
  EXPECT_EQ(model_.lora_seconds(LoraResidency::kResident), 0.0);
  EXPECT_NEAR(model_.lora_seconds(LoraResidency::kLoadable), 1.5, 0.15);
  EXPECT_NEAR(model_.lora_seconds(LoraResidency::kFull), 4.0, 0.4);
  EXPECT_NEAR(model_.learned().lora_evict_seconds, 2.5, 0.5);
  EXPECT_EQ(model_.prefill_seconds(3, Tokens(0), kPrompt), prefill);
}

TEST_F(LatencyModelTest, AnAdapterThatIsLoadedInPassingCostsNextToNothing) {
  for (int i = 0; i < 50; ++i) {
    model_.observe(LatencyModel::AdapterSeen{3, LoraResidency::kLoadable, Tokens(0), kPrompt,
                                             model_.prefill_seconds(3, Tokens(0), kPrompt)});
  }
  EXPECT_LT(model_.lora_seconds(LoraResidency::kLoadable), 3e-3);
}

TEST_F(LatencyModelTest, TakesManyPromptsAtOnceAsTheirSum) {
  PromptWork two = PromptWork::of(Tokens(100), Tokens(3000));
  two.prompts += two.prompts;
  two.uncached_tokens += two.uncached_tokens;
  two.pairs += two.pairs;
  EXPECT_NEAR(model_.prefill_seconds(0, two),
              2 * model_.prefill_seconds(0, Tokens(100), Tokens(3000)), 1e-12);
}

TEST_F(LatencyModelTest, IsProofAgainstWhatCannotBe) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  constexpr double kAbsurd[] = {kNan, kInfinity, -kInfinity, 0.0, -1.0, 1e300, -1e300, 1e-300};
  const double prefill = model_.prefill_seconds(0, Tokens(0), kPrompt);
  const double step = model_.step_seconds(0, 32, 64e3);
  for (const double x : kAbsurd) {
    model_.observe(LatencyModel::PrefillSeen{0, 1, 1000, 1e6, x});
    model_.observe(LatencyModel::PrefillSeen{0, 1, x, 1e300, 0.1});
    model_.observe(LatencyModel::PrefillSeen{0, x, 1000, kNan, 0.1});
    model_.observe(LatencyModel::PrefillSeen{0, 1, 1000, -1, 0.1});
    model_.observe(LatencyModel::StepSeen{0, 10, 1e4, 100, x});
    model_.observe(LatencyModel::StepSeen{0, -1, x, 100, 0.01});
    model_.observe(LatencyModel::StepSeen{0, x, 1e13, 100, 0.01});
    model_.observe(LatencyModel::StepSeen{0, 10, 1e4, x > 0 && x < 1 ? -x : x - x, 0.01});
    model_.observe(LatencyModel::TransferSeen{0, 1, Bytes(1000), x});
    model_.observe(LatencyModel::AdapterSeen{0, LoraResidency::kFull, Tokens(0), kPrompt, x});
  }
  model_.observe(LatencyModel::PrefillSeen{0, 1, 1e12, 1e24, 0.1});
  model_.observe(LatencyModel::PrefillSeen{LatencyModel::kAnyPod, 1, 1000, 1e6, 0.5});
  model_.observe(LatencyModel::TransferSeen{0, 1, Bytes(-5), 0.1});
  EXPECT_EQ(model_.prefill_seconds(0, Tokens(0), kPrompt), prefill);
  EXPECT_EQ(model_.step_seconds(0, 32, 64e3), step);

  // Extremes that could be.
  for (const double seconds : {1e-7, 1e5}) {
    for (const double tokens : {1.0, 1e9}) {
      model_.observe(LatencyModel::PrefillSeen{0, 1, tokens, tokens * tokens, seconds});
      model_.observe(LatencyModel::StepSeen{0, 1e6, tokens, 1e9, seconds});
      model_.observe(LatencyModel::TransferSeen{0, 1, Bytes(1), seconds});
    }
  }
  constexpr Tokens kManyTokens(1'000'000'000'000);
  const auto expect_sane = [](double seconds) {
    EXPECT_TRUE(std::isfinite(seconds) && seconds >= 0.0) << seconds;
  };
  for (const Tokens a :
       {Tokens(-1), Tokens(0), kManyTokens, Tokens(std::numeric_limits<std::int64_t>::min()),
        Tokens(std::numeric_limits<std::int64_t>::max())}) {
    for (const std::uint32_t pod : {0U, 5U, LatencyModel::kAnyPod}) {
      expect_sane(model_.prefill_seconds(pod, a, Tokens(100)));
      expect_sane(model_.prefill_seconds(pod, Tokens(100), a));
      expect_sane(model_.transfer_seconds(pod, 1, Bytes(a.count())));
    }
  }
  for (const double x : kAbsurd) {
    expect_sane(model_.prefill_seconds(0, PromptWork{x, x, x}));
    expect_sane(model_.step_seconds(0, x, 100));
    expect_sane(model_.step_seconds(0, 100, x));
    expect_sane(model_.prefill_quantile(x));
    expect_sane(model_.step_quantile(x));
  }
}

TEST_F(LatencyModelTest, PredictsWhileItLearns) {
  std::vector<std::thread> threads;
  for (std::uint32_t i = 0; i < 3; ++i) {
    threads.emplace_back([this, i] {
      const SimulatedPod pod(profile_of("h100-8b"), i * 300);
      Draws draws(i);
      for (int round = 0; round < 300; ++round) {
        see_both(model_, pod, draws, 1);
        model_.observe(LatencyModel::TransferSeen{i, 7, Bytes(1000 * round + 1), 0.01});
        if (round == 150) model_.forget_pod(i * 300);
      }
    });
  }
  threads.emplace_back([this] {
    for (int round = 0; round < 2000; ++round) {
      const auto pod = static_cast<std::uint32_t>(round % 900);
      const double sum = model_.prefill_seconds(pod, Tokens(10), Tokens(1000)) +
                         model_.step_seconds(pod, 10, 1000) + model_.prefill_quantile(0.9) +
                         model_.transfer_seconds(pod % 3, 7, Bytes(1000)) + model_.error().step;
      EXPECT_TRUE(std::isfinite(sum) && sum > 0.0);
    }
  });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(model_.error().prefill_seen, 900U);
}

}  // namespace
}  // namespace baton
