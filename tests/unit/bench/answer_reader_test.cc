#include "orchestrator/bench/generator/answer_reader.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace baton::orchestrator::bench {
namespace {

using namespace std::chrono_literals;
using testing::ElementsAre;
using State = AnswerReader::State;

std::string token(std::string_view text) {
  return R"(data: {"choices":[{"index":0,"delta":{"content":")" + std::string(text) + "\"}}]}\n\n";
}
constexpr std::string_view kRole =
    "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n";
constexpr std::string_view kUsage =
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"total_tokens\":9,"
    "\"completion_tokens\":2,\"prompt_tokens_details\":{\"cached_tokens\":4}}}\n\n";
constexpr std::string_view kDone = "data: [DONE]\n\n";

struct Read {
  RequestRecord record;
  State state = State::kMore;
};

// Pieces come at 1 ms, 2 ms, and so on; then the body ends.
Read read_pieces(const std::vector<std::string>& pieces, bool stream = true, bool text = true) {
  Read read;
  AnswerReader reader(read.record, stream, text);
  Duration at{};
  for (const std::string& piece : pieces) reader.feed(piece, at += 1ms);
  reader.finish(at += 1ms);
  read.state = reader.state();
  return read;
}

Read read_stream(std::string text) { return read_pieces({std::move(text)}); }

TEST(AnswerReader, TimesEachEventWithATokenAndNoOther) {
  const Read read = read_pieces({std::string(kRole), ": ping\n\n", token("Hel"), token("lo"),
                                 token("!") + token("?"), std::string(kUsage), std::string(kDone)});
  const RequestRecord& record = read.record;
  EXPECT_EQ(read.state, State::kDone);
  EXPECT_EQ(record.outcome, Outcome::kCompleted);
  EXPECT_EQ(record.reason, "");
  EXPECT_EQ(record.first_event, 1ms);
  EXPECT_EQ(record.first_token, 3ms);
  EXPECT_EQ(record.last_token, 5ms);
  EXPECT_EQ(record.ended, 7ms);
  EXPECT_THAT(record.gaps_us, ElementsAre(1000u, 1000u, 0u));
  EXPECT_EQ(record.token_events, 4);
  EXPECT_EQ(record.text, "Hello!?");
}

TEST(AnswerReader, TakesUsageFromTheServer) {
  const RequestRecord record =
      read_stream(token("a") + std::string(kUsage) + std::string(kDone)).record;
  EXPECT_TRUE(record.usage_reported);
  EXPECT_EQ(record.usage_reports, 1);
  EXPECT_EQ(record.prompt_tokens, 7);
  EXPECT_EQ(record.output_tokens, 2);
  EXPECT_EQ(record.cached_tokens, 4);
}

TEST(AnswerReader, TheLastUsageCounts) {
  std::string first(kUsage);
  first.replace(first.find(":7"), 2, ":5");
  const RequestRecord record =
      read_stream(token("a") + first + token("b") + std::string(kUsage) + std::string(kDone))
          .record;
  EXPECT_EQ(record.usage_reports, 2);
  EXPECT_EQ(record.prompt_tokens, 7);
  EXPECT_EQ(record.output_tokens, 2);
}

TEST(AnswerReader, CountsEventsWhereUsageIsAbsentOrNull) {
  const RequestRecord record =
      read_stream(
          "data: {\"choices\":[{\"text\":\"a\"}],\"usage\":null}\n\n"
          "data: {\"choices\":[{\"text\":\"b\"}],\"usage\":null}\n\ndata: [DONE]\n\n")
          .record;
  EXPECT_FALSE(record.usage_reported);
  EXPECT_EQ(record.output_tokens, 2);
}

TEST(AnswerReader, KnowsEveryKindOfPiece) {
  for (const std::string_view choice :
       {R"({"delta":{"content":"x"}})", R"({"delta":{"reasoning_content":"x","content":null}})",
        R"({"delta":{"reasoning":"x"}})", R"({"delta":{"tool_calls":[{"index":0}]}})",
        R"({"text":"x"})", R"({"delta":{"content":""}},{"delta":{"content":"x"}})"}) {
    const RequestRecord record =
        read_stream("data: {\"choices\":[" + std::string(choice) + "]}\n\ndata: [DONE]\n\n").record;
    EXPECT_EQ(record.outcome, Outcome::kCompleted) << choice;
    EXPECT_EQ(record.token_events, 1) << choice;
  }
  for (const std::string_view choice :
       {R"({"delta":{}})", R"({"delta":{"content":""}})", R"({"delta":{"tool_calls":[]}})",
        R"({"delta":{"role":"assistant"}})", R"({"delta":null,"finish_reason":"stop"})"}) {
    const RequestRecord record =
        read_stream("data: {\"choices\":[" + std::string(choice) + "]}\n\ndata: [DONE]\n\n").record;
    EXPECT_EQ(record.outcome, Outcome::kNoTokens) << choice;
    EXPECT_EQ(record.reason, "no tokens");
    EXPECT_EQ(record.first_event, 1ms);
    EXPECT_EQ(record.first_token, RequestRecord::kNever);
  }
}

TEST(AnswerReader, SeesTheSameWhereverPiecesEnd) {
  const std::string whole = std::string(kRole) + "event: message\r\nid: 3\r\nretry: 5\r\n" +
                            token("a\\u00e9\\n") + ":comment\r\n\r\ndata:" + token("b").substr(6) +
                            "data: {\"choices\":\ndata: [{\"text\":\"c\"}]}\n\n" +
                            std::string(kUsage) + "data:[DONE]\r\n\r\n";
  const RequestRecord expected = read_stream(whole).record;
  EXPECT_EQ(expected.outcome, Outcome::kCompleted);
  EXPECT_EQ(expected.text, "aé\nbc");
  EXPECT_EQ(expected.token_events, 3);
  for (std::size_t size = 1; size < whole.size(); ++size) {
    std::vector<std::string> pieces;
    for (std::size_t at = 0; at < whole.size(); at += size)
      pieces.push_back(whole.substr(at, size));
    const RequestRecord record = read_pieces(pieces).record;
    EXPECT_EQ(record.outcome, Outcome::kCompleted) << size;
    EXPECT_EQ(record.token_events, 3) << size;
    EXPECT_EQ(record.text, expected.text) << size;
    EXPECT_EQ(record.usage_reports, 1) << size;
  }
}

struct Bad {
  std::string body;
  Outcome outcome;
  std::string reason;
};

TEST(AnswerReader, SaysWhatIsWrongWithAStream) {
  const std::string a = token("a");
  for (const Bad& bad : {
           Bad{"", Outcome::kCutStream, "ended without [DONE]"},
           Bad{a, Outcome::kCutStream, "ended without [DONE]"},
           Bad{a + "data: {\"choi", Outcome::kCutStream, "ended without [DONE]"},
           Bad{a + "dat", Outcome::kCutStream, "ended without [DONE]"},
           Bad{a + "\r", Outcome::kCutStream, "ended without [DONE]"},
           Bad{"data: [DONE]\n\n", Outcome::kNoTokens, "no tokens"},
           Bad{"<html>\n<body>", Outcome::kNotOpenAi, "HTML instead of events"},
           Bad{"<html>", Outcome::kNotOpenAi, "HTML instead of events"},
           Bad{"data: <html>\n\n", Outcome::kNotOpenAi, "HTML instead of JSON"},
           Bad{"{\"choices\":[]}", Outcome::kNotOpenAi, "JSON instead of events"},
           Bad{"Welcome\n", Outcome::kNotOpenAi, "no event stream"},
           Bad{a + "data: {\"hello\":1}\n\n", Outcome::kNotOpenAi, "event without choices"},
           Bad{a + "data: 12\n\n", Outcome::kNotOpenAi, "event is no JSON"},
           Bad{a + "data: {\"choices\":[}\n\n", Outcome::kNotOpenAi, "event is no JSON"},
           Bad{a + "data: {\"choices\":[]} x\n\n", Outcome::kNotOpenAi, "event is no JSON"},
           Bad{a + "data: {\"error\":{\"code\":\"dead\",\"type\":\"t\"}}\n\n",
               Outcome::kStreamError, "error event dead"},
           Bad{a + "data: {\"error\":{\"code\":500,\"type\":\"Internal\"}}\n\n",
               Outcome::kStreamError, "error event Internal"},
           Bad{a + "data: {\"error\":{\"code\":\"of 10.0.0.1: x\"}}\n\n", Outcome::kStreamError,
               "error event"},
           Bad{a + "data: {\"error\":\"no\"}\n\n", Outcome::kStreamError, "error event"},
           Bad{a + "event: error\ndata: oh\n\n", Outcome::kStreamError, "error event"},
           Bad{a + "event: error\ndata: {\"error\":{\"type\":\"x\"}}\n\n", Outcome::kStreamError,
               "error event x"},
       }) {
    const RequestRecord record = read_stream(bad.body).record;
    EXPECT_EQ(name_of(record.outcome), std::string(name_of(bad.outcome))) << bad.body;
    EXPECT_EQ(record.reason, bad.reason) << bad.body;
    EXPECT_GT(record.ended, 0ms);
  }
}

TEST(AnswerReader, AcceptsADoneWithoutLineEnds) {
  for (const std::string_view done : {"data: [DONE]", "data: [DONE]\n", "data:[DONE]\r\n"}) {
    EXPECT_EQ(read_stream(token("a") + std::string(done)).record.outcome, Outcome::kCompleted);
  }
}

TEST(AnswerReader, IgnoresWhatFollowsTheEnd) {
  const RequestRecord record =
      read_pieces({token("a"), std::string(kDone) + token("b"), token("c")}).record;
  EXPECT_EQ(record.token_events, 1);
  EXPECT_EQ(record.ended, 2ms);
}

TEST(AnswerReader, TellsABrokenConnectionFromAnOrderlyEnd) {
  RequestRecord record;
  AnswerReader reader(record, true, false);
  reader.feed(token("a"), 1ms);
  reader.cut(2ms, "connection reset");
  EXPECT_EQ(record.outcome, Outcome::kCutStream);
  EXPECT_EQ(record.reason, "connection reset");
  EXPECT_EQ(record.ended, 2ms);
  EXPECT_EQ(record.text, "");
}

TEST(AnswerReader, ReadsWholeAnswers) {
  const std::string body =
      R"({"id":"x","choices":[{"message":{"role":"assistant","content":"a\"b"}}],)"
      R"("usage":{"prompt_tokens":3,"completion_tokens":5}})";
  const RequestRecord record = read_pieces({body.substr(0, 9), body.substr(9)}, false).record;
  EXPECT_EQ(record.outcome, Outcome::kCompleted);
  EXPECT_EQ(record.first_event, 3ms);
  EXPECT_EQ(record.first_token, 3ms);
  EXPECT_EQ(record.last_token, 3ms);
  EXPECT_EQ(record.ended, 3ms);
  EXPECT_EQ(record.output_tokens, 5);
  EXPECT_EQ(record.prompt_tokens, 3);
  EXPECT_EQ(record.text, "a\"b");
  EXPECT_TRUE(record.gaps_us.empty());
}

TEST(AnswerReader, SaysWhatIsWrongWithAWholeAnswer) {
  for (const Bad& bad : {
           Bad{"", Outcome::kNotOpenAi, "answer is no JSON"},
           Bad{" <!DOCTYPE html>", Outcome::kNotOpenAi, "HTML instead of JSON"},
           Bad{"data: [DONE]", Outcome::kNotOpenAi, "answer is no JSON"},
           Bad{"{\"object\":\"list\"}", Outcome::kNotOpenAi, "JSON without choices"},
           Bad{"{\"choices\":[]}", Outcome::kNoTokens, "no tokens"},
           Bad{"{\"error\":{\"type\":\"busy\"}}", Outcome::kNotOpenAi, "200 with an error busy"},
       }) {
    const RequestRecord record = read_pieces({bad.body}, false).record;
    EXPECT_EQ(name_of(record.outcome), std::string(name_of(bad.outcome))) << bad.body;
    EXPECT_EQ(record.reason, bad.reason) << bad.body;
  }
}

TEST(AnswerReader, MendsTextThatIsNoUnicode) {
  const RequestRecord record =
      read_stream(token("a") + token("\xC3") + token("\\ud83d") + std::string(kDone)).record;
  EXPECT_EQ(record.outcome, Outcome::kCompleted);
  EXPECT_EQ(record.text, "a\xEF\xBF\xBD\xEF\xBF\xBD");
}

TEST(AnswerReader, BoundsTheDepthOfAnEvent) {
  const std::string deep(100, '[');
  EXPECT_EQ(
      read_stream("data: {\"choices\":" + deep + std::string(100, ']') + "}\n\n").record.reason,
      "event is no JSON");
}

TEST(AnswerReader, ClampsCounts) {
  const RequestRecord record =
      read_stream(token("a") +
                  "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":99999999999999,"
                  "\"completion_tokens\":-3}}\n\n" +
                  std::string(kDone))
          .record;
  EXPECT_EQ(record.prompt_tokens, 2147483647);
  EXPECT_EQ(record.output_tokens, 1);
}

}  // namespace
}  // namespace baton::orchestrator::bench
