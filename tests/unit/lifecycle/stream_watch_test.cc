#include "orchestrator/lifecycle/stream_watch.h"

#include <gtest/gtest.h>

#include <string>

#include "orchestrator/lifecycle/usage.h"

namespace baton::orchestrator {
namespace {

const std::string kStream =
    "data: {\"choices\":[{\"delta\":{\"content\":\"data: [DONE]\\n\"}}]}\n\n"
    ": a comment\n\n"
    "data:{\"choices\":[]}\r\n\r\n"
    "event: x\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,"
    "\"prompt_tokens_details\":{\"cached_tokens\":4},\"completion_tokens\":2}}\n\n"
    "data: [DONE]\n\n";

TEST(StreamWatch, SeesTheSameWhereverPiecesEnd) {
  for (std::size_t size = 1; size <= kStream.size(); ++size) {
    StreamWatch watch;
    for (std::size_t at = 0; at < kStream.size(); at += size) {
      watch.feed(std::string_view(kStream).substr(at, size));
    }
    EXPECT_EQ(watch.events(), 3) << size;
    EXPECT_TRUE(watch.done()) << size;
    EXPECT_FALSE(watch.engine_error()) << size;
    EXPECT_FALSE(watch.inside_event()) << size;
    const auto usage = read_usage(watch.tail());
    ASSERT_TRUE(usage.has_value()) << size;
    EXPECT_EQ(usage->prompt, Tokens(7));
    EXPECT_EQ(usage->cached, Tokens(4));
    EXPECT_EQ(usage->completion, Tokens(2));
  }
}

TEST(StreamWatch, IsNotDoneBeforeTheLineIsWhole) {
  StreamWatch watch;
  watch.feed("data: [DONE");
  EXPECT_FALSE(watch.done());
  EXPECT_TRUE(watch.inside_event());
  watch.feed("]\n");
  EXPECT_TRUE(watch.done());
}

TEST(StreamWatch, DoneInsideATextIsNoEnd) {
  StreamWatch watch;
  watch.feed("data: [DONE] and more text\n\ndata: \"[DONE]\"\n\n");
  EXPECT_FALSE(watch.done());
  EXPECT_EQ(watch.events(), 2);
}

TEST(StreamWatch, SeesAnErrorEventOfTheEngine) {
  StreamWatch watch;
  watch.feed("data: {\"choices\":[]}\n\ndata: {\"error\":{\"message\":\"x\"}}\n\n");
  EXPECT_TRUE(watch.engine_error());
  EXPECT_FALSE(watch.done());
}

TEST(StreamWatch, SaysWhetherItWasCutInsideAnEvent) {
  StreamWatch watch;
  EXPECT_FALSE(watch.inside_event());
  watch.feed("data: {\"a\":1}\n");
  EXPECT_TRUE(watch.inside_event());
  watch.feed("\n");
  EXPECT_FALSE(watch.inside_event());
  watch.feed("d");
  EXPECT_TRUE(watch.inside_event());
}

TEST(StreamWatch, KeepsTheTailWithinBounds) {
  StreamWatch watch;
  std::string all;
  for (int i = 0; i < 1000; ++i) {
    const std::string piece = "data: " + std::string(static_cast<std::size_t>(i * 7 % 1500), 'x') +
                              std::to_string(i) + "\n\n";
    watch.feed(piece);
    all += piece;
    EXPECT_LE(watch.tail().size(), 5 * StreamWatch::kTailBytes);
    EXPECT_TRUE(all.ends_with(watch.tail()));
    EXPECT_GE(watch.tail().size(), std::min(all.size(), StreamWatch::kTailBytes));
  }
}

TEST(ReadUsage, TakesTheLastObjectAndNoText) {
  EXPECT_FALSE(read_usage(R"({"text":"\"usage\":{\"prompt_tokens\":9}"})").has_value());
  EXPECT_FALSE(read_usage(R"({"usage":null})").has_value());
  EXPECT_FALSE(read_usage(R"({"usage":{"prompt_tokens":9)").has_value());
  EXPECT_FALSE(read_usage("").has_value());
  const auto usage = read_usage(
      R"({"usage":{"prompt_tokens":1},"x":{"usage" : { "prompt_tokens" : 12 , "total_tokens":3}}})");
  ASSERT_TRUE(usage.has_value());
  EXPECT_EQ(usage->prompt, Tokens(12));
  EXPECT_EQ(usage->completion, Tokens(0));
}

TEST(ReadUsage, SkipsANullAfterTheObject) {
  const auto usage = read_usage(R"({"usage":{"prompt_tokens":5}} {"usage":null})");
  ASSERT_TRUE(usage.has_value());
  EXPECT_EQ(usage->prompt, Tokens(5));
}

TEST(ReadNumber, ReadsAFlatObject) {
  const std::string timing = R"({"queue_ms":0.25,"kv_bytes": 4096,"transport":"shm"})";
  EXPECT_DOUBLE_EQ(read_number(timing, "queue_ms").value_or(0), 0.25);
  EXPECT_DOUBLE_EQ(read_number(timing, "kv_bytes").value_or(0), 4096);
  EXPECT_FALSE(read_number(timing, "transport").has_value());
  EXPECT_FALSE(read_number(timing, "absent").has_value());
  EXPECT_EQ(read_text(timing, "transport"), "shm");
  EXPECT_EQ(read_text(timing, "queue_ms"), "");
  EXPECT_EQ(read_text(timing, "absent"), "");
}

}  // namespace
}  // namespace baton::orchestrator
