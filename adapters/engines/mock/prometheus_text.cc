#include "adapters/engines/mock/prometheus_text.h"

#include <fmt/format.h>

#include <algorithm>

namespace baton::adapters::mock {
namespace {

std::string number(double value) {
  // As Python's repr has it: 1.0, 0.25, 1.7e+09.
  std::string text = fmt::format("{}", value);
  return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
}

}  // namespace

void Histogram::observe(double value) {
  const auto bound = std::ranges::lower_bound(bounds_, value);
  ++counts_[static_cast<std::size_t>(bound - bounds_.begin())];
  ++count_;
  sum_ += value;
}

void PrometheusText::family(std::string_view name, std::string_view type, std::string_view help) {
  text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
}

void PrometheusText::sample(std::string_view name, const Labels& labels, double value) {
  text_ += name;
  if (!labels.empty()) {
    text_ += '{';
    for (const auto& [key, label] : labels) {
      if (&key != &labels.front().first) text_ += ',';
      text_.append(key).append("=\"");
      for (const char c : label) {
        if (c == '"' || c == '\\') text_ += '\\';
        text_ += c;
      }
      text_ += '"';
    }
    text_ += '}';
  }
  text_ += ' ' + number(value) + '\n';
}

void PrometheusText::histogram(std::string_view name, const Labels& labels,
                               const Histogram& histogram) {
  Labels with_bound = labels;
  with_bound.emplace_back("le", "");
  const std::string bucket = std::string(name) + "_bucket";
  std::int64_t below = 0;
  for (std::size_t i = 0; i < histogram.counts().size(); ++i) {
    below += histogram.counts()[i];
    const bool last = i == histogram.bounds().size();
    with_bound.back().second = last ? "+Inf" : number(histogram.bounds()[i]);
    sample(bucket, with_bound, static_cast<double>(below));
  }
  sample(std::string(name) + "_count", labels, static_cast<double>(histogram.count()));
  sample(std::string(name) + "_sum", labels, histogram.sum());
}

}  // namespace baton::adapters::mock
