#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "orchestrator/kv_perf/report.h"

// The look is that of perf/report_picture.py.
namespace baton::orchestrator::kv_perf {
namespace {

constexpr int kWidth = 880, kLeft = 110, kPlot = 440;
constexpr int kRow = 24, kHead = 26, kGap = 14, kTop = 64, kBottom = 42;
constexpr std::string_view kStyle = R"(
  text { font: 13px system-ui, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; fill: #5b656e }
  .ink { fill: #1d2328 } .title { font-size: 16px; font-weight: 600; fill: #1d2328 }
  .head { font-weight: 600; fill: #1d2328 }
  .grid { stroke: #e2e4e1 } .best { stroke: #5b656e; stroke-width: 2 } .bar { fill: #0072b2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #a6b0b8 } .ink, .title, .head { fill: #e8ebed }
    .grid { stroke: #30373d } .best { stroke: #a6b0b8 } .bar { fill: #4aa8e6 }
  })";

std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

class Drawing {
 public:
  explicit Drawing(double most)
      : step_(step_for(most)), end_(step_ * std::max(1.0, std::ceil(most / step_))) {}

  void text(double x, double y, std::string_view words, std::string_view kind,
            std::string_view anchor = "start") {
    body_ +=
        fmt::format("  <text x=\"{:.1f}\" y=\"{:.1f}\" class=\"{}\" text-anchor=\"{}\">{}</text>\n",
                    x, y, kind, anchor, escaped(words));
  }
  void line(double gb_per_s, double top, double bottom, std::string_view kind) {
    body_ += fmt::format(
        "  <line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" y2=\"{2:.1f}\" class=\"{3}\"/>\n",
        x(gb_per_s), top, bottom, kind);
  }
  void bar(double gb_per_s, double y) {
    body_ += fmt::format(
        "  <rect x=\"{}\" y=\"{:.1f}\" width=\"{:.1f}\" height=\"{}\" rx=\"2\" class=\"bar\"/>\n",
        kLeft, y, std::max(1.0, x(gb_per_s) - kLeft), kRow - 8);
  }
  template <class Each>
  void marks(Each each) const {
    for (int i = 0; i * step_ <= end_ * 1.0001; ++i) each(i * step_);
  }
  [[nodiscard]] double x(double gb_per_s) const { return kLeft + kPlot * gb_per_s / end_; }
  [[nodiscard]] const std::string& body() const { return body_; }

 private:
  // 1, 2 or 5 times a power of ten, for about five marks.
  static double step_for(double most) {
    const double rough = std::max(most, 1e-6) / 5;
    const double power = std::pow(10, std::floor(std::log10(rough)));
    const double times = rough / power;
    return power * (times <= 1 ? 1 : times <= 2 ? 2 : times <= 5 ? 5 : 10);
  }

  double step_;
  double end_;
  std::string body_;
};

void draw_row(Drawing& drawing, const Row& row, int y) {
  drawing.text(kLeft - 10, y + 16, row.transport, "ink", "end");
  const double right = kLeft + kPlot + 14;
  if (row.error) {
    drawing.text(right, y + 16, fmt::format("not measured: {}", name_of(row.error->code)), "");
    return;
  }
  const double median = row.gb_per_s(row.median());
  drawing.bar(median, y + 4);
  drawing.line(row.gb_per_s(row.best()), y + 2, y + kRow - 2, "best");
  drawing.text(right, y + 16,
               median < 0.001 ? time_words(row.median())
                              : fmt::format("{:.3g} GB/s in {}", median, time_words(row.median())),
               "ink");
}

}  // namespace

std::string picture(const std::vector<Row>& rows, const std::string& title) {
  double most = 0;
  for (const Row& row : rows) {
    if (!row.error) most = std::max(most, row.gb_per_s(row.best()));
  }
  Drawing drawing(most);
  drawing.text(16, 28, title, "title");
  drawing.text(16, 48,
               rows.empty() ? "Nothing was measured."
                            : "Bars are medians, marks the best; every block verified.",
               "");
  int y = kTop;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const bool begins = i == 0 || !(rows[i].shape == rows[i - 1].shape);
    if (begins) {
      if (i > 0) y += kGap;
      drawing.text(16, y + 17, shape_words(rows[i].shape), "head");
      y += kHead;
    }
    drawing.marks([&](double mark) { drawing.line(mark, y, y + kRow, "grid"); });
    draw_row(drawing, rows[i], y);
    y += kRow;
  }
  drawing.marks([&](double mark) {
    drawing.text(drawing.x(mark), y + 18, fmt::format("{:g}", mark), "", "middle");
  });
  drawing.text(kLeft + kPlot + 14, y + 18, "GB/s", "");
  const int height = y + kBottom;
  return fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} "
      "{1}\" role=\"img\" aria-label=\"{2}\">\n  <style>{3}\n  </style>\n{4}</svg>\n",
      kWidth, height, escaped(title), kStyle, drawing.body());
}

}  // namespace baton::orchestrator::kv_perf
