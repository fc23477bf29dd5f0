#include "orchestrator/bench/report/live_view.h"

#include <fmt/format.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <ranges>
#include <string_view>
#include <utility>

namespace baton::orchestrator::bench {
namespace {

constexpr Duration kLineEvery = std::chrono::seconds(5);
constexpr int kNarrowest = 20;
constexpr int kLabelWidth = 10;

// Select Graphic Rendition, ECMA-48 section 8.3.117.
constexpr std::string_view kPlain;
constexpr std::string_view kBold = "1";
constexpr std::string_view kFaint = "2";
constexpr std::string_view kRed = "31";
constexpr std::string_view kCyan = "36";

constexpr std::array<std::string_view, 8> kLevels = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};

bool starts_character(char c) { return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U; }

// A line that takes no more than so many columns; every character of ours takes one.
class Line {
 public:
  Line(int columns, bool color) : room_(columns), color_(color) {}

  Line& add(std::string_view text, std::string_view style = kPlain) {
    const bool styled = color_ && !style.empty() && room_ > 0;
    if (styled) text_ += fmt::format("\x1b[{}m", style);
    for (const char c : text) {
      if (starts_character(c) && room_-- <= 0) {
        room_ = 0;
        dropping_ = true;
      }
      if (!dropping_) text_ += c;
    }
    if (styled) text_ += "\x1b[0m";
    return *this;
  }
  Line& label(std::string_view text) {
    return add(fmt::format("{:<{}}", text, kLabelWidth), kFaint);
  }
  [[nodiscard]] int room() const { return room_; }
  [[nodiscard]] std::string take() { return std::move(text_); }

 private:
  std::string text_;
  int room_;
  bool color_;
  bool dropping_ = false;
};

std::string grouped(std::uint64_t value) {
  std::string digits = std::to_string(value);
  for (auto at = static_cast<std::ptrdiff_t>(digits.size()) - 3; at > 0; at -= 3) {
    digits.insert(static_cast<std::size_t>(at), ",");
  }
  return digits;
}

std::string rate(double per_second) {
  if (per_second >= 1000) return grouped(static_cast<std::uint64_t>(std::llround(per_second)));
  return fmt::format("{:.1f}", per_second);
}

std::string ms(double value) {
  if (value >= 10'000) return fmt::format("{:.1f} s", value / 1000);
  if (value >= 100) return grouped(static_cast<std::uint64_t>(std::llround(value))) + " ms";
  return fmt::format("{:.{}f} ms", value, value >= 10 ? 1 : 2);
}

std::string clock(Duration time) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(time).count();
  if (seconds < 100) return fmt::format("{:.1f} s", to_seconds(time));
  if (seconds < 6000) return fmt::format("{} min {:02} s", seconds / 60, seconds % 60);
  return fmt::format("{} h {:02} min", seconds / 3600, seconds / 60 % 60);
}

// The last values that there is room for.
std::string sparkline(const std::deque<double>& values, int room) {
  const auto size = static_cast<int>(values.size());
  const auto shown = values | std::views::drop(std::max(0, size - std::max(0, room)));
  if (shown.empty()) return {};
  const double top = std::ranges::max(shown);
  std::string out;
  for (const double value : shown) {
    const double level = top > 0 ? value / top * (kLevels.size() - 1) : 0;
    out += kLevels[static_cast<std::size_t>(std::lround(std::max(0.0, level)))];
  }
  return out;
}

std::string bar(double share, int width) {
  const int full = std::clamp(static_cast<int>(std::lround(share * width)), 0, width);
  std::string out;
  for (int i = 0; i < width; ++i) out += i < full ? "█" : "░";
  return out;
}

std::string advance_words(const LiveAdvance& advance, std::size_t running) {
  if (advance.draining) return fmt::format("all sent, {} still running", grouped(running));
  if (!advance.left) return "time left unknown yet";
  return clock(*advance.left) + " left";
}

std::string time_line(const LiveFigures& figures, int columns, const LiveLook& look) {
  Line line(columns, look.color);
  line.label("time").add(fmt::format("{:<13}", clock(figures.now)), kBold);
  const auto advance = advance_of(figures, look.planned);
  if (!advance) return line.take();
  const std::string words = advance_words(*advance, figures.running);
  const int width = std::clamp(line.room() - static_cast<int>(words.size()) - 2, 0, 40);
  if (width >= 8) line.add(bar(advance->share, width), kCyan).add("  ");
  return line.add(words).take();
}

std::string request_line(const LiveFigures& figures, int columns, bool color) {
  Line line(columns, color);
  line.label("offered").add(grouped(figures.offered), kBold);
  if (figures.total > 0) line.add(" of " + grouped(figures.total));
  line.add(fmt::format(" ({}/s)", rate(figures.offered_per_s)));
  line.add("  running ").add(grouped(figures.running), kBold);
  return line.take();
}

std::string completed_line(const LiveFigures& figures, int columns, bool color) {
  Line line(columns, color);
  line.label("completed").add(grouped(figures.completed), kBold);
  line.add(fmt::format(" ({}/s)", rate(figures.completed_per_s)));
  const std::string_view style = figures.failed > 0 ? kRed : kPlain;
  line.add("  ").add("errors " + grouped(figures.failed), style);
  return line.take();
}

std::string latency_line(std::string_view name, const std::optional<MedianAndTail>& latency,
                         const std::deque<double>& trend, int columns, bool color) {
  Line line(columns, color);
  line.label(name);
  if (!latency) return line.add("none in the last seconds", kFaint).take();
  line.add("median ").add(fmt::format("{:<10}", ms(latency->median_ms)), kBold);
  line.add("p99 ").add(fmt::format("{:<10}", ms(latency->p99_ms)), kBold);
  return line.add(sparkline(trend, line.room()), kCyan).take();
}

std::string token_line(const LiveFigures& figures, int columns, bool color) {
  Line line(columns, color);
  line.label("output").add(rate(figures.tokens_per_s), kBold);
  line.add(fmt::format("{:<{}}", " tokens/s",
                       31 - std::min<std::size_t>(30, rate(figures.tokens_per_s).size())));
  return line.add(sparkline(figures.tokens_trend, line.room()), kCyan).take();
}

std::string both(const std::optional<MedianAndTail>& latency) {
  return latency ? fmt::format("{} / {}", ms(latency->median_ms), ms(latency->p99_ms)) : "-";
}

}  // namespace

std::vector<std::string> render_live(const LiveFigures& figures, int columns,
                                     const LiveLook& look) {
  columns = std::max(columns, kNarrowest);
  return {time_line(figures, columns, look),
          request_line(figures, columns, look.color),
          completed_line(figures, columns, look.color),
          latency_line("TTFT", figures.ttft, figures.ttft_trend, columns, look.color),
          latency_line("TPOT", figures.tpot, figures.tpot_trend, columns, look.color),
          token_line(figures, columns, look.color)};
}

std::string render_line(const LiveFigures& figures, std::optional<Duration> planned) {
  std::string line = fmt::format(
      "{}: offered {} ({}/s), completed {} ({}/s), errors {}, running {}, "
      "TTFT median / p99 {}, TPOT {}, {} tokens/s",
      clock(figures.now), grouped(figures.offered), rate(figures.offered_per_s),
      grouped(figures.completed), rate(figures.completed_per_s), grouped(figures.failed),
      grouped(figures.running), both(figures.ttft), both(figures.tpot), rate(figures.tokens_per_s));
  if (const auto advance = advance_of(figures, planned)) {
    line += ", " + advance_words(*advance, figures.running);
  }
  return line;
}

LiveView::LiveView(std::FILE* out, bool terminal, int columns, LiveLook look)
    : out_(out), terminal_(terminal), columns_(columns), look_(look) {}

void LiveView::update(const RunProgress& progress) {
  history_.add(progress);
  unsaid_ = true;
  if (!terminal_ && progress.now - last_line_at_.value_or(Duration::zero()) < kLineEvery) return;
  draw();
}

void LiveView::finish() {
  if (unsaid_) draw();
}

// A frame is one write that hides the cursor and shows it again, so that a process that is killed
// between two frames leaves the terminal as it was. Lines do not wrap while it is written.
void LiveView::draw() {
  const LiveFigures figures = history_.figures();
  std::string frame;
  if (terminal_) {
    frame = "\x1b[?25l\x1b[?7l";
    if (drawn_lines_ > 0) frame += fmt::format("\x1b[{}A", drawn_lines_);
    const std::vector<std::string> lines = render_live(figures, columns_, look_);
    for (const std::string& line : lines) frame += "\r" + line + "\x1b[K\n";
    frame += "\x1b[?7h\x1b[?25h";
    drawn_lines_ = lines.size();
  } else {
    frame = render_line(figures, look_.planned) + "\n";
  }
  std::fwrite(frame.data(), 1, frame.size(), out_);
  std::fflush(out_);
  last_line_at_ = figures.now;
  unsaid_ = false;
}

bool is_live_terminal(std::FILE* out) {
  const char* kind = std::getenv("TERM");
  return isatty(fileno(out)) == 1 && kind != nullptr && std::string_view(kind) != "dumb";
}

int terminal_columns(std::FILE* out) {
  winsize size{};
  const bool known = ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
  return known ? size.ws_col : 80;
}

bool color_allowed() {
  const char* unwanted = std::getenv("NO_COLOR");
  return unwanted == nullptr || *unwanted == '\0';
}

}  // namespace baton::orchestrator::bench
