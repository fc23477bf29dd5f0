#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace baton::orchestrator {

// One line of Prometheus text.
struct MetricSample {
  std::string_view name;
  std::vector<std::pair<std::string_view, std::string>> labels;  // values unescaped
  double value = 0.0;
  [[nodiscard]] std::string_view label(std::string_view name) const;  // empty: absent
};

// Reads Prometheus text exposition format 0.0.4, calling `sample` for each line that is a sample of
// a name that is `wanted`, which is asked before more of the line is read: of an engine's text,
// most lines are buckets of histograms. Lines that are none are left out: a pod's metrics are
// hints, and one bad line must not hide the others. Timestamps and comments are ignored.
void for_each_sample(std::string_view text, const std::function<bool(std::string_view)>& wanted,
                     const std::function<void(const MetricSample&)>& sample);

}  // namespace baton::orchestrator
