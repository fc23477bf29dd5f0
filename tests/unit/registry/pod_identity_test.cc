#include "orchestrator/registry/pod_identity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/registry/fake_connector.h"

namespace baton::orchestrator {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

EngineFacts facts_of(std::uint64_t epoch, const std::string& version = "fake 1") {
  EngineFacts facts;
  facts.epoch = epoch;
  facts.engine_version = version;
  return facts;
}

Result<EngineFacts> failed(const std::string& message, bool retryable) {
  return fail(ErrorCode::kUpstream, Stage::kRouter, message, retryable);
}

class PodIdentityTest : public testing::Test {
 protected:
  PodIdentityTest() { pod_.role = Role::kPrefill; }

  IdentityEvent told(const Result<EngineFacts>& facts) {
    return identity_.on_facts(pod_, facts, now_);
  }
  // Sends the probe that is due and answers it.
  IdentityEvent probed(const Result<ProbeAnswer>& answer) {
    const auto probe = identity_.next_probe(pod_, "m", now_);
    EXPECT_TRUE(probe.has_value());
    return probe ? identity_.on_probe(pod_, probe->start, answer, now_) : IdentityEvent::kNone;
  }
  bool probe_due() { return identity_.next_probe(pod_, "m", now_).has_value(); }
  void become_usable(std::uint64_t epoch = 1) {
    told(facts_of(epoch));
    probed(good());
    ASSERT_EQ(identity_.unusable_because(), "");
  }
  static Result<ProbeAnswer> good(const std::string& id = "e") {
    return ProbeAnswer{200, R"({"id":")" + id + "\"}"};
  }

  FakeConnector connector_;
  Pod pod_;
  TimePoint now_{seconds(1000)};
  PodIdentity identity_{&connector_};
};

TEST_F(PodIdentityTest, AsksForFactsUntilTheyAreKnownAndThenNowAndThen) {
  EXPECT_TRUE(identity_.facts_due(now_));
  EXPECT_EQ(told(failed("/fake took too long", true)), IdentityEvent::kNone);
  EXPECT_FALSE(identity_.known());
  EXPECT_TRUE(identity_.facts_due(now_));
  EXPECT_EQ(told(facts_of(1)), IdentityEvent::kChanged);
  EXPECT_FALSE(identity_.facts_due(now_ + PodIdentity::kFactsInterval - milliseconds(1)));
  EXPECT_TRUE(identity_.facts_due(now_ + PodIdentity::kFactsInterval));
  identity_.on_failed_check();
  EXPECT_TRUE(identity_.facts_due(now_));
  EXPECT_EQ(told(facts_of(1)), IdentityEvent::kNone);
  EXPECT_FALSE(identity_.facts_due(now_));
}

TEST_F(PodIdentityTest, IsUsedOnceItsProbeWasAnsweredWell) {
  told(facts_of(1));
  EXPECT_THAT(identity_.unusable_because(), HasSubstr("probe is not answered"));
  const auto probe = identity_.next_probe(pod_, "the-model", now_);
  ASSERT_TRUE(probe.has_value());
  EXPECT_EQ(probe->request.body, "the-model");
  EXPECT_FALSE(probe_due()) << "one at a time";
  EXPECT_EQ(identity_.on_probe(pod_, probe->start, good(), now_), IdentityEvent::kChanged);
  EXPECT_EQ(identity_.unusable_because(), "");
  EXPECT_EQ(identity_.facts().engine_id, "e");
  EXPECT_EQ(identity_.facts().engine_version, "fake 1");
  EXPECT_FALSE(probe_due());
}

TEST_F(PodIdentityTest, WithoutAProbeItIsUsedOnceItsFactsAreKnown) {
  pod_.role = Role::kDecode;
  told(facts_of(1));
  EXPECT_EQ(identity_.unusable_because(), "");
  EXPECT_FALSE(probe_due());
}

TEST_F(PodIdentityTest, ProbesAgainAfterAFailureThatMayPass) {
  told(facts_of(1));
  EXPECT_EQ(probed(ProbeAnswer{503, ""}), IdentityEvent::kNone);
  EXPECT_EQ(identity_.misfit(), "");
  EXPECT_THAT(identity_.unusable_because(), HasSubstr("is busy"));
  EXPECT_EQ(probed(fail(ErrorCode::kTimeout, Stage::kRouter, "took too long", true)),
            IdentityEvent::kNone);
  EXPECT_THAT(identity_.probe_failure(), HasSubstr("took too long"));
  EXPECT_EQ(probed(good()), IdentityEvent::kChanged);
  EXPECT_EQ(identity_.probe_failure(), "");
}

TEST_F(PodIdentityTest, AProbeThatFailsForGoodMakesItAMisfitThatIsProbedAgainLater) {
  told(facts_of(1));
  EXPECT_EQ(probed(ProbeAnswer{200, "{}"}), IdentityEvent::kChanged);
  EXPECT_EQ(identity_.misfit(), "hands nothing over");
  EXPECT_EQ(identity_.unusable_because(), "hands nothing over");
  EXPECT_FALSE(probe_due());
  now_ += PodIdentity::kProbeAgain;
  EXPECT_EQ(probed(ProbeAnswer{200, "{}"}), IdentityEvent::kNone);
  now_ += PodIdentity::kProbeAgain;
  EXPECT_EQ(probed(good()), IdentityEvent::kChanged);
  EXPECT_EQ(identity_.unusable_because(), "");
}

TEST_F(PodIdentityTest, FactsThatDoNotFitMakeItAMisfitUntilTheyDo) {
  become_usable();
  EXPECT_EQ(told(failed("is no fake engine", false)), IdentityEvent::kChanged);
  EXPECT_EQ(told(failed("is no fake engine", false)), IdentityEvent::kNone);
  EXPECT_EQ(identity_.unusable_because(), "is no fake engine");
  EXPECT_TRUE(identity_.facts_due(now_));
  EXPECT_EQ(told(facts_of(1)), IdentityEvent::kChanged);
  EXPECT_EQ(identity_.unusable_because(), "");
}

TEST_F(PodIdentityTest, AFailureThatMayPassChangesNothingOfAKnownPod) {
  become_usable();
  EXPECT_EQ(told(failed("/fake took too long", true)), IdentityEvent::kNone);
  EXPECT_EQ(identity_.unusable_because(), "");
}

TEST_F(PodIdentityTest, AnotherEpochIsAnotherPodThatIsProbedAnew) {
  become_usable(1);
  EXPECT_EQ(told(facts_of(2)), IdentityEvent::kRestarted);
  EXPECT_THAT(identity_.unusable_because(), HasSubstr("probe"));
  EXPECT_EQ(identity_.facts().engine_id, "");
  EXPECT_EQ(probed(good("f")), IdentityEvent::kChanged);
  EXPECT_EQ(identity_.facts().engine_id, "f");
}

TEST_F(PodIdentityTest, AnotherVersionOrEngineIdIsAnotherPodEvenWithoutEpochs) {
  become_usable(0);
  EXPECT_EQ(told(facts_of(0, "fake 2")), IdentityEvent::kRestarted);
  EngineFacts named = facts_of(0, "fake 2");
  named.engine_id = "a";
  EXPECT_EQ(told(named), IdentityEvent::kChanged) << "was not told before";
  named.engine_id = "b";
  EXPECT_EQ(told(named), IdentityEvent::kRestarted);
}

TEST_F(PodIdentityTest, AnEpochThatIsToldLateIsNoRestart) {
  become_usable(0);
  EXPECT_EQ(told(facts_of(7)), IdentityEvent::kChanged);
  EXPECT_EQ(identity_.facts().epoch, 7U);
  EXPECT_EQ(identity_.facts().engine_id, "e") << "what the probe told stays";
  EXPECT_EQ(identity_.unusable_because(), "");
}

TEST_F(PodIdentityTest, AnAnswerOfAProcessThatIsGoneChangesNothing) {
  told(facts_of(1));
  const auto old = identity_.next_probe(pod_, "m", now_);
  ASSERT_TRUE(old.has_value());
  told(facts_of(2));
  const auto current = identity_.next_probe(pod_, "m", now_);
  ASSERT_TRUE(current.has_value());
  EXPECT_EQ(identity_.on_probe(pod_, old->start, good("old"), now_), IdentityEvent::kNone);
  EXPECT_THAT(identity_.unusable_because(), HasSubstr("probe"));
  EXPECT_EQ(identity_.on_probe(pod_, current->start, good("new"), now_), IdentityEvent::kChanged);
  EXPECT_EQ(identity_.facts().engine_id, "new");
}

TEST_F(PodIdentityTest, WhereNothingTellsARestartAFailedCheckMakesItProbedAgain) {
  become_usable(0);
  identity_.on_failed_check();
  told(facts_of(0));
  EXPECT_EQ(identity_.unusable_because(), "") << "it is used meanwhile";
  EXPECT_EQ(probed(good("e")), IdentityEvent::kNone);
  identity_.on_failed_check();
  told(facts_of(0));
  EXPECT_EQ(probed(good("other")), IdentityEvent::kRestarted);
  EXPECT_EQ(identity_.facts().engine_id, "other");
}

TEST_F(PodIdentityTest, WhereTheEpochIsKnownAFailedCheckDoesNot) {
  become_usable(1);
  identity_.on_failed_check();
  told(facts_of(1));
  EXPECT_FALSE(probe_due());
}

}  // namespace
}  // namespace baton::orchestrator
