#include "orchestrator/lifecycle/learn_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/json_fields.h"
#include "tests/unit/lifecycle/router_harness.h"

namespace baton::orchestrator::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr Tokens kBlock{64};  // TestPod's; with a token for each four bytes, a block is a piece

PoolConfig pool_with_events() {
  PoolConfig pool = Router::default_pool();
  pool.connector = "plain";
  pool.split = Split::kNever;
  pool.kv_events.port = 5557;
  return pool;
}

std::vector<TokenId> ids_of(const std::string& text) {
  std::vector<TokenId> ids;
  for (std::size_t i = 0; i < text.size(); i += 4) ids.push_back(text[i] + (text[i + 1] << 8));
  return ids;
}

std::string ids_answer(const std::string& text) {
  std::string answer = R"({"count":1,"tokens":[)";
  for (const TokenId id : ids_of(text)) {
    answer += std::to_string(id);
    answer += ',';
  }
  answer.back() = ']';
  return answer + "}";
}

class LearnTokensTest : public ::testing::Test {
 protected:
  std::shared_ptr<Call> complete(const std::string& prompt) {
    auto call = router_.call("POST", "/v1/completions",
                             R"({"model":"m","prompt":)" + json_quote(prompt) + "}",
                             {{"x-baton-explain", "1"}});
    EXPECT_TRUE(router_.finish(*call));
    EXPECT_EQ(call->status, 200U);
    return call;
  }
  // As its KV events would tell.
  void holds(const TestPod& pod, const std::string& text) {
    const auto blocks = PromptBlocks::from_tokens(ids_of(text), kBlock, "", "");
    router_.prefixes().confirm(blocks.token_chain, pod.entry()->index, Clock::now());
  }

  static std::string pieces(std::size_t count) {
    std::string text;
    while (text.size() < count * kTextPieceBytes)
      text += "word" + std::to_string(text.size()) + " ";
    text.resize(count * kTextPieceBytes);
    return text;
  }

  Router router_{pool_with_events()};
  TestPod& first_ = router_.add_pod("b0", Role::kBoth);
};

TEST_F(LearnTokensTest, AsksOnceForAPromptsIds) {
  router_.publish();
  const std::string prompt = pieces(20);
  first_.ids_answer = ids_answer(prompt);
  complete(prompt);
  EXPECT_THAT(first_.tokenized,
              ElementsAre(R"({"model":"m","prompt":)" + json_quote(prompt) + "}"));
  complete(prompt);
  EXPECT_THAT(first_.tokenized, SizeIs(1));
  first_.ids_answer = ids_answer(prompt + pieces(3));
  complete(prompt + pieces(3));
  EXPECT_THAT(first_.tokenized, SizeIs(2));
  EXPECT_EQ(router_.metric(R"(baton_prompt_id_lookups_total{pool="chat",result="ok"})"), 2);
}

TEST_F(LearnTokensTest, ATextPromptGoesToThePodThatHoldsItsTokens) {
  TestPod& second = router_.add_pod("b1", Role::kBoth);
  router_.publish();
  const std::string shared = pieces(40);
  first_.ids_answer = second.ids_answer = ids_answer(shared);
  complete(shared);
  // What was routed is believed for a while; let only what is told count.
  router_.prefixes().forget_pod(first_.entry()->index);
  router_.prefixes().forget_pod(second.entry()->index);
  holds(second, shared);
  const std::size_t before = second.requests.size();
  complete(shared + pieces(1));
  EXPECT_EQ(second.requests.size(), before + 1);
}

TEST_F(LearnTokensTest, AfterAFailureThereIsAPause) {
  router_.publish();
  complete(pieces(4));
  EXPECT_THAT(first_.tokenized, SizeIs(1));
  complete(pieces(5));
  EXPECT_THAT(first_.tokenized, SizeIs(1));
  EXPECT_EQ(router_.metric(R"(baton_prompt_id_lookups_total{pool="chat",result="failed"})"), 1);
  EXPECT_EQ(router_.metric(R"(baton_prompt_id_lookups_total{pool="chat",result="skipped"})"), 1);
}

TEST(LearnTokens, NobodyIsAskedWherePodsPublishNoEvents) {
  PoolConfig pool = pool_with_events();
  pool.kv_events.port = 0;
  Router router(pool);
  TestPod& pod = router.add_pod("b0", Role::kBoth);
  router.publish();
  const auto call = router.chat();
  EXPECT_TRUE(router.finish(*call));
  EXPECT_THAT(pod.tokenized, IsEmpty());
}

}  // namespace
}  // namespace baton::orchestrator::testing
