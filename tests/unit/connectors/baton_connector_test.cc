#include "adapters/engines/baton/baton_connector.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace baton::adapters {
namespace {

using nlohmann::json;

constexpr TransferId kTransfer{0x0123456789abcdefULL, 0xfedcba9876543210ULL};

OpenAiRequest chat(const std::string& body) {
  auto parsed = OpenAiRequest::parse(Api::kChat, body, {});
  EXPECT_TRUE(parsed.has_value()) << (parsed ? "" : parsed.error().message);
  return parsed.value_or(OpenAiRequest{});
}

Plan split_plan() {
  auto prefill = std::make_shared<PodEntry>();
  prefill->pod.name = "p0";
  prefill->pod.facts.kv_address = "127.0.0.1:7001";
  prefill->pod.facts.engine_id = "engine \"p0\"";
  prefill->pod.facts.epoch = 18'446'744'073'709'551'615ULL;
  Plan plan;
  plan.prefill = prefill;
  plan.decode = std::make_shared<PodEntry>();
  return plan;
}

const std::string kBody =
    R"({"model":"m","messages":[{"role":"user","content":"hello"}],"stream":true,)"
    R"("stream_options":{"include_usage":true},"max_tokens":64,"min_tokens":3,)"
    R"("seed":12345678901234567890,"x-unknown":[1,2]})";

class BatonConnectorTest : public testing::Test {
 protected:
  BatonConnector connector;
  [[nodiscard]] Result<EngineFacts> read(const std::string& body) const {
    return connector.read_facts(Pod{}, std::span(&body, 1));
  }
  HandoffKey key{kTransfer, "r1", {}};
};

TEST_F(BatonConnectorTest, PrefillLegProducesUnderTheTransferIdAndGeneratesNothing) {
  const OpenAiRequest request = chat(kBody);
  const auto leg = connector.prefill_leg(request, split_plan(), key);
  ASSERT_TRUE(leg.has_value());
  EXPECT_EQ(leg->method, "POST");
  EXPECT_EQ(leg->target, "/v1/chat/completions");
  json expected = json::parse(kBody);
  expected["kv_transfer_params"] = {
      {"baton", {{"role", "producer"}, {"transfer_id", "0123456789abcdeffedcba9876543210"}}}};
  expected["stream"] = false;
  expected["max_tokens"] = 1;
  expected.erase("stream_options");
  expected.erase("min_tokens");
  EXPECT_EQ(json::parse(leg->body), expected);
  EXPECT_NE(leg->body.find("12345678901234567890"), std::string::npos);
}

TEST_F(BatonConnectorTest, PrefillLegLimitsTheNewerNameOfMaxTokensToo) {
  const OpenAiRequest request =
      chat(R"({"model":"m","messages":[{"role":"user","content":"x"}],"max_completion_tokens":9})");
  const json body = json::parse(connector.prefill_leg(request, split_plan(), key)->body);
  EXPECT_EQ(body.at("max_completion_tokens"), 1);
  EXPECT_FALSE(body.contains("max_tokens"));
}

TEST_F(BatonConnectorTest, DecodeLegSaysWhereTheBlocksAre) {
  const OpenAiRequest request = chat(kBody);
  const auto leg = connector.decode_leg(request, split_plan(), key, nullptr);
  ASSERT_TRUE(leg.has_value());
  json expected = json::parse(kBody);
  expected["kv_transfer_params"] = {{"baton",
                                     {{"role", "consumer"},
                                      {"transfer_id", "0123456789abcdeffedcba9876543210"},
                                      {"kv_address", "127.0.0.1:7001"},
                                      {"engine_id", "engine \"p0\""},
                                      {"epoch", 18'446'744'073'709'551'615ULL}}}};
  EXPECT_EQ(json::parse(leg->body), expected);
}

TEST_F(BatonConnectorTest, DecodeOnlyLegIsTheClientsBodyByteForByte) {
  const OpenAiRequest request = chat(kBody);
  Plan plan = split_plan();
  plan.kind = PlanKind::kDecodeOnly;
  plan.prefill = nullptr;
  EXPECT_EQ(connector.decode_leg(request, plan, key, nullptr)->body, kBody);
}

TEST_F(BatonConnectorTest, AnAliasIsReplacedByTheServedName) {
  const OpenAiRequest request = chat(kBody);
  key.served_model = "llama \"3\"";
  Plan plan = split_plan();
  EXPECT_EQ(json::parse(connector.prefill_leg(request, plan, key)->body).at("model"),
            "llama \"3\"");
  EXPECT_EQ(json::parse(connector.decode_leg(request, plan, key, nullptr)->body).at("model"),
            "llama \"3\"");
  plan.kind = PlanKind::kDecodeOnly;
  EXPECT_EQ(json::parse(connector.decode_leg(request, plan, key, nullptr)->body).at("model"),
            "llama \"3\"");
}

TEST_F(BatonConnectorTest, APodWithoutHandoffAddressCannotBeAPrefillPod) {
  const OpenAiRequest request = chat(kBody);
  Plan plan = split_plan();
  plan.prefill = std::make_shared<PodEntry>();
  const auto leg = connector.decode_leg(request, plan, key, nullptr);
  ASSERT_FALSE(leg.has_value());
  EXPECT_EQ(leg.error().stage, Stage::kHandoff);
}

TEST_F(BatonConnectorTest, RefusesToSplitWhatPodsCannotHandOver) {
  const auto refuses = [&](const std::string& fields) {
    return !connector
                .refuses_split(
                    *OpenAiRequest::parse(Api::kCompletions, R"({"model":"m",)" + fields + "}", {}))
                .empty();
  };
  EXPECT_FALSE(refuses(R"("prompt":"x")"));
  EXPECT_TRUE(refuses(R"("prompt":"x","n":2)"));
  EXPECT_TRUE(refuses(R"("prompt":["x","y"])"));
  EXPECT_TRUE(refuses(R"("prompt":"x","echo":true)"));
}

TEST_F(BatonConnectorTest, ReleaseNamesTheLease) {
  const auto release = connector.release(split_plan(), key, nullptr);
  ASSERT_TRUE(release.has_value());
  EXPECT_EQ(release->pod, Stage::kPrefill);
  EXPECT_EQ(release->request.method, "DELETE");
  EXPECT_EQ(release->request.target, "/baton/leases/0123456789abcdeffedcba9876543210");
  EXPECT_TRUE(release->request.body.empty());
}

TEST_F(BatonConnectorTest, ReadsThePodsOwnWordOnAnError) {
  const Error error = connector.read_error(
      502,
      R"({"error":{"message":"peer gone","type":"handoff_error","code":"stale","param":null,)"
      R"("stage":"handoff","retryable":true}})",
      Stage::kDecode);
  EXPECT_EQ(error.stage, Stage::kHandoff);
  EXPECT_EQ(error.code, ErrorCode::kStale);
  EXPECT_TRUE(error.retryable);
  EXPECT_EQ(error.message, "peer gone");
  EXPECT_EQ(connector.on_leg_failure(error), LegAction::kRetryPair);
}

TEST_F(BatonConnectorTest, ReadsAnErrorWithoutAWordFromItsStatus) {
  for (const std::string body : {"", "<html>", "[1]", R"({"error":"text"})", R"({"error":{}})"}) {
    const Error lost = connector.read_error(503, body, Stage::kPrefill);
    EXPECT_EQ(lost.stage, Stage::kPrefill);
    EXPECT_EQ(lost.code, ErrorCode::kUnavailable);
    EXPECT_TRUE(lost.retryable);
    EXPECT_EQ(connector.on_leg_failure(lost), LegAction::kRetryPrefill);
    const Error wrong = connector.read_error(400, body, Stage::kDecode);
    EXPECT_EQ(wrong.code, ErrorCode::kInvalidArgument);
    EXPECT_FALSE(wrong.retryable);
    EXPECT_EQ(connector.on_leg_failure(wrong), LegAction::kFail);
  }
}

TEST_F(BatonConnectorTest, AFailureThatThePodCallsFinalIsFinal) {
  const Error error = connector.read_error(
      500, R"({"error":{"message":"defect","stage":"decode","retryable":false}})", Stage::kDecode);
  EXPECT_EQ(connector.on_leg_failure(error), LegAction::kFail);
}

TEST_F(BatonConnectorTest, ReadsFacts) {
  const auto facts =
      read(R"({"engine_id":"e1","epoch":18446744073709551615,"engine_version":"baton 0.1.0",)"
           R"("model_hash":"abc","layout_hash":"00ff00ff00ff00ff","kv_address":"127.0.0.1:7001",)"
           R"("block_tokens":64,"max_context":4096,"bytes_per_token":2048,"role":"prefill",)"
           R"("max_running":16,"loras":[]})");
  ASSERT_TRUE(facts.has_value());
  EXPECT_EQ(facts->engine_id, "e1");
  EXPECT_EQ(facts->epoch, 18'446'744'073'709'551'615ULL);
  EXPECT_EQ(facts->layout_hash, 0x00ff00ff00ff00ffULL);
  EXPECT_EQ(facts->kv_address, "127.0.0.1:7001");
  EXPECT_EQ(facts->block_tokens, Tokens(64));
  EXPECT_EQ(facts->max_context, Tokens(4096));
  EXPECT_EQ(facts->bytes_per_token, Bytes(2048));
}

TEST_F(BatonConnectorTest, RefusesFactsThatAreNone) {
  for (const std::string body :
       {"", "[]", "{}", R"({"engine_id":7})", R"({"engine_id":"e","layout_hash":"zz"})"}) {
    EXPECT_FALSE(read(body).has_value()) << body;
  }
}

TEST(FindConnector, KnowsTheConfiguredNames) {
  for (const std::string& name : connector_names()) {
    ASSERT_NE(find_connector(name), nullptr);
    EXPECT_EQ(find_connector(name)->name(), name);
  }
  EXPECT_EQ(connector_names(),
            (std::vector<std::string>{"baton", "vllm-nixl", "vllm-nixl-push", "vllm-mooncake",
                                      "sglang", "trtllm", "plain"}));
  EXPECT_EQ(find_connector("other"), nullptr);
}

}  // namespace
}  // namespace baton::adapters
