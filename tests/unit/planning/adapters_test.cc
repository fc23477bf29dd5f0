// Which pods serve a LoRA adapter, where engines do not tell what they have loaded.
#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "orchestrator/planning/planner.h"
#include "tests/unit/picking/test_pool.h"

namespace baton::orchestrator {
namespace {

class AdaptersTest : public testing::Test {
 protected:
  AdaptersTest() {
    for (int i = 0; i < 8; ++i) {
      pool_.add("b" + std::to_string(i), Role::kBoth).state.max_loras = 2;
    }
  }
  // Plans and sends a request of the adapter; its pod.
  std::string send(const std::string& adapter, int tokens) {
    PlanRequest request;
    request.prompt = Tokens(tokens);
    request.lora = adapter;
    request.split = Split::kNever;
    pool_.now += std::chrono::milliseconds(1);
    const auto plan = planner_.plan(request, pool_.snapshot, pool_.now, seed_++);
    if (!plan) return plan.error().message;
    adapter_ = plan->adapter;
    accounts_.push_back(planner_.commit(*plan, request, pool_.now));
    return plan->decode->pod.name;
  }
  void end_all() { accounts_.clear(); }

  TestPool pool_;
  Planner planner_{pool_.loads, pool_.prefixes, pool_.model};
  std::vector<PlanAccount> accounts_;
  LoraResidency adapter_ = LoraResidency::kResident;  // of the last one sent
  std::uint64_t seed_ = 1;
};

TEST_F(AdaptersTest, AnAdapterStaysWhereItIsLoaded) {
  const std::string first = send("rare", 256);
  EXPECT_EQ(adapter_, LoraResidency::kLoadable);
  for (int i = 0; i < 20; ++i) {
    end_all();
    EXPECT_EQ(send("rare", 256), first);
    EXPECT_EQ(adapter_, LoraResidency::kResident);
  }
}

TEST_F(AdaptersTest, APopularOneSpreadsOnceWaitingCostsMoreThanLoading) {
  const std::string first = send("popular", 256);
  std::set<std::string> pods{first};
  EXPECT_EQ(send("popular", 256), first) << "one short prompt is no reason to load it again";
  for (int i = 0; i < 20; ++i) pods.insert(send("popular", 256));
  EXPECT_GE(pods.size(), 3U);
  end_all();
  for (int i = 0; i < 20; ++i) {  // idle again, any of them will do; no other is asked to load it
    EXPECT_TRUE(pods.contains(send("popular", 256)));
    EXPECT_EQ(adapter_, LoraResidency::kResident);
    end_all();
  }
}

TEST_F(AdaptersTest, OthersTakeItsPlace) {
  const std::string first = send("a", 256);
  for (int i = 0; i < 12; ++i) {  // more than two slots of all pods
    (void)send("b" + std::to_string(i), 256);
    (void)send("c" + std::to_string(i), 256);
  }
  end_all();
  (void)send("a", 256);
  EXPECT_NE(adapter_, LoraResidency::kResident);
}

}  // namespace
}  // namespace baton::orchestrator
