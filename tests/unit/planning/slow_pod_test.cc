#include <gtest/gtest.h>

#include <array>
#include <chrono>

#include "core/picking/prompt_work.h"
#include "orchestrator/planning/planner.h"
#include "tests/unit/picking/test_pool.h"

namespace baton::orchestrator {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

// A pool under so little load that a pod which is taken to be slow is never needed: one request
// every five seconds, which shows how long its pod takes.
class SlowPodTest : public testing::Test {
 protected:
  SlowPodTest() {
    for (const char* name : {"a", "b", "slow"}) pool_.add(name, Role::kBoth);
  }

  // How many requests each pod was given.
  std::array<int, 3> serve(Duration time, double slowdown) {
    std::array<int, 3> given{};
    for (const TimePoint end = pool_.now + time; pool_.now < end; pool_.now += seconds(5)) {
      PlanRequest request;
      request.blocks = prompt_of(2000, ++asked_);
      request.prompt = Tokens(2000);
      request.split = Split::kNever;
      const auto plan =
          planner_.plan(request, pool_.snapshot, pool_.now, static_cast<std::uint64_t>(asked_));
      const std::uint32_t pod = plan->decode->index;
      ++given.at(pod);
      show(pod, pod == 2 ? slowdown : 1.0);
      pool_.model.forget(pool_.now);
    }
    return given;
  }

 private:
  void show(std::uint32_t pod, double slowdown) {
    const PromptWork work = PromptWork::of(Tokens(0), Tokens(2000));
    pool_.model.observe(LatencyModel::PrefillSeen{pod, work.prompts, work.uncached_tokens,
                                                  work.pairs,
                                                  slowdown * truth_.prefill_seconds(pod, work)});
    pool_.model.observe(
        LatencyModel::StepSeen{pod, 1, 2000, 100, slowdown * truth_.step_seconds(pod, 1, 2000)});
  }

  TestPool pool_;
  LatencyModel truth_;
  Planner planner_{pool_.loads, pool_.prefixes, pool_.model};
  TokenId asked_ = 0;
};

TEST_F(SlowPodTest, IsLeftAloneButTriedNowAndThen) {
  (void)serve(minutes(5), 3.0);
  const auto given = serve(minutes(60), 3.0);
  EXPECT_GE(given[2], 1);
  EXPECT_LE(given[2], 720 / 20);
}

TEST_F(SlowPodTest, GetsItsShareAgainOnceItIsAsFastAsTheOthers) {
  (void)serve(minutes(5), 3.0);
  (void)serve(minutes(30), 1.0);
  const auto given = serve(minutes(30), 1.0);
  EXPECT_GE(given[2], 360 / 5);
}

}  // namespace
}  // namespace baton::orchestrator
