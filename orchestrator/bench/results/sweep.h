#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "orchestrator/bench/results/summary.h"

namespace baton::orchestrator::bench {

struct SweepOptions {
  double from_rate = 1;      // requests per second
  double growth = 2;         // from one rate to the next until the SLO breaks; above 1
  double tolerance = 0.05;   // ends once the bracket's ends are within this ratio
  double good_share = 0.95;  // of offered requests, below which the SLO counts as broken
  int max_points = 16;       // runs, repeats of a rate included
};

// What was measured at one rate, over all its runs.
struct SweepPoint {
  double rate = 0;
  int runs = 0;
  double goodput = 0;  // good requests per second, mean over the runs
  double share = 0;    // good over offered, of the runs together
  std::int64_t offered = 0;
  bool sound = true;
};

struct SweepResult {
  std::optional<SweepPoint> best;   // the highest goodput at a rate that kept the SLO
  std::optional<SweepPoint> peak;   // the highest goodput at any rate
  std::optional<double> breaks_at;  // lowest rate seen to break it
  std::optional<double> knee;       // rate beyond which goodput stops growing with the offered rate
  bool generator_bound = false;     // the generator, not the target, set the upper end
};

// The search for the highest rate that keeps an SLO: rates grow geometrically until its share of
// good requests falls short (shrink, where the first one does), then the bracket is halved
// geometrically. A rate whose share is within the noise of the wanted one is run a second time and
// judged by both runs. Owned by whoever runs the sweep; says what to run next and holds no clock.
class GoodputSearch {
 public:
  explicit GoodputSearch(const SweepOptions& options) : options_(options) {}
  [[nodiscard]] std::optional<double> next_rate() const;  // nullopt: done
  // The run at `rate`, as summarize() made it with an SLO.
  void observe(double rate, const Json& run);
  [[nodiscard]] SweepResult result() const;
  [[nodiscard]] const std::vector<SweepPoint>& points() const { return points_; }  // by rate
  [[nodiscard]] const SweepOptions& options() const { return options_; }

 private:
  [[nodiscard]] bool keeps(const SweepPoint& point) const;
  [[nodiscard]] bool is_uncertain(const SweepPoint& point) const;
  SweepPoint& point_at(double rate);

  SweepOptions options_;
  std::vector<SweepPoint> points_;
  std::optional<double> repeat_;  // to be run once more before anything else
  int runs_ = 0;
};

// Kneedle (Satopaa et al., 2011) on the line from 0 through points ascending in rate: the rate
// farthest above the chord to the last. nullopt: fewer than three points, or goodput grows with the
// rate to the end.
[[nodiscard]] std::optional<double> knee_of(const std::vector<SweepPoint>& points);

// A sweep's file: kind, slo, the runs by rate, best, knee.
[[nodiscard]] Json sweep_json(const GoodputSearch& search, std::vector<Json> runs, const Slo& slo,
                              std::string_view version);
[[nodiscard]] std::string render_sweep(const Json& sweep, bool color = false);

}  // namespace baton::orchestrator::bench
