#include "orchestrator/autoscale/signal_exporter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "orchestrator/autoscale/autoscale_metrics.h"
#include "orchestrator/lifecycle/lifecycle_metrics.h"

namespace baton::orchestrator {
namespace {

using testing::HasSubstr;
using testing::Not;

class SignalExporterTest : public testing::Test {
 protected:
  SignalExporterTest() {
    auto config = parse_config(R"(
pools:
  - name: chat
    model: m
    slo: {ttft_ms: 400}
    health: {interval_seconds: 2, timeout_seconds: 0.5}
    prefill: [{name: p0, url: "http://127.0.0.1:9"}]
    decode: [{name: d0, url: "http://127.0.0.1:9"}]
)");
    config_ = std::move(*config);
    auto snapshot = std::make_shared<Snapshot>();
    snapshot->pool = "chat";
    for (const Role role : {Role::kPrefill, Role::kDecode}) {
      auto entry = std::make_shared<PodEntry>();
      entry->pod.role = role;
      entry->state.health = Health::kHealthy;
      entry->state.observed_at = now_;
      entry->state.kv_usage = role == Role::kDecode ? 0.5 : 0.25;
      entry->index = role == Role::kPrefill ? 0 : 1;
      snapshot->pods.push_back(std::move(entry));
    }
    snapshots_.push_back(std::move(snapshot));
  }

  std::string text() {
    exporter_.update(config_, snapshots_, now_);
    return metrics_.expose();
  }

  TimePoint now_ = TimePoint{} + std::chrono::hours(1);
  Metrics metrics_;
  LoadTable loads_;
  Config config_;
  std::vector<std::shared_ptr<const Snapshot>> snapshots_;
  LatencyModels latencies_;
  SignalExporter exporter_{metrics_, loads_, latencies_};
};

TEST_F(SignalExporterTest, WritesEveryRowOfEveryPoolAndRole) {
  const std::string all = text();
  for (const MetricSpec& spec : autoscale_metrics::kAll) {
    const bool decode_only = spec.name == autoscale_metrics::kTpotHeadroom.name;
    const std::string prefill = std::string(spec.name) + R"({pool="chat",role="prefill"} )";
    EXPECT_THAT(all, HasSubstr(std::string(spec.name) + R"({pool="chat",role="decode"} )"));
    EXPECT_EQ(all.contains(prefill), !decode_only) << prefill;
  }
  for (const MetricSpec& spec : autoscale_metrics::kAllOfExtension) {
    EXPECT_THAT(all, HasSubstr(std::string(spec.name) + R"({name="chat"} )"));
  }
  EXPECT_THAT(all, HasSubstr(R"(baton_pool_kv_usage{pool="chat",role="decode"} 0.5)"));
  EXPECT_THAT(all, HasSubstr(R"(baton_pool_kv_usage{pool="chat",role="prefill"} 0.25)"));
  EXPECT_THAT(all, HasSubstr(R"(inference_pool_average_kv_cache_utilization{name="chat"} 0.375)"));
  EXPECT_THAT(all, HasSubstr(R"(llm_d_epp_ready_endpoints{name="chat"} 2)"));
}

TEST_F(SignalExporterTest, TakesItsScaleFromThePool) {
  const SignalScale scale = scale_of(config_.pools[0]);
  EXPECT_EQ(scale.ttft, std::chrono::milliseconds(400));
  EXPECT_FALSE(scale.tpot);
  EXPECT_EQ(scale.fresh_for, std::chrono::milliseconds(6500)) << "three checks, the last one late";
  EXPECT_GT(scale.faded_after, scale.fresh_for);
}

TEST_F(SignalExporterTest, AnEmptyPoolIsSaturatedOnlyWhileRequestsWait) {
  auto empty = std::make_shared<Snapshot>();
  empty->pool = "chat";
  snapshots_ = {empty};
  EXPECT_THAT(text(), HasSubstr(R"(baton_pool_saturation{pool="chat",role="decode"} 0)"));
  metrics_.gauge(lifecycle_metrics::kWaiting, {"chat"}).Set(2);
  EXPECT_THAT(text(), HasSubstr(R"(baton_pool_saturation{pool="chat",role="decode"} 1)"));
}

TEST_F(SignalExporterTest, APoolThatIsNoLongerConfiguredReadsAsAnEmptyOne) {
  EXPECT_THAT(text(), HasSubstr(R"(baton_pool_ready_pods{pool="chat",role="decode"} 1)"));
  config_.pools[0].name = "other";
  snapshots_.clear();
  const std::string all = text();
  EXPECT_THAT(all, HasSubstr(R"(baton_pool_ready_pods{pool="chat",role="decode"} 0)"));
  EXPECT_THAT(all, HasSubstr(R"(inference_pool_ready_pods{name="chat"} 0)"));
  EXPECT_THAT(all, Not(HasSubstr("other")));
}

}  // namespace
}  // namespace baton::orchestrator
