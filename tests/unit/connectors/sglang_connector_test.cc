// Against sglang d315eb7 (August 2026), whose files the cases name (python/sglang/srt/…).
#include "adapters/engines/sglang/sglang_connector.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/unit/connectors/connector_requests.h"

namespace baton::adapters {
namespace {

using nlohmann::json;
using testing::parsed;

class SglangTest : public ::testing::Test {
 protected:
  SglangTest() {
    auto prefill = std::make_shared<PodEntry>();
    prefill->pod.name = "p0";
    prefill->pod.host = "10.0.0.7";
    prefill->pod.bootstrap_port = 9001;
    plan.prefill = prefill;
    plan.decode = std::make_shared<PodEntry>();
    pod = &prefill->pod;
  }

  SglangConnector connector;
  HandoffKey key{TransferId{1, 0xFFFF'FFFD'0000'0002}, "r1", {}};
  Plan plan;
  Pod* pod;
  const std::string body =
      R"({"model":"m","messages":[{"role":"user","content":"hello"}],"stream":true,)"
      R"("stream_options":{"include_usage":true},"max_completion_tokens":64,"min_tokens":3,)"
      R"("rid":18446744073709551615,"future":{"a":[1.50]}})";
  OpenAiRequest request = parsed(Api::kChat, body);
};

const std::string kRoom =
    R"("bootstrap_host":"10.0.0.7","bootstrap_port":9001,"bootstrap_room":9223372030412324865)";

// entrypoints/openai/protocol.py:381 and :938.
TEST_F(SglangTest, DecodeGetsTheClientsBodyAndARoom) {
  const auto leg = connector.decode_leg(request, plan, key, nullptr);
  ASSERT_TRUE(leg.has_value());
  EXPECT_EQ(leg->target, "/v1/chat/completions");
  EXPECT_EQ(leg->body, body.substr(0, body.size() - 1) + "," + kRoom + "}");
}

TEST_F(SglangTest, PrefillGetsTheSameRoomAndNoStream) {
  const auto leg = connector.prefill_leg(request, plan, key);
  ASSERT_TRUE(leg.has_value());
  EXPECT_EQ(leg->body,
            R"({"model":"m","messages":[{"role":"user","content":"hello"}],"stream":false,)"
            R"("max_completion_tokens":64,"min_tokens":3,)"
            R"("rid":18446744073709551615,"future":{"a":[1.50]},)" +
                kRoom + "}");
}

TEST_F(SglangTest, ThePortThatThePodTellsGoesFirst) {
  pod->facts.kv_address = "10.0.0.7:8998";
  const auto leg = connector.prefill_leg(request, plan, key);
  EXPECT_EQ(json::parse(leg->body).at("bootstrap_port"), 8998);
  pod->facts.kv_address = "nonsense";
  EXPECT_EQ(json::parse(connector.prefill_leg(request, plan, key)->body).at("bootstrap_port"),
            9001);
}

// managers/io_struct.py:818: the engine gives the i-th prompt the room plus i.
TEST_F(SglangTest, ABatchHasOneRoomForEachPromptAndNoneTurnsNegative) {
  request = parsed(Api::kCompletions, R"({"model":"m","prompt":["a","b","c"]})");
  EXPECT_EQ(connector.refuses_split(request), "");
  key.transfer_id = TransferId{1, ~0ULL};
  for (const auto& leg : {connector.prefill_leg(request, plan, key),
                          connector.decode_leg(request, plan, key, nullptr)}) {
    ASSERT_TRUE(leg.has_value());
    EXPECT_EQ(leg->target, "/v1/completions");
    const json sent = json::parse(leg->body);
    EXPECT_TRUE(sent.at("bootstrap_host").is_string());
    EXPECT_EQ(sent.at("prompt").size(), 3U);
    const auto first = sent.at("bootstrap_room").get<std::uint64_t>();
    EXPECT_LE(first + (1ULL << 32), std::uint64_t{INT64_MAX});
  }
}

TEST_F(SglangTest, RoomsDifferByHandoff) {
  const auto room = [&](std::uint64_t low) {
    key.transfer_id = TransferId{7, low};
    return json::parse(connector.prefill_leg(request, plan, key)->body)
        .at("bootstrap_room")
        .get<std::int64_t>();
  };
  EXPECT_EQ(room(2), 1);
  EXPECT_EQ(room(4), 2);
}

TEST_F(SglangTest, WithoutASplitItIsTheClientsBodyByteForByte) {
  plan.kind = PlanKind::kDecodeOnly;
  plan.prefill = nullptr;
  EXPECT_EQ(connector.decode_leg(request, plan, key, nullptr)->body, body);
  EXPECT_TRUE(connector.decode_needs_handoff());
}

// managers/tokenizer_manager.py:1866 sends every sample of a prompt with the same room;
// serving_completions.py:79 asks for logprobs of the prompt, which the decode server has none of;
// managers/data_parallel_controller.py:782 derives the rank from the room unless it is named.
TEST_F(SglangTest, RefusesWhatTheTwoServersCannotDoTogether) {
  const auto refuses = [&](const std::string& fields) {
    return connector.refuses_split(
        parsed(Api::kCompletions, R"({"model":"m","prompt":"x",)" + fields + "}"));
  };
  EXPECT_EQ(refuses(R"("n":2)"), "n > 1");
  EXPECT_EQ(refuses(R"("echo":true,"logprobs":0)"), "echo with logprobs");
  EXPECT_EQ(refuses(R"("echo":true)"), "");
  EXPECT_EQ(refuses(R"("logprobs":3)"), "");
  EXPECT_EQ(refuses(R"("return_hidden_states":true)"), "return_hidden_states");
  EXPECT_EQ(refuses(R"("return_hidden_states":false,"routed_dp_rank":null)"), "");
  EXPECT_EQ(refuses(R"("return_routed_experts":true)"), "return_routed_experts");
  EXPECT_EQ(refuses(R"("routed_dp_rank":0)"), "routed_dp_rank");
  EXPECT_EQ(refuses(R"("data_parallel_rank":1)"), "data_parallel_rank");
  EXPECT_EQ(refuses(R"("disagg_prefill_dp_rank":1)"), "disagg_prefill_dp_rank");
}

// managers/tokenizer_manager.py:1650: an abort without a status ends a request as if it were good.
TEST_F(SglangTest, APrefillThatWasAbortedMadeNoHandoff) {
  const auto check = [&](const std::string& answer) {
    return connector.check_prefill(request, plan, {200, answer});
  };
  EXPECT_TRUE(check(R"({"choices":[{"finish_reason":"length"}]})").has_value());
  EXPECT_TRUE(
      check(R"({"choices":[{"finish_reason":"length"},{"finish_reason":"length"}]})").has_value());
  for (const std::string answer :
       {R"({"choices":[{"finish_reason":"length"},{"finish_reason":"abort"}]})",
        R"({"choices":[]})", R"({"choices":[3]})", R"({"choices":{}})", "{}", "[]", "", "{"}) {
    const auto checked = check(answer);
    ASSERT_FALSE(checked.has_value()) << answer;
    EXPECT_EQ(checked.error().stage, Stage::kHandoff);
    EXPECT_EQ(connector.on_leg_failure(checked.error()), LegAction::kRetryPair);
  }
}

// disaggregation/decode.py:878, :2077, :2095, :2256; common/conn.py:87.
TEST_F(SglangTest, ADecodeErrorThatIsPrefillsReadsAsAFailedHandoff) {
  for (const std::string message :
       {"Decode handshake failed for request rank=0 decode_req.req.rid='a' "
        "decode_req.req.bootstrap_room=7",
        "Decode transfer failed for request rank=0 with exception "
        "KVTransferError(bootstrap_room=7): Failed to get kvcache from prefill instance",
        "Metadata unexpectedly not ready after readiness gate (bootstrap_room=0)",
        "Metadata corruption detected - bootstrap_room mismatch"}) {
    const json said = {{"object", "error"}, {"message", message}, {"code", 500}};
    const json event = {{"error", said}};
    for (const std::string& answer : {said.dump(), event.dump()}) {
      const Error error = connector.read_error(500, answer, Stage::kDecode);
      EXPECT_EQ(error.stage, Stage::kHandoff);
      EXPECT_EQ(error.message, message);
      EXPECT_EQ(connector.on_leg_failure(error), LegAction::kRetryPair);
    }
  }
}

TEST_F(SglangTest, OtherErrorsAreTheLegsOwn) {
  // disaggregation/decode.py:1291.
  const Error full = connector.read_error(
      503, R"({"object":"error","message":"no SWA room","type":"503","param":null,"code":503})",
      Stage::kDecode);
  EXPECT_EQ(full.stage, Stage::kDecode);
  EXPECT_EQ(full.message, "no SWA room");
  EXPECT_EQ(connector.on_leg_failure(full), LegAction::kRetryPair);
  // disaggregation/prefill.py:986.
  const Error prefill = connector.read_error(
      500, R"({"object":"error","message":"Prefill bootstrap failed for request KVTransferError"})",
      Stage::kPrefill);
  EXPECT_EQ(prefill.stage, Stage::kPrefill);
  EXPECT_EQ(connector.on_leg_failure(prefill), LegAction::kRetryPrefill);
  // disaggregation/decode.py:735.
  const Error long_prompt = connector.read_error(
      400,
      R"({"object":"error","message":"Request a exceeds the maximum number of tokens: 9 > 8",)"
      R"("type":"BadRequest","param":"messages","code":400})",
      Stage::kDecode);
  EXPECT_FALSE(long_prompt.retryable);
  EXPECT_EQ(long_prompt.param, "messages");
  EXPECT_EQ(connector.on_leg_failure(long_prompt), LegAction::kFail);
  EXPECT_EQ(connector.read_error(500, "garbage", Stage::kDecode).message, "status 500");
  EXPECT_EQ(connector.read_error(500, "[1]", Stage::kDecode).stage, Stage::kDecode);
}

// entrypoints/http_server.py:796: the server's arguments and what it came to know.
json server_info(const std::string& mode) {
  return {{"version", "0.5.14"},
          {"model_path", "/models/m"},
          {"dtype", "auto"},
          {"kv_cache_dtype", "auto"},
          {"page_size", 64},
          {"tp_size", 2},
          {"random_seed", 12345},
          {"startup_time", {{"load_weight", 3.25}}},
          {"disaggregation_mode", mode},
          {"disaggregation_transfer_backend", "nixl"},
          {"disaggregation_bootstrap_port", 8997}};
}
const std::string kModels =
    R"({"object":"list","data":[{"id":"m","root":"m","max_model_len":4096},{"id":"lora"}]})";

Result<EngineFacts> facts_of(const json& info, Role role = Role::kPrefill,
                             const std::string& models = kModels) {
  Pod pod;
  pod.host = "10.0.0.7";
  pod.role = role;
  const std::string bodies[] = {info.dump(), models};
  return SglangConnector().read_facts(pod, bodies);
}

TEST(SglangFacts, ReadsThem) {
  EXPECT_EQ(SglangConnector().facts_targets(Pod{}),
            (std::vector<FactsTarget>{{"/server_info"}, {"/v1/models"}}));
  const auto facts = facts_of(server_info("prefill"));
  ASSERT_TRUE(facts.has_value()) << facts.error().message;
  EXPECT_EQ(facts->engine_version, "SGLang 0.5.14");
  EXPECT_EQ(facts->max_context, Tokens(4096));
  EXPECT_EQ(facts->block_tokens, Tokens(64));
  EXPECT_EQ(facts->tensor_parallel, 2);
  EXPECT_EQ(facts->kv_address, "10.0.0.7:8997");
  EXPECT_EQ(facts->model_hash, "/models/m auto");
  EXPECT_NE(facts->epoch, 0U);
  EXPECT_EQ(facts_of(server_info("decode"), Role::kDecode)->kv_address, "");
}

TEST(SglangFacts, WhatCannotExchangeBlocksDiffers) {
  const auto base = facts_of(server_info("prefill"));
  const auto with = [](const std::string& key, const json& value) {
    json info = server_info("prefill");
    info[key] = value;
    return facts_of(info);
  };
  for (const auto& other : {with("page_size", 1), with("kv_cache_dtype", "fp8_e5m2"),
                            with("disaggregation_transfer_backend", "mooncake")}) {
    EXPECT_NE(other->layout_hash, base->layout_hash);
    EXPECT_EQ(other->model_hash, base->model_hash);
  }
  for (const auto& other : {with("model_path", "/models/n"), with("dtype", "float16")}) {
    EXPECT_NE(other->model_hash, base->model_hash);
    EXPECT_EQ(other->layout_hash, base->layout_hash);
  }
  EXPECT_EQ(with("tp_size", 4)->layout_hash, base->layout_hash) << "the engine copies between them";
}

TEST(SglangFacts, ARestartIsSeen) {
  const auto base = facts_of(server_info("prefill"));
  EXPECT_EQ(facts_of(server_info("prefill"))->epoch, base->epoch);
  json info = server_info("prefill");
  info["random_seed"] = 54321;
  EXPECT_NE(facts_of(info)->epoch, base->epoch);
  info = server_info("prefill");
  info["startup_time"]["load_weight"] = 3.26;
  EXPECT_NE(facts_of(info)->epoch, base->epoch);
}

TEST(SglangFacts, APodOfAnotherModeIsSaidInOneLine) {
  const struct {
    Role role;
    const char* mode;
    const char* said;
  } cases[] = {
      {Role::kPrefill, "decode",
       "it runs with --disaggregation-mode decode, but its role in the configuration, prefill, "
       "takes --disaggregation-mode prefill"},
      {Role::kDecode, "null",
       "it runs with --disaggregation-mode null, but its role in the configuration, decode, takes "
       "--disaggregation-mode decode"},
      {Role::kBoth, "prefill",
       "it runs with --disaggregation-mode prefill, but its role in the configuration, both, takes "
       "--disaggregation-mode null"},
  };
  for (const auto& wrong : cases) {
    const auto facts = facts_of(server_info(wrong.mode), wrong.role);
    ASSERT_FALSE(facts.has_value());
    EXPECT_FALSE(facts.error().retryable);
    EXPECT_EQ(facts.error().message, wrong.said);
  }
  EXPECT_TRUE(facts_of(server_info("null"), Role::kBoth).has_value());
}

TEST(SglangFacts, AServerThatIsNoSglangIsFound) {
  for (const json& info : {json::object(), json::array(), json("x"), json({{"version", "1"}})}) {
    const auto facts = facts_of(info);
    ASSERT_FALSE(facts.has_value()) << info;
    EXPECT_TRUE(facts.error().retryable);
  }
  for (const std::string models : {"", "{}", R"({"data":[]})", R"({"data":[1]})"}) {
    EXPECT_FALSE(facts_of(server_info("prefill"), Role::kPrefill, models).has_value()) << models;
  }
}

}  // namespace
}  // namespace baton::adapters
