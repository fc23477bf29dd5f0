#include "orchestrator/autoscale/scaling_signals.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

namespace baton::orchestrator {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

class ScalingSignalsTest : public testing::Test {
 protected:
  PodEntry& add(std::string name, Role role) {
    auto entry = std::make_shared<PodEntry>();
    entry->pod.name = std::move(name);
    entry->pod.role = role;
    entry->pod.max_running = 10;
    entry->state.health = Health::kHealthy;
    entry->state.kv_capacity = Tokens(100000);
    entry->state.observed_at = now_;
    entry->index = static_cast<std::uint32_t>(snapshot_.pods.size());
    snapshot_.pods.push_back(entry);
    return *entry;
  }
  PodLoad& load(const PodEntry& entry) { return loads_.of(entry.index); }

  void pass(Duration time) {
    now_ += time;
    signals_.observe(snapshot_, now_);
  }
  // As a registry does it: new figures every so often.
  void scrape() {
    for (const auto& entry : snapshot_.pods) {
      const_cast<PodEntry&>(*entry).state.observed_at = now_;
    }
    signals_.observe(snapshot_, now_);
  }

  [[nodiscard]] RoleSignals of(Role role, int waiting = 0) const {
    return signals_.of(role, snapshot_, model_, scale_, waiting, now_);
  }
  [[nodiscard]] RoleSignals prefill() const { return of(Role::kPrefill); }
  [[nodiscard]] RoleSignals decode() const { return of(Role::kDecode); }

  void expect_sane() const {
    for (const RoleSignals& s : {prefill(), decode()}) {
      for (const double value :
           {s.queue_seconds, s.uncached_tokens_inflight, s.running, s.saturation}) {
        EXPECT_TRUE(std::isfinite(value)) << value;
        EXPECT_GE(value, 0.0);
      }
      for (const double share : {s.prefill_utilisation, s.kv_usage}) {
        EXPECT_GE(share, 0.0);
        EXPECT_LE(share, 1.0);
      }
      EXPECT_GE(s.tpot_headroom, -1.0);
      EXPECT_LE(s.tpot_headroom, 1.0);
    }
    const PoolAverages averages = signals_.averages(snapshot_, scale_, now_);
    for (const double value : {averages.kv_usage, averages.queued, averages.running}) {
      EXPECT_TRUE(std::isfinite(value)) << value;
      EXPECT_GE(value, 0.0);
    }
  }

  TimePoint now_ = TimePoint{} + std::chrono::hours(3);
  LoadTable loads_;
  LatencyModel model_;
  Snapshot snapshot_{.version = 1, .pool = "chat", .pods = {}};
  SignalScale scale_{.ttft = milliseconds(500), .tpot = milliseconds(50)};
  ScalingSignals signals_{loads_};
};

TEST_F(ScalingSignalsTest, OfAnEmptyPoolSayWhetherRequestsWait) {
  for (const Role role : {Role::kPrefill, Role::kDecode}) {
    const RoleSignals idle = of(role);
    EXPECT_EQ(idle.ready_pods, 0);
    EXPECT_EQ(idle.saturation, 0.0);
    EXPECT_EQ(idle.tpot_headroom, 1.0);
    EXPECT_EQ(of(role, 3).saturation, 1.0);
  }
  expect_sane();
  EXPECT_EQ(signals_.averages(snapshot_, scale_, now_).ready_pods, 0);
}

TEST_F(ScalingSignalsTest, OfAPoolWhosePodsAllDrainOrAreAwayAreThoseOfAnEmptyOne) {
  PodEntry& drains = add("d0", Role::kDecode);
  PodEntry& drains_now = add("d1", Role::kDecode);
  PodEntry& ejected = add("d2", Role::kDecode);
  PodEntry& misfit = add("d3", Role::kDecode);
  drains.state.health = Health::kDraining;
  drains.state.kv_usage = 0.9;
  load(drains_now).draining = true;  // the next snapshot says so
  ejected.state.health = Health::kEjected;
  misfit.state.unusable_because = "another model";
  load(drains).in_flight = 7;
  EXPECT_EQ(decode().ready_pods, 0);
  EXPECT_EQ(decode().saturation, 0.0);
  EXPECT_EQ(of(Role::kDecode, 1).saturation, 1.0);
}

TEST_F(ScalingSignalsTest, AnIdlePodIsNotSaturatedAtAll) {
  add("p0", Role::kPrefill);
  add("d0", Role::kDecode);
  pass(seconds(0));
  EXPECT_EQ(prefill().ready_pods, 1);
  EXPECT_EQ(prefill().saturation, 0.0);
  EXPECT_EQ(decode().saturation, 0.0);
  EXPECT_GT(decode().tpot_headroom, 0.5);
  EXPECT_LT(decode().tpot_headroom, 1.0) << "an idle pod's step takes time, too";
}

TEST_F(ScalingSignalsTest, QueueIsTheMeanOfReadyPodsAndFullAtTheTtftSlo) {
  PodEntry& a = add("p0", Role::kPrefill);
  add("p1", Role::kPrefill);
  add("d0", Role::kDecode);
  const LoadTicket ticket = LoadTicket::for_prefill(load(a), Tokens(10000));
  const double alone = model_.prefill_seconds(a.index, Tokens(0), Tokens(10000));
  EXPECT_NEAR(prefill().queue_seconds, alone / 2, 1e-9);
  EXPECT_EQ(prefill().uncached_tokens_inflight, 10000);
  EXPECT_NEAR(prefill().saturation, alone / 2 / 0.5, 1e-9);
  EXPECT_EQ(decode().queue_seconds, 0.0);

  scale_.ttft = std::nullopt;
  EXPECT_NEAR(prefill().saturation, alone / 2, 1e-9) << "without an SLO: of one second";
}

TEST_F(ScalingSignalsTest, UtilisationIsBusyTimeWhateverTheMomentShows) {
  PodEntry& busy = add("p0", Role::kPrefill);
  add("p1", Role::kPrefill);
  pass(seconds(0));
  for (int i = 0; i < 40; ++i) {  // 300 ms of each second, and idle whenever somebody looks
    LoadTicket ticket =
        LoadTicket::for_prefill(load(busy), Tokens(100), Tokens(0), now_ + milliseconds(100));
    ticket.finish(now_ + milliseconds(400));
    pass(seconds(1));
    EXPECT_EQ(load(busy).uncached_prefill_tokens, 0);
    EXPECT_NEAR(prefill().prefill_utilisation, 0.15, 1e-3) << i;
  }
  EXPECT_NEAR(prefill().saturation, 0.15, 1e-3);
  EXPECT_EQ(decode().prefill_utilisation, 0.0);

  for (int i = 0; i < 21; ++i) pass(seconds(1));
  EXPECT_EQ(prefill().prefill_utilisation, 0.0) << "what is long over is forgotten";
}

TEST_F(ScalingSignalsTest, UtilisationDoesNotDependOnHowOftenItIsAskedFor) {
  PodEntry& busy = add("p0", Role::kPrefill);
  pass(seconds(0));
  for (int i = 0; i < 12; ++i) {
    LoadTicket ticket = LoadTicket::for_prefill(load(busy), Tokens(100), Tokens(0), now_);
    ticket.finish(now_ + milliseconds(500));
    pass(seconds(1));
  }
  const double share = prefill().prefill_utilisation;
  for (int i = 0; i < 100; ++i) {
    pass(milliseconds(1));
    EXPECT_NEAR(prefill().prefill_utilisation, share, 0.01);
  }
}

TEST_F(ScalingSignalsTest, TimeInWhichAPodWasNotReadyIsNotIdleTime) {
  PodEntry& pod = add("p0", Role::kPrefill);
  pod.state.health = Health::kUnknown;
  pass(seconds(0));
  pass(seconds(9));
  pod.state.health = Health::kHealthy;
  const LoadTicket ticket = LoadTicket::for_prefill(load(pod), Tokens(100), Tokens(0), now_);
  pass(seconds(5));
  EXPECT_NEAR(prefill().prefill_utilisation, 1.0, 1e-6);
}

TEST_F(ScalingSignalsTest, KvIsTheMeanOfWhatPodsTell) {
  add("d0", Role::kDecode).state.kv_usage = 0.9;
  add("d1", Role::kDecode).state.kv_usage = 0.5;
  add("p0", Role::kPrefill).state.kv_usage = 0.1;
  pass(seconds(0));
  EXPECT_NEAR(decode().kv_usage, 0.7, 1e-9);
  EXPECT_NEAR(decode().saturation, 0.7, 1e-9);
  EXPECT_NEAR(prefill().kv_usage, 0.1, 1e-9);
}

TEST_F(ScalingSignalsTest, KvFollowsWhatWasReservedSinceTheScrape) {
  PodEntry& pod = add("d0", Role::kDecode);
  load(pod).reserved_kv_tokens = 20000;
  pod.state.kv_usage = 0.3;
  scrape();
  load(pod).reserved_kv_tokens = 50000;
  EXPECT_NEAR(decode().kv_usage, 0.6, 1e-9);
  load(pod).reserved_kv_tokens = 0;
  EXPECT_NEAR(decode().kv_usage, 0.1, 1e-9);

  load(pod).reserved_kv_tokens = 50000;
  now_ += seconds(1);
  pod.state.kv_usage = 0.55;
  scrape();
  EXPECT_NEAR(decode().kv_usage, 0.55, 1e-9) << "a new scrape has seen them itself";
}

TEST_F(ScalingSignalsTest, APodThatFallsSilentFadesToTheMeanOfOthers) {
  PodEntry& silent = add("d0", Role::kDecode);
  PodEntry& talks = add("d1", Role::kDecode);
  silent.state.kv_usage = 1.0;
  silent.state.running = 10;
  talks.state.kv_usage = 0.2;
  talks.state.running = 2;
  pass(seconds(0));
  EXPECT_NEAR(decode().kv_usage, 0.6, 1e-9);
  EXPECT_NEAR(decode().running, 12, 1e-9);

  double before = decode().kv_usage;
  for (int i = 0; i < 12; ++i) {
    now_ += seconds(1);
    talks.state.observed_at = now_;
    signals_.observe(snapshot_, now_);
    EXPECT_LE(decode().kv_usage, before);
    before = decode().kv_usage;
  }
  EXPECT_NEAR(decode().kv_usage, 0.2, 1e-9);
  EXPECT_NEAR(decode().running, 4, 1e-9);
  EXPECT_EQ(decode().ready_pods, 2) << "it is as ready as before";
}

TEST_F(ScalingSignalsTest, WhereNobodyTellsTheRoutersOwnAccountStandsIn) {
  PodEntry& pod = add("d0", Role::kDecode);
  pod.state.observed_at = std::nullopt;
  pod.state.kv_usage = 0.0;
  load(pod).in_flight = 5;
  load(pod).running_decodes = 5;
  load(pod).reserved_kv_tokens = 30000;
  pass(seconds(0));
  EXPECT_EQ(decode().running, 5);
  EXPECT_NEAR(decode().kv_usage, 0.3, 1e-9);
  EXPECT_NEAR(decode().saturation, 0.5, 1e-9);

  pod.state.kv_capacity = Tokens(0);
  EXPECT_EQ(decode().kv_usage, 0.0) << "nothing is known of it";
}

TEST_F(ScalingSignalsTest, WhatOtherRoutersSentCountsAsOnesOwn) {
  PodEntry& pod = add("d0", Role::kDecode);
  pod.state.running = 8;
  pod.state.waiting = 4;
  pass(seconds(0));
  EXPECT_NEAR(decode().saturation, 1.2, 1e-9) << "12 requests, room for 10";
  EXPECT_EQ(decode().running, 8);
}

TEST_F(ScalingSignalsTest, TpotHeadroomIsThatOfTheWorstPodAndSaturationThatOfTheMean) {
  PodEntry& full = add("d0", Role::kDecode);
  add("d1", Role::kDecode);
  full.pod.max_running = 100000;
  full.state.kv_capacity = Tokens(1000000000);
  load(full).running_decodes = 600;
  load(full).reserved_kv_tokens = 1000000;
  pass(seconds(0));
  const double step = model_.step_seconds(full.index, 600, 1000000);
  const double idle = model_.step_seconds(full.index, 0, 0);
  EXPECT_NEAR(decode().tpot_headroom, 1.0 - step / 0.05, 1e-9);
  EXPECT_NEAR(decode().saturation, (step - idle) / (0.05 - idle) / 2, 1e-6);

  load(full).running_decodes = 60000;
  EXPECT_EQ(decode().tpot_headroom, -1.0);
  EXPECT_GT(decode().saturation, 1.0);
}

TEST_F(ScalingSignalsTest, AnSloThatAnIdlePodBreaksIsNoReasonForMorePods) {
  add("d0", Role::kDecode);
  scale_.tpot = milliseconds(5);
  pass(seconds(0));
  EXPECT_LT(decode().tpot_headroom, 0.0);
  EXPECT_EQ(decode().saturation, 0.0);
  scale_.tpot = std::nullopt;
  EXPECT_EQ(decode().tpot_headroom, 1.0);
}

TEST_F(ScalingSignalsTest, APodOfBothRolesCountsInBoth) {
  PodEntry& both = add("b0", Role::kBoth);
  PodEntry& other = add("d0", Role::kDecode);
  load(both).uncached_prefill_tokens = 2000;
  load(both).in_flight = 4;
  load(other).in_flight = 2;
  pass(seconds(0));
  EXPECT_EQ(prefill().ready_pods, 1);
  EXPECT_EQ(decode().ready_pods, 2);
  EXPECT_EQ(prefill().uncached_tokens_inflight, 2000);
  EXPECT_EQ(decode().uncached_tokens_inflight, 2000);
  EXPECT_NEAR(prefill().saturation, 0.4, 1e-9);
  EXPECT_NEAR(decode().saturation, 0.3, 1e-9);
  EXPECT_EQ(signals_.averages(snapshot_, scale_, now_).ready_pods, 2);
}

TEST_F(ScalingSignalsTest, AveragesAreOfAllRolesAndOfWhatEnginesTell) {
  PodEntry& p = add("p0", Role::kPrefill);
  PodEntry& d = add("d0", Role::kDecode);
  p.state.waiting = 3;
  d.state.deferred = 1;
  d.state.running = 6;
  d.state.kv_usage = 0.5;
  pass(seconds(0));
  const PoolAverages averages = signals_.averages(snapshot_, scale_, now_);
  EXPECT_EQ(averages.ready_pods, 2);
  EXPECT_NEAR(averages.queued, 2.0, 1e-9);
  EXPECT_NEAR(averages.running, 3.0, 1e-9);
  EXPECT_NEAR(averages.kv_usage, 0.25, 1e-9);
}

TEST_F(ScalingSignalsTest, StaySaneWhateverPodsClaim) {
  constexpr int kMost = std::numeric_limits<int>::max();
  PodEntry& liar = add("d0", Role::kDecode);
  PodEntry& honest = add("d1", Role::kDecode);
  PodEntry& both = add("b0", Role::kBoth);
  honest.state.kv_usage = 0.4;
  both.state.kv_usage = 0.4;
  for (const double usage : {kNaN, std::numeric_limits<double>::infinity(), -1e300, 1e300, -0.5}) {
    for (const int count : {kMost, std::numeric_limits<int>::min(), -1, 0}) {
      for (const std::int64_t capacity :
           {std::int64_t{0}, std::int64_t{-5}, std::numeric_limits<std::int64_t>::max()}) {
        liar.state.kv_usage = usage;
        liar.state.running = liar.state.waiting = liar.state.deferred = count;
        liar.state.kv_capacity = Tokens(capacity);
        liar.pod.max_running = count;
        load(liar).uncached_prefill_tokens = capacity;
        load(liar).reserved_kv_tokens = -capacity;
        load(liar).in_flight = count;
        pass(milliseconds(10));
        expect_sane();
      }
    }
  }
  liar.pod.max_running = 10;
  liar.state.running = kMost;
  liar.state.kv_usage = kNaN;
  liar.state.waiting = 0;
  load(liar).in_flight = 0;
  load(liar).uncached_prefill_tokens = 0;
  load(liar).reserved_kv_tokens = 0;
  pass(milliseconds(10));
  EXPECT_NEAR(decode().kv_usage, 0.4, 1e-9) << "a scrape with NaN in it counts as none";
  EXPECT_NEAR(decode().running, 0.0, 1e-9);
  liar.state.kv_usage = 0.1;
  EXPECT_LT(decode().saturation, 1.4) << "one pod's claim is bounded";
}

TEST_F(ScalingSignalsTest, StaySaneWhenTheClockJumps) {
  PodEntry& pod = add("b0", Role::kBoth);
  pod.state.kv_usage = 0.5;
  const LoadTicket ticket = LoadTicket::for_prefill(load(pod), Tokens(100), Tokens(0), now_);
  pass(seconds(0));
  pass(seconds(15));
  EXPECT_NEAR(prefill().prefill_utilisation, 1.0, 1e-6);
  for (const Duration jump :
       std::array<Duration, 4>{-std::chrono::hours(2), std::chrono::hours(500),
                               -std::chrono::hours(400), seconds(-1)}) {
    now_ += jump;
    expect_sane();
    pass(seconds(0));
    expect_sane();
  }
  pod.state.observed_at = now_ + std::chrono::hours(1);
  EXPECT_NEAR(decode().kv_usage, 0.5, 1e-9) << "what comes from the future is not old";
  for (int i = 0; i < 30; ++i) pass(seconds(1));
  EXPECT_NEAR(prefill().prefill_utilisation, 1.0, 1e-6) << "and all is well again";
}

TEST_F(ScalingSignalsTest, ForgetPodsThatAreGone) {
  PodEntry& pod = add("p0", Role::kPrefill);
  pass(seconds(0));
  LoadTicket ticket = LoadTicket::for_prefill(load(pod), Tokens(100), Tokens(0), now_);
  pass(seconds(10));
  ticket.finish(now_);
  const auto gone = std::exchange(snapshot_.pods, {});
  pass(seconds(1));
  snapshot_.pods = gone;  // another pod with the same index
  pass(seconds(1));
  pass(seconds(1));
  EXPECT_EQ(prefill().prefill_utilisation, 0.0);
}

}  // namespace
}  // namespace baton::orchestrator
