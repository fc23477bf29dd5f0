#include "orchestrator/bench/report/live_figures.h"

#include <algorithm>
#include <utility>

#include "orchestrator/bench/results/statistics.h"

namespace baton::orchestrator::bench {
namespace {

void push(std::deque<double>& trend, double value) {
  trend.push_back(value);
  if (trend.size() > LiveHistory::kTrend) trend.pop_front();
}

void push_median(std::deque<double>& trend, const std::vector<double>& values) {
  if (!values.empty()) push(trend, Sample(values).median());
}

std::optional<MedianAndTail> summary_of(std::vector<double> values) {
  if (values.empty()) return std::nullopt;
  const Sample sample(std::move(values));
  return MedianAndTail{sample.median(), sample.percentile(99)};
}

template <class Count>
double per_second(Count from, Count to, double seconds) {
  return seconds > 0 ? (static_cast<double>(to) - static_cast<double>(from)) / seconds : 0;
}

}  // namespace

void LiveHistory::add(const RunProgress& progress) {
  const RunProgress& last = reports_.empty() ? before_ : reports_.back();
  const double seconds = to_seconds(progress.now - last.now);
  push(tokens_trend_, per_second(last.output_tokens, progress.output_tokens, seconds));
  push_median(ttft_trend_, progress.ttft_ms);
  push_median(tpot_trend_, progress.tpot_ms);
  reports_.push_back(progress);
  while (reports_.size() > 1 && reports_.front().now <= progress.now - kWindow) {
    before_ = std::move(reports_.front());
    reports_.pop_front();
  }
}

LiveFigures LiveHistory::figures() const {
  LiveFigures figures;
  if (reports_.empty()) return figures;
  const RunProgress& last = reports_.back();
  figures.now = last.now;
  figures.offered = last.offered;
  figures.total = last.total;
  figures.completed = last.completed;
  figures.failed = last.failed;
  figures.running = last.running;
  const double seconds = to_seconds(last.now - before_.now);
  figures.offered_per_s = per_second(before_.offered, last.offered, seconds);
  figures.completed_per_s = per_second(before_.completed, last.completed, seconds);
  figures.tokens_per_s = per_second(before_.output_tokens, last.output_tokens, seconds);
  std::vector<double> ttft;
  std::vector<double> tpot;
  for (const RunProgress& report : reports_) {
    ttft.insert(ttft.end(), report.ttft_ms.begin(), report.ttft_ms.end());
    tpot.insert(tpot.end(), report.tpot_ms.begin(), report.tpot_ms.end());
  }
  figures.ttft = summary_of(std::move(ttft));
  figures.tpot = summary_of(std::move(tpot));
  figures.ttft_trend = ttft_trend_;
  figures.tpot_trend = tpot_trend_;
  figures.tokens_trend = tokens_trend_;
  return figures;
}

std::optional<LiveAdvance> advance_of(const LiveFigures& figures, std::optional<Duration> planned) {
  const bool all_sent = figures.total > 0 && figures.offered >= figures.total;
  if (planned && *planned > Duration::zero()) {
    const double share = to_seconds(figures.now) / to_seconds(*planned);
    if (share >= 1 || all_sent) return LiveAdvance{.share = 1, .left = {}, .draining = true};
    return LiveAdvance{.share = share, .left = *planned - figures.now, .draining = false};
  }
  if (figures.total == 0) return std::nullopt;
  const double share =
      static_cast<double>(figures.completed + figures.failed) / static_cast<double>(figures.total);
  LiveAdvance advance{.share = std::min(1.0, share), .left = {}, .draining = all_sent};
  if (share > 0 && share < 1) {
    const Seconds left(to_seconds(figures.now) * (1 - share) / share);
    advance.left = std::chrono::duration_cast<Duration>(left);
  }
  return advance;
}

}  // namespace baton::orchestrator::bench
