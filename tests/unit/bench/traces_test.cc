#include "orchestrator/bench/workload/traces.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>

namespace baton::orchestrator::bench {
namespace {

using std::chrono::milliseconds;
using std::chrono::nanoseconds;

template <class T>
std::string problem_of(const Result<T>& result) {
  if (result) return "";
  EXPECT_EQ(result.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(result.error().stage, Stage::kConfig);
  return result.error().message;
}

// The text of a file of the public traces; nullopt: its name in `missing`.
std::optional<std::string> public_trace(const std::string& name, std::string& missing) {
  const char* data = std::getenv("BATON_TEST_DATA");
  missing = "BATON_TEST_DATA is not set: no " + name;
  if (data == nullptr) return std::nullopt;
  const auto path = std::filesystem::path(data) / "traces" / name;
  missing = path.string() + " is missing";
  std::ifstream file(path, std::ios::binary);
  if (!file) return std::nullopt;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

constexpr const char* kMooncakeLine =
    R"({"timestamp": 27482, "input_length": 1100, "output_length": 52, "hash_ids": [46, 47, 2366]})";

TEST(MooncakeTrace, ReadsLines) {
  const auto trace = read_mooncake(
      "{\"timestamp\":1000,\"input_length\":513,\"output_length\":5,\"hash_ids\":[0,1]}\r\n"
      "\r\n"
      "{\"timestamp\":1000.5,\"input_length\":3,\"output_length\":0}",
      "t.jsonl");
  ASSERT_TRUE(trace) << trace.error().message;
  ASSERT_EQ(trace->entries.size(), 2);
  EXPECT_EQ(trace->entries[0].at, Duration::zero());
  EXPECT_EQ(trace->entries[0].input_tokens, 513);
  EXPECT_EQ(trace->entries[0].output_tokens, 5);
  EXPECT_EQ(trace->entries[0].hash_ids, (std::vector<std::uint64_t>{0, 1}));
  EXPECT_EQ(trace->entries[1].at, std::chrono::microseconds(500));
  EXPECT_TRUE(trace->entries[1].hash_ids.empty());
  EXPECT_EQ(trace->out_of_order, 0);
}

TEST(MooncakeTrace, NamesTheBrokenLine) {
  std::string text;
  for (int line = 1; line < 7312; ++line) text += std::string(kMooncakeLine) + "\n";
  text += R"({"timestamp": 27482, "input_length": 11)"
          "\n";
  text += std::string(kMooncakeLine) + "\n";
  EXPECT_TRUE(problem_of(read_mooncake(text, "dir/conversation.jsonl"))
                  .starts_with("dir/conversation.jsonl:7312: malformed JSON: "));
}

TEST(MooncakeTrace, SaysWhatIsWrong) {
  const auto problem = [](std::string_view text) { return problem_of(read_mooncake(text, "f")); };
  EXPECT_EQ(problem(""), "f:1: the trace is empty");
  EXPECT_EQ(problem("\n \r\n"), "f:1: the trace is empty");
  EXPECT_EQ(problem("[]"), "f:1: malformed JSON: expected an object at byte 0");
  EXPECT_EQ(problem("\n\n{}"), "f:3: timestamp is missing");
  EXPECT_EQ(problem(R"({"timestamp":"0"})"), "f:1: timestamp is no time in milliseconds");
  EXPECT_EQ(problem(R"({"timestamp":-1})"), "f:1: timestamp is no time in milliseconds");
  EXPECT_EQ(problem(R"({"timestamp":1e300})"), "f:1: timestamp is no time in milliseconds");
  EXPECT_EQ(problem(R"({"timestamp":0,"input_length":null})"), "f:1: input_length is missing");
  EXPECT_EQ(problem(R"({"timestamp":0,"input_length":0})"),
            "f:1: input_length is no whole number from 1 to 16777216");
  EXPECT_EQ(problem(R"({"timestamp":0,"input_length":1.5})"),
            "f:1: input_length is no whole number from 1 to 16777216");
  EXPECT_EQ(problem(R"({"timestamp":0,"input_length":9,"output_length":-1})"),
            "f:1: output_length is no whole number from 0 to 16777216");
  EXPECT_EQ(problem(R"({"timestamp":0,"input_length":9,"output_length":1,"hash_ids":7})"),
            "f:1: hash_ids is no list");
  EXPECT_EQ(problem(R"({"timestamp":0,"input_length":9,"output_length":1,"hash_ids":["a"]})"),
            "f:1: hash_ids holds something that is no whole number");
  EXPECT_EQ(problem(R"({"timestamp":0,"input_length":513,"output_length":1,"hash_ids":[1]})"),
            "f:1: 1 hash_ids for 513 tokens: in blocks of 512 there are 2");
}

TEST(MooncakeTrace, BlocksOfAnotherSize) {
  constexpr auto kLine =
      R"({"timestamp":0,"input_length":33,"output_length":1,"hash_ids":[1,2,3]})";
  EXPECT_TRUE(read_mooncake(kLine, "f", 16));
  EXPECT_FALSE(read_mooncake(kLine, "f", 512));
}

TEST(MooncakeTrace, SortsByTimeAndKeepsTheOrderOfEqualTimes) {
  std::string text;
  for (const auto& [ms, input] : {std::pair{70, 1}, {50, 2}, {70, 3}, {60, 4}, {50, 5}}) {
    text += "{\"timestamp\":" + std::to_string(ms) + ",\"input_length\":" + std::to_string(input) +
            ",\"output_length\":1}\n";
  }
  const auto trace = read_mooncake(text, "f");
  ASSERT_TRUE(trace);
  std::vector<int> inputs;
  std::vector<Duration> times;
  for (const auto& entry : trace->entries) {
    inputs.push_back(entry.input_tokens);
    times.push_back(entry.at);
  }
  EXPECT_EQ(inputs, (std::vector<int>{2, 5, 4, 1, 3}));
  EXPECT_EQ(times, (std::vector<Duration>{milliseconds(0), milliseconds(0), milliseconds(10),
                                          milliseconds(20), milliseconds(20)}));
  EXPECT_EQ(trace->out_of_order, 3);
}

TEST(MooncakeTrace, ReadsThePublicConversationTrace) {
  std::string missing;
  const auto text = public_trace("mooncake_conversation.jsonl", missing);
  if (!text) GTEST_SKIP() << missing;
  const auto trace = read_mooncake(*text, "mooncake_conversation.jsonl");
  ASSERT_TRUE(trace) << trace.error().message;
  EXPECT_EQ(trace->entries.size(), 12031);
  EXPECT_EQ(trace->out_of_order, 0);
  EXPECT_EQ(trace->entries.front().input_tokens, 6758);
  EXPECT_EQ(trace->entries.back().at, milliseconds(3536999));
  EXPECT_EQ(trace->entries.back().output_tokens, 508);
}

TEST(AzureTrace, ReadsLines) {
  const auto trace = read_azure(
      "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
      "2023-11-30 23:59:59.9799600,4808,10\r\n"
      "2023-12-01 00:00:00.0319600,3180,8",
      "f.csv");
  ASSERT_TRUE(trace) << trace.error().message;
  ASSERT_EQ(trace->entries.size(), 2);
  EXPECT_EQ(trace->entries[0].at, Duration::zero());
  EXPECT_EQ(trace->entries[0].input_tokens, 4808);
  EXPECT_EQ(trace->entries[0].output_tokens, 10);
  EXPECT_EQ(trace->entries[1].at, milliseconds(52));
  EXPECT_EQ(trace->entries[1].input_tokens, 3180);
}

TEST(AzureTrace, OtherColumnsOffsetsAndFractions) {
  const auto trace = read_azure(
      "\xEF\xBB\xBFGeneratedTokens,id,ContextTokens,TIMESTAMP\n"
      "1,a,11,2024-05-10 00:00:00\n"
      "2,b,12,2024-05-10 00:00:01.5Z\n"
      "3,c,13,2024-05-10T00:00:01.500000001234+00:00\n"
      "4,d,14,2024-05-10 02:00:02+02:00\n"
      "5,e,15,2024-05-09 20:30:03-03:30\n",
      "f.csv");
  ASSERT_TRUE(trace) << trace.error().message;
  std::vector<Duration> times;
  for (const auto& entry : trace->entries) times.push_back(entry.at);
  EXPECT_EQ(times,
            (std::vector<Duration>{nanoseconds(0), milliseconds(1500), nanoseconds(1500000001),
                                   milliseconds(2000), milliseconds(3000)}));
  EXPECT_EQ(trace->entries[4].input_tokens, 15);
  EXPECT_EQ(trace->entries[4].output_tokens, 5);
}

TEST(AzureTrace, SaysWhatIsWrong) {
  const auto problem = [](const std::string& text) { return problem_of(read_azure(text, "f")); };
  const auto problem_of_line = [&](const std::string& line) {
    return problem("TIMESTAMP,ContextTokens,GeneratedTokens\n" + line);
  };
  EXPECT_EQ(problem(""), "f:1: the trace is empty");
  EXPECT_EQ(problem_of_line("\n"), "f:2: nothing follows the header");
  EXPECT_EQ(problem("TIMESTAMP,ContextTokens\n"),
            "f:1: the header names no GeneratedTokens; expected "
            "TIMESTAMP,ContextTokens,GeneratedTokens");
  EXPECT_EQ(problem_of_line("2023-11-16 18:17:03.9,4808"),
            "f:2: 2 columns, fewer than the header names");
  constexpr auto kNoTime = "f:2: TIMESTAMP is no time such as 2023-11-16 18:17:03.9799600";
  for (const char* time :
       {"", "2023-11-16", "2023-02-29 00:00:00", "2023-13-01 00:00:00", "2023-11-16 24:00:00",
        "2023-11-16 18:17", "2023-11-16 18:17:03.", "2023-11-16 18:17:03 PM", "-023-11-16 18:17:03",
        "2023-11-16 18:17:03+1", "2023-11-16 -8:17:03"}) {
    EXPECT_EQ(problem_of_line(std::string(time) + ",1,1"), kNoTime) << time;
  }
  EXPECT_EQ(problem_of_line("2023-11-16 18:17:03,x,1"),
            "f:2: ContextTokens is no whole number above 0");
  EXPECT_EQ(problem_of_line("2023-11-16 18:17:03,1,1 "), "f:2: GeneratedTokens is no whole number");
}

TEST(AzureTrace, ReadsThePublicCodeTrace) {
  std::string missing;
  const auto text = public_trace("azure_2023_code.csv", missing);
  if (!text) GTEST_SKIP() << missing;
  const auto trace = read_azure(*text, "azure_2023_code.csv");
  ASSERT_TRUE(trace) << trace.error().message;
  EXPECT_EQ(trace->entries.size(), 8819);
  EXPECT_EQ(trace->out_of_order, 0);
  EXPECT_EQ(trace->entries.front().input_tokens, 4808);
  EXPECT_EQ(trace->entries.back().output_tokens, 173);
  // From 18:17:03.9799600 to 19:14:19.9280160.
  EXPECT_EQ(trace->entries.back().at, nanoseconds(3435948056000));
}

TEST(ShareGpt, TakesTheFirstQuestionAndItsAnswer) {
  const auto trace = read_sharegpt(R"([
    {"id": "a", "conversations": [
      {"from": "system", "value": "be brief"},
      {"from": "gpt", "value": "welcome"},
      {"from": "human", "value": "first \"question\""},
      {"from": "gpt", "value": "answer ]} \u00e9"},
      {"from": "human", "value": "second"}]},
    {"id": "b", "conversation": [{"role": "user", "content": "hi"},
                                 {"role": "assistant", "content": "ho"}]},
    {"conversation": [{"human": "one", "assistant": "two"}]},
    {"conversations": [{"from": "gpt", "value": "nobody asked"}]},
    {"conversations": []}
  ])",
                                   "f.json");
  ASSERT_TRUE(trace) << trace.error().message;
  ASSERT_EQ(trace->entries.size(), 3);
  EXPECT_EQ(trace->skipped, 2);
  const auto& first = trace->entries[0];
  ASSERT_EQ(first.turns.size(), 2);
  EXPECT_EQ(first.turns[0].role, "system");
  EXPECT_EQ(first.turns[0].text, "be brief");
  EXPECT_EQ(first.turns[1].role, "user");
  EXPECT_EQ(first.turns[1].text, "first \"question\"");
  EXPECT_EQ(first.answer, "answer ]} \xC3\xA9");
  EXPECT_EQ(trace->entries[1].turns[0].text, "hi");
  EXPECT_EQ(trace->entries[1].answer, "ho");
  EXPECT_EQ(trace->entries[2].turns[0].text, "one");
  EXPECT_EQ(trace->entries[2].answer, "two");
}

TEST(ShareGpt, SaysWhatIsWrong) {
  const auto problem = [](std::string_view text) { return problem_of(read_sharegpt(text, "f")); };
  EXPECT_EQ(problem(""), "f:1: expected a JSON array of conversations");
  EXPECT_EQ(problem("{}"), "f:1: expected a JSON array of conversations");
  EXPECT_EQ(problem("[]"), "f:1: the file holds no conversation");
  EXPECT_EQ(problem("[\n 7]"), "f:2: expected a conversation, an object");
  EXPECT_EQ(problem("[\n{}]"), "f:2: conversations is missing");
  EXPECT_EQ(problem("[\n{\"conversations\":{}}]"), "f:2: conversations is no list");
  EXPECT_EQ(problem("[\n\n{\"conversations\": [\n\"a\"]}]"), "f:3: a turn that is no object");
  EXPECT_EQ(problem("[{\"conversations\":[{\"from\":\"human\"}]}]"),
            "f:1: a turn has from and no value");
  EXPECT_EQ(problem("[{\"conversations\":[]}\n{\"conversations\":[]}]"),
            "f:2: expected a comma or the end of the array");
  EXPECT_EQ(problem("[{\"conversations\":[]},\n{\"conversations\":[\n"),
            "f:2: the file ends within the conversation that begins here");
  EXPECT_EQ(problem("[{\"conversations\":[\"\\\""),
            "f:1: the file ends within the conversation that begins here");
  EXPECT_EQ(problem("[{\"conversations\":[]}\n,\n{\"conversations\":[nul]}]"),
            "f:3: malformed JSON: expected a value at byte 18");
  EXPECT_EQ(problem("[{\"conversations\":[]}]\n]"), "f:2: unexpected text after the array");
  EXPECT_EQ(problem("[{\"conversations\":[]}]"),
            "f:1: none of 1 conversations has a question with its answer, of the lengths asked "
            "for");
}

TEST(ShareGpt, FiltersAndStopsAtTheLimit) {
  std::string text = "[";
  for (int i = 0; i < 10; ++i) {
    text += R"({"conversations":[{"from":"human","value":")" + std::string(i, 'x') +
            R"("},{"from":"gpt","value":"y"}]},)";
  }
  text += "broken";  // beyond the limit, so never read
  ShareGptFilter filter;
  filter.keep = [](const ShareGptEntry& entry) { return entry.turns[0].text.size() % 2 == 0; };
  filter.limit = 3;
  const auto trace = read_sharegpt(text, "f", filter);
  ASSERT_TRUE(trace) << trace.error().message;
  ASSERT_EQ(trace->entries.size(), 3);
  EXPECT_EQ(trace->entries[2].turns[0].text.size(), 6);
  filter.limit = 5;
  EXPECT_FALSE(read_sharegpt(text, "f", filter));
}

TEST(CustomTrace, ReadsPromptsAndMessages) {
  const auto trace = read_custom(
      "{\"prompt\": \"a\\nb\", \"output_tokens\": 7, \"max_tokens\": 9, \"priority\": -3}\r\n"
      "{\"messages\": [{\"role\": \"system\", \"content\": \"s\"}, {\"role\": \"user\", "
      "\"content\": [{\"type\": \"text\", \"text\": \"x\"}, {\"type\": \"text\", \"text\": "
      "\"y\"}]}], \"max_tokens\": 9, \"model\": \"m\", \"other\": {}}\n",
      "f");
  ASSERT_TRUE(trace) << trace.error().message;
  ASSERT_EQ(trace->entries.size(), 2);
  const CustomEntry& first = trace->entries[0];
  ASSERT_EQ(first.turns.size(), 1);
  EXPECT_EQ(first.turns[0].role, "user");
  EXPECT_EQ(first.turns[0].text, "a\nb");
  EXPECT_EQ(first.max_tokens, 7);
  EXPECT_EQ(first.priority, -3);
  EXPECT_FALSE(first.at);
  const CustomEntry& second = trace->entries[1];
  ASSERT_EQ(second.turns.size(), 2);
  EXPECT_EQ(second.turns[0].role, "system");
  EXPECT_EQ(second.turns[1].text, "xy");
  EXPECT_EQ(second.max_tokens, 9);
  EXPECT_EQ(second.model, "m");
}

TEST(CustomTrace, TimesAreInEveryLineOrInNone) {
  const auto trace = read_custom(
      "{\"prompt\":\"b\",\"timestamp\":1700000002000}\n{\"prompt\":\"a\",\"timestamp\":"
      "1700000000500}\n",
      "f");
  ASSERT_TRUE(trace) << trace.error().message;
  EXPECT_EQ(trace->entries[0].turns[0].text, "a");
  EXPECT_EQ(trace->entries[1].at, milliseconds(1500));
  EXPECT_EQ(trace->out_of_order, 1);
  EXPECT_EQ(problem_of(read_custom("{\"prompt\":\"b\",\"timestamp\":1}\n{\"prompt\":\"a\"}", "f")),
            "f:2: timestamp must be in every line or in none");
}

TEST(CustomTrace, SaysWhatIsWrong) {
  const auto problem = [](std::string_view text) { return problem_of(read_custom(text, "f")); };
  EXPECT_EQ(problem(""), "f:1: the file is empty");
  EXPECT_EQ(problem("{\"prompt\":\"a\"}\n{}"), "f:2: neither prompt nor messages");
  EXPECT_EQ(problem(R"({"prompt":["a"]})"), "f:1: prompt is no text");
  EXPECT_EQ(problem(R"({"messages":"a"})"), "f:1: messages is no list");
  EXPECT_EQ(problem(R"({"messages":[]})"), "f:1: messages is empty");
  EXPECT_EQ(problem(R"({"messages":[1]})"), "f:1: a message is no object");
  EXPECT_EQ(problem(R"({"messages":[{"content":"a"}]})"), "f:1: a message has no role");
  EXPECT_EQ(problem(R"({"messages":[{"role":"user"}]})"), "f:1: a message has no content");
  EXPECT_EQ(problem(R"({"messages":[{"role":"user","content":3}]})"),
            "f:1: content is neither text nor parts");
  EXPECT_EQ(problem(R"({"messages":[{"role":"user","content":[{"type":"image_url"}]}]})"),
            "f:1: a part of content has no text; only text can be sent");
  EXPECT_EQ(problem(R"({"prompt":"a","output_tokens":0})"),
            "f:1: output_tokens is no whole number from 1 to 16777216");
  EXPECT_EQ(problem(R"({"prompt":"a","model":1})"), "f:1: model is no text");
  EXPECT_EQ(problem(R"({"prompt":"a","priority":"high"})"),
            "f:1: priority is no whole number from -2147483648 to 2147483647");
}

}  // namespace
}  // namespace baton::orchestrator::bench
