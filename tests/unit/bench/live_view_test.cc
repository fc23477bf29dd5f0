#include "orchestrator/bench/report/live_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <string>
#include <vector>

namespace baton::orchestrator::bench {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

// A run that offers 100 requests a second and completes 80.
RunProgress steady(Duration now) {
  const double s = to_seconds(now);
  RunProgress progress;
  progress.now = now;
  progress.offered = static_cast<std::size_t>(100 * s);
  progress.completed = static_cast<std::size_t>(80 * s);
  progress.failed = 3;
  progress.running = 17;
  progress.output_tokens = static_cast<std::int64_t>(2000 * s);
  progress.ttft_ms = {150, 200, 250};
  progress.tpot_ms = {20};
  return progress;
}

LiveFigures figures_after(int half_seconds) {
  LiveHistory history;
  for (int i = 1; i <= half_seconds; ++i) history.add(steady(milliseconds(500) * i));
  return history.figures();
}

// A stream whose text can be read.
class Text {
 public:
  Text() : file_(open_memstream(&data_, &size_)) {}
  ~Text() {
    std::fclose(file_);
    std::free(data_);  // NOLINT(cppcoreguidelines-no-malloc): open_memstream's contract
  }
  Text(const Text&) = delete;
  Text& operator=(const Text&) = delete;
  [[nodiscard]] std::FILE* file() const { return file_; }
  [[nodiscard]] std::string read() const {
    std::fflush(file_);
    return {data_, size_};
  }

 private:
  char* data_ = nullptr;
  std::size_t size_ = 0;
  std::FILE* file_;
};

// Columns that a line takes: characters outside escape sequences.
int width_of(const std::string& line) {
  int width = 0;
  bool escape = false;
  for (const char c : line) {
    if (c == '\x1b') escape = true;
    if (!escape && (static_cast<unsigned char>(c) & 0xC0U) != 0x80U) ++width;
    if (escape && c == 'm') escape = false;
  }
  return width;
}

TEST(LiveHistory, RatesAreOfTheLastSeconds) {
  LiveHistory history;
  for (int i = 1; i <= 20; ++i) history.add(steady(milliseconds(500) * i));
  RunProgress halted = steady(seconds(10));
  for (int i = 21; i <= 40; ++i) {
    halted.now = milliseconds(500) * i;
    halted.ttft_ms.clear();
    halted.tpot_ms.clear();
    history.add(halted);
  }
  const LiveFigures figures = history.figures();
  EXPECT_EQ(figures.offered, 1000U);
  EXPECT_DOUBLE_EQ(figures.offered_per_s, 0);
  EXPECT_DOUBLE_EQ(figures.tokens_per_s, 0);
  EXPECT_FALSE(figures.ttft);
  EXPECT_EQ(figures.ttft_trend.size(), 20U);  // keeps its shape
  EXPECT_EQ(figures.tokens_trend.size(), LiveHistory::kTrend);
}

TEST(LiveHistory, LatenciesAreOfTheWindowAlone) {
  LiveHistory history;
  RunProgress early;
  early.now = seconds(1);
  early.ttft_ms = {9000};
  history.add(early);
  RunProgress late;
  late.now = seconds(7);
  late.ttft_ms = {10, 30};
  history.add(late);
  ASSERT_TRUE(history.figures().ttft);
  EXPECT_DOUBLE_EQ(history.figures().ttft->median_ms, 20);
}

TEST(LiveHistory, BeforeAnyReportAllIsZero) {
  const LiveFigures figures = LiveHistory().figures();
  EXPECT_EQ(figures.offered, 0U);
  for (const std::string& line : render_live(figures, 80, {})) {
    EXPECT_THAT(line, Not(HasSubstr("nan")));
  }
}

TEST(LiveAdvance, FollowsThePlan) {
  const auto advance = advance_of(figures_after(30), seconds(60));
  ASSERT_TRUE(advance);
  EXPECT_DOUBLE_EQ(advance->share, 0.25);
  EXPECT_EQ(advance->left, Duration(seconds(45)));
  EXPECT_TRUE(advance_of(figures_after(120), seconds(60))->draining);
}

TEST(LiveAdvance, WithoutAPlanFollowsTheRequests) {
  LiveFigures figures = figures_after(20);  // 10 s: 800 completed, 3 failed
  EXPECT_FALSE(advance_of(figures, std::nullopt));
  figures.failed = 200;
  figures.total = 4000;
  const auto advance = advance_of(figures, std::nullopt);
  ASSERT_TRUE(advance);
  EXPECT_DOUBLE_EQ(advance->share, 0.25);
  EXPECT_NEAR(to_seconds(*advance->left), 30, 1e-6);
}

TEST(RenderLive, ShowsTheFigures) {
  LiveFigures figures = figures_after(30);
  figures.total = 6000;
  EXPECT_THAT(
      render_live(figures, 100, {.color = false, .planned = seconds(60)}),
      ElementsAre("time      15.0 s       ██████████░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░  45.0 s left",
                  "offered   1,500 of 6,000 (100.0/s)  running 17",
                  "completed 1,200 (80.0/s)  errors 3",
                  "TTFT      median 200 ms    p99 250 ms    ████████████████████████",
                  "TPOT      median 20.0 ms   p99 20.0 ms   ████████████████████████",
                  "output    2,000 tokens/s                 ████████████████████████"));
}

TEST(RenderLive, TheTrendIsDrawnFromZero) {
  LiveFigures figures;
  figures.ttft = MedianAndTail{.median_ms = 5, .p99_ms = 9};
  figures.ttft_trend = {0, 35, 70};
  EXPECT_THAT(render_live(figures, 80, {})[3], ::testing::EndsWith("▁▅█"));
}

TEST(RenderLive, ANarrowTerminalShowsTheNewestOfTheTrend) {
  LiveFigures figures;
  figures.ttft = MedianAndTail{.median_ms = 5, .p99_ms = 9};
  figures.ttft_trend = {70, 70, 70, 0, 35, 70};
  EXPECT_THAT(render_live(figures, 44, {})[3], ::testing::EndsWith(" ▁▅█"));
}

TEST(RenderLive, NoLineIsWiderThanTheTerminal) {
  LiveFigures huge = figures_after(60);
  huge.offered = huge.total = huge.completed = huge.failed = huge.running =
      std::numeric_limits<std::size_t>::max();
  huge.offered_per_s = huge.tokens_per_s = 1e15;
  huge.ttft = MedianAndTail{.median_ms = 1e12, .p99_ms = 1e15};
  for (const LiveFigures& figures : {LiveFigures{}, figures_after(60), huge}) {
    for (const bool color : {false, true}) {
      for (int columns = 20; columns <= 140; ++columns) {
        for (const auto& line : render_live(figures, columns, {color, seconds(1000)})) {
          EXPECT_LE(width_of(line), columns) << line;
        }
      }
    }
  }
}

TEST(RenderLive, ColourIsAsked) {
  const auto has_escape = [](const std::string& line) { return line.contains('\x1b'); };
  const auto plain = render_live(figures_after(10), 80, {.color = false, .planned = {}});
  const auto colored = render_live(figures_after(10), 80, {.color = true, .planned = {}});
  EXPECT_TRUE(std::ranges::none_of(plain, has_escape));
  EXPECT_TRUE(std::ranges::all_of(colored, has_escape));
}

TEST(RenderLine, SaysItAllInOne) {
  EXPECT_EQ(render_line(figures_after(30), seconds(60)),
            "15.0 s: offered 1,500 (100.0/s), completed 1,200 (80.0/s), errors 3, running 17, "
            "TTFT median / p99 200 ms / 250 ms, TPOT 20.0 ms / 20.0 ms, 2,000 tokens/s, "
            "45.0 s left");
}

TEST(LiveView, WithoutATerminalALineEveryFiveSeconds) {
  const Text text;
  LiveView view(text.file(), false, 80);
  for (int i = 1; i <= 24; ++i) view.update(steady(milliseconds(500) * i));  // 12 s
  EXPECT_EQ(std::ranges::count(text.read(), '\n'), 2);
  EXPECT_THAT(text.read(), Not(HasSubstr("\x1b")));
  view.finish();
  view.finish();
  EXPECT_EQ(std::ranges::count(text.read(), '\n'), 3);
  EXPECT_THAT(text.read(), HasSubstr("\n12.0 s: "));
}

TEST(LiveView, OnATerminalDrawsInPlaceAndLeavesTheCursor) {
  const Text text;
  LiveView view(text.file(), true, 80);
  view.update(steady(seconds(1)));
  const std::string first = text.read();
  EXPECT_THAT(first, Not(HasSubstr("\x1b[6A")));
  EXPECT_TRUE(first.ends_with("\n\x1b[?7h\x1b[?25h"));
  view.update(steady(seconds(2)));
  const std::string second = text.read().substr(first.size());
  EXPECT_TRUE(second.starts_with("\x1b[?25l\x1b[?7l\x1b[6A\rtime      2.0 s"));
  EXPECT_TRUE(second.ends_with("\n\x1b[?7h\x1b[?25h"));
  view.finish();
  EXPECT_EQ(text.read(), first + second);
}

TEST(LiveView, AFileIsNoTerminal) {
  std::FILE* file = std::tmpfile();
  ASSERT_NE(file, nullptr);
  EXPECT_FALSE(is_live_terminal(file));
  EXPECT_EQ(terminal_columns(file), 80);
  std::fclose(file);
}

TEST(LiveView, NoColorIsHonoured) {
  ::setenv("NO_COLOR", "1", 1);
  EXPECT_FALSE(color_allowed());
  ::setenv("NO_COLOR", "", 1);
  EXPECT_TRUE(color_allowed());
  ::unsetenv("NO_COLOR");
  EXPECT_TRUE(color_allowed());
}

}  // namespace
}  // namespace baton::orchestrator::bench
