#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "kv_transfer/measure/block_shape.h"
#include "orchestrator/kv_perf/report.h"
#include "orchestrator/kv_perf/words.h"

namespace baton::orchestrator::kv_perf {
namespace {

using testing::HasSubstr;

TEST(BlockShape, IsReadAsItIsWritten) {
  const auto shape = kv::BlockShape::parse("1024x65536");
  ASSERT_TRUE(shape.has_value());
  EXPECT_EQ(shape->blocks, 1024);
  EXPECT_EQ(shape->bytes, 65536u);
  EXPECT_EQ(shape->total().count(), 1024 * 65536);
  EXPECT_EQ(shape->str(), "1024x65536");
  EXPECT_EQ(kv::BlockShape::parse("65536x2147483648")->total().count(), std::int64_t{1} << 47);
}

TEST(BlockShape, IsNothingElse) {
  for (const char* text :
       {"", "x", "1x", "x1", "0x8", "8x0", "-1x8", "8x-1", "1x8x", "1x8 ", " 1x8", "1.5x8",
        "65537x8", "1x2147483649", "99999999999999999999x1", "1X8"}) {
    EXPECT_FALSE(kv::BlockShape::parse(text).has_value()) << text;
  }
}

std::string without_end(std::string line) {
  EXPECT_TRUE(line.ends_with('\n'));
  line.pop_back();
  EXPECT_LE(line.size(), kLongestLine);
  return line;
}

TEST(KvPerfWords, AreReadAsTheyAreWritten) {
  const auto request =
      read_request(without_end(Request{.transport = "tcp", .shape = {64, 16384}}.line()));
  ASSERT_TRUE(request.has_value());
  EXPECT_EQ(request->transport, "tcp");
  EXPECT_EQ(request->shape, (kv::BlockShape{64, 16384}));
  const auto ready = read_ready(without_end(Ready{"[::1]:7700", 9}.line()));
  ASSERT_TRUE(ready.has_value());
  EXPECT_EQ(ready->address, "[::1]:7700");
  EXPECT_EQ(ready->epoch, 9u);
  const TransferId id(1, 0xabcdef);
  EXPECT_EQ(read_offer(without_end(offer_line(id))), id);
  EXPECT_TRUE(read_offered(without_end(offered_line(id)), id).has_value());
}

TEST(KvPerfWords, AnErrorComesThroughInPlaceOfAnAnswer) {
  const std::string line = without_end(
      error_line({ErrorCode::kUnsupported, Stage::kHandoff, "no such thing\r\nhere\x1b[31m"}));
  for (const auto& error :
       {read_ready(line).error(), read_offered(line, TransferId(1, 1)).error()}) {
    EXPECT_EQ(error.code, ErrorCode::kUnsupported);
    EXPECT_EQ(error.message, "the other side: no such thing??here?[31m");
  }
}

TEST(KvPerfWords, AnythingElseIsToldToBeNoAnswer) {
  for (const char* text : {"", " ", "HTTP/1.1 400 Bad Request", "baton-kv-perf/2 tcp 1x8",
                           "baton-kv-perf/1 tcp", "baton-kv-perf/1 tcp 0x8", "ready", "ready a b",
                           "ready a -1", "ready  1", "offer 1", "offered 12", "error", "error x"}) {
    EXPECT_EQ(read_request(text).error().code, ErrorCode::kUpstream) << text;
    EXPECT_EQ(read_ready(text).error().code, ErrorCode::kUpstream) << text;
    EXPECT_EQ(read_offer(text).error().code, ErrorCode::kUpstream) << text;
    EXPECT_EQ(read_offered(text, TransferId(1, 2)).error().code, ErrorCode::kUpstream) << text;
  }
  EXPECT_FALSE(read_offered(without_end(offered_line(TransferId(1, 3))), TransferId(1, 2)));
}

std::vector<Row> some_rows() {
  return {
      {.shape = {64, 16384}, .transport = "shm", .first = 0.5, .seconds = {0.004, 0.001, 0.002}},
      {.shape = {64, 16384}, .transport = "tcp", .first = 0.5, .seconds = {0.004, 0.002}},
      {.shape = {1, 8},
       .transport = "tcp",
       .error = Error{ErrorCode::kUnsupported, Stage::kHandoff, "not <here>"}}};
}

TEST(KvPerfRows, BestAndMedian) {
  const auto rows = some_rows();
  EXPECT_DOUBLE_EQ(rows[0].best(), 0.001);
  EXPECT_DOUBLE_EQ(rows[0].median(), 0.002);
  EXPECT_DOUBLE_EQ(rows[1].median(), 0.003);
  EXPECT_DOUBLE_EQ(rows[0].gb_per_s(0.001), 64 * 16384 / 1e6);
}

TEST(KvPerfReport, TheTableTellsRatesAndReasons) {
  const std::string text = table(some_rows());
  EXPECT_THAT(text, HasSubstr("64 x 16 KiB      shm            2.00 ms      1.00 ms        0.524"));
  EXPECT_THAT(text, HasSubstr("1 x 8 B          tcp       not measured\n"));
  EXPECT_THAT(text, HasSubstr("1 x 8 B, tcp: unsupported: not <here>\n"));
}

TEST(KvPerfReport, TheJsonHasWhatWasMeasuredAndWhatNot) {
  const auto json = nlohmann::json::parse(kv_perf::json(some_rows(), "host:1", false));
  EXPECT_EQ(json.at("server"), "host:1");
  EXPECT_EQ(json.at("results").size(), 2u);
  EXPECT_EQ(json.at("results").at(0).at("seconds").size(), 3u);
  EXPECT_EQ(json.at("not_measured").at(0).at("code"), "unsupported");
  EXPECT_TRUE(nlohmann::json::parse(kv_perf::json({}, "host:1", true)).at("server").is_null());
}

TEST(KvPerfReport, ThePictureHasABarForEachRowAndEscapesText) {
  const std::string svg = picture(some_rows(), "a < b & \"c\"");
  EXPECT_THAT(svg, HasSubstr("a &lt; b &amp; &quot;c&quot;"));
  std::size_t bars = 0;
  for (std::size_t at = 0; (at = svg.find("class=\"bar\"", at)) != std::string::npos; ++at) ++bars;
  EXPECT_EQ(bars, 2u);
  EXPECT_THAT(svg, HasSubstr("not measured: unsupported"));
  EXPECT_THAT(picture({}, "none"), HasSubstr("Nothing was measured."));
  EXPECT_THAT(picture({}, "none"), testing::Not(HasSubstr("nan")));
}

TEST(KvPerfReport, TimesAndShapesInWords) {
  EXPECT_EQ(time_words(0.0000123), "12.3 us");
  EXPECT_EQ(time_words(0.0123), "12.30 ms");
  EXPECT_EQ(time_words(1.5), "1.50 s");
  EXPECT_EQ(shape_words({3, 1U << 20}), "3 x 1 MiB");
  EXPECT_EQ(shape_words({3, 1000}), "3 x 1000 B");
}

}  // namespace
}  // namespace baton::orchestrator::kv_perf
