#include "adapters/engines/plain/plain_connector.h"

#include <gtest/gtest.h>

namespace baton::adapters {
namespace {

const std::string kPlainBody = R"({"model":"m","prompt":["a","b"],"n":2,"x":18446744073709551615})";

class PlainConnectorTest : public testing::Test {
 protected:
  PlainConnectorTest() { plan.kind = PlanKind::kDecodeOnly; }
  PlainConnector connector;
  OpenAiRequest request = *OpenAiRequest::parse(Api::kCompletions, kPlainBody, {});
  HandoffKey key{TransferId{1, 2}, "r1", {}};
  Plan plan;
};

TEST_F(PlainConnectorTest, NeverSplits) {
  EXPECT_FALSE(connector.refuses_split(request).empty());
  EXPECT_FALSE(connector.prefill_leg(request, plan, key).has_value());
  EXPECT_FALSE(connector.release(plan, key, nullptr).has_value());
}

TEST_F(PlainConnectorTest, PassesTheClientsBodyOn) {
  EXPECT_EQ(connector.decode_leg(request, plan, key, nullptr)->body, kPlainBody);
  key.served_model = "n";
  EXPECT_EQ(connector.decode_leg(request, plan, key, nullptr)->body,
            R"({"model":"n","prompt":["a","b"],"n":2,"x":18446744073709551615})");
}

TEST_F(PlainConnectorTest, TriesAnotherPodWhereThatMayHelp) {
  EXPECT_EQ(connector.on_leg_failure(connector.read_error(500, "", Stage::kDecode)),
            LegAction::kRetryDecode);
  EXPECT_EQ(connector.on_leg_failure(connector.read_error(429, "", Stage::kDecode)),
            LegAction::kRetryDecode);
  EXPECT_EQ(connector.on_leg_failure(connector.read_error(400, "", Stage::kDecode)),
            LegAction::kFail);
}

TEST_F(PlainConnectorTest, AsksNoFactsOfAnyServer) {
  EXPECT_TRUE(connector.facts_targets(Pod{}).empty());
}

}  // namespace
}  // namespace baton::adapters
