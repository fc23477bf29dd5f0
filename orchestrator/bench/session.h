#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "orchestrator/bench/generator/runner.h"
#include "orchestrator/bench/prepare.h"
#include "orchestrator/bench/results/compare.h"
#include "orchestrator/bench/results/summary.h"
#include "orchestrator/bench/results/sweep.h"
#include "orchestrator/bench/workload/arrivals.h"
#include "orchestrator/bench/workload/workloads.h"

namespace baton::orchestrator::bench {

enum class SessionKind : std::uint8_t { kRun, kSweep, kCompare };

struct SessionTarget {
  std::string name;  // of a comparison's side
  std::string url;   // as given
  Target target;
};

// How requests are offered: at a rate, at the trace's own times, or so many at a time.
struct LoadOptions {
  std::optional<double> rate{};  // requests per second; infinity: all at once
  double burstiness = 1;
  std::optional<Ramp> ramp{};
  int concurrency = 0;       // a closed loop
  int max_concurrency = 0;   // of an open loop; 0: no bound
  std::size_t requests = 0;  // measured; 0: by `duration`, by the workload, or kFewRequests
  std::optional<Duration> duration{};  // of sending, after the warm-up
  Duration warmup{};                   // of sending; what is sent in it does not count
  int repeats = 1;                     // rounds, of a comparison
  std::uint64_t seed = 0;
  static constexpr std::size_t kFewRequests = 100;
};

struct SessionOptions {
  SessionKind kind = SessionKind::kRun;
  std::vector<SessionTarget> targets;  // one, but for a comparison
  LoadOptions load;
  RunOptions run;  // requests, schedule, concurrency are set for each run
  WorkloadSpec workload;
  PromptOptions prompts;
  SummaryOptions summary;  // what is the same for each run
  SweepOptions sweep;
};

// When the requests of one run are due, and which of them count.
struct RunPlan {
  std::size_t requests = 0;
  std::vector<Duration> schedule;  // empty: a closed loop
  std::optional<Duration> stop_sending_after;
  Window window;
};
// Errors: kInvalidArgument where the load has no rate, times or concurrency, or no end.
[[nodiscard]] Result<RunPlan> plan_run(const LoadOptions& load, Workload& workload);

// One use of the load harness: finds out about the targets, offers the workload as often as asked,
// and makes the result file. Owned by the command; runs on its thread.
class Session {
 public:
  struct Watcher {
    // Before each run: what it is ("round 2 of 3, B"), the io_context's run begins after it.
    std::function<void(const std::string& what, const RunPlan& plan)> begins;
    std::function<void(const RunProgress&)> progress;
    std::function<void()> ends;
  };
  Session(SessionOptions options, Watcher watcher);
  // The result file: a run's, a sweep's or a comparison's. Errors: kInvalidArgument for the
  // options and their files, others for a target that does not answer.
  [[nodiscard]] Result<Json> run();
  // Ends the run that goes on; run() returns what was measured, marked partial. Any thread.
  void stop();
  [[nodiscard]] bool stopped() const { return stopped_; }
  // Good over offered requests, of all runs; 1 without an SLO.
  [[nodiscard]] double good_share() const { return offered_ > 0 ? good_ / offered_ : 1; }
  // Of all runs, in order: for the CSV file.
  [[nodiscard]] const std::vector<RequestRecord>& records() const { return records_; }

 private:
  struct Ready {
    SessionTarget target;
    PromptBuilder prompts;
  };
  struct Done {
    RunResult result;
    Json summary;
    Window window;
  };
  [[nodiscard]] Result<std::vector<Ready>> prepare_all();
  [[nodiscard]] Result<Done> run_once(const Ready& ready, const LoadOptions& load,
                                      const std::string& what);
  [[nodiscard]] Result<Json> run_repeats(const Ready& ready);
  [[nodiscard]] Result<Json> run_sweep(const Ready& ready);
  [[nodiscard]] Result<Json> run_comparison(const std::vector<Ready>& ready);

  SessionOptions options_;
  Watcher watcher_;
  boost::asio::io_context io_{1};
  std::vector<RequestRecord> records_;
  double offered_ = 0;
  double good_ = 0;
  std::atomic<bool> stopped_ = false;
  std::mutex mutex_;  // guards runner_
  Runner* runner_ = nullptr;
};

}  // namespace baton::orchestrator::bench
