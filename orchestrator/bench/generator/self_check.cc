#include "orchestrator/bench/generator/self_check.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <unordered_map>
#include <utility>

#include "orchestrator/bench/generator/nearest_rank.h"
#include "orchestrator/bench/generator/own_core.h"
#include "orchestrator/bench/generator/reference_server.h"
#include "orchestrator/bench/generator/runner.h"
#include "orchestrator/bench/generator/soundness.h"
#include "orchestrator/bench/generator/thread_cpu.h"
#include "orchestrator/bench/workload/arrivals.h"

namespace baton::orchestrator::bench {
namespace {

constexpr int kTokens = 4;
// Each request has one of two times to its first token and one of two between tokens; what is good
// lies between them, far from either.
constexpr int kTtftUs[] = {20000, 120000};
constexpr int kGapUs[] = {5000, 15000};
constexpr double kMedianTtftMs = 20;
// Client and server share the limit on open files.
constexpr int kMostInProcess = 8000;
constexpr double kGoodTtftMs = 70;
constexpr double kGoodTpotMs = 10;
// Of the search for the capacity.
constexpr double kStepDown = 0.95;
constexpr int kMostSteps = 20;

// A hash of the seed and the request's number (splitmix64), so that times do not follow a pattern.
std::uint64_t mixed(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t x = seed * 0x9E3779B97F4A7C15 + index + 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

// Prompts that tell the reference server what to do.
class Directions final : public Workload {
 public:
  using Make = std::string (*)(const SelfCheckOptions&, std::size_t);
  Directions(const SelfCheckOptions& options, Make make) : options_(options), make_(make) {}
  [[nodiscard]] std::optional<std::size_t> size() const override { return std::nullopt; }
  [[nodiscard]] Result<WorkloadRequest> request(std::size_t index) override {
    WorkloadRequest request;
    request.turns = {{"user", make_(options_, index)}};
    request.max_tokens = kTokens;
    return request;
  }
  [[nodiscard]] std::string describe() const override { return "self-check"; }

 private:
  const SelfCheckOptions& options_;
  Make make_;
};

std::string short_request(const SelfCheckOptions& /*options*/, std::size_t index) {
  return fmt::format("reference id={} ", index);
}

std::string two_speeds(const SelfCheckOptions& options, std::size_t index) {
  const std::uint64_t dice = mixed(options.seed, index);
  return fmt::format("reference id={} ttft_us={} gap_us={} ", index, kTtftUs[dice % 4 == 0 ? 1 : 0],
                     kGapUs[(dice >> 8) % 4 == 0 ? 1 : 0]);
}

// When stream `index` is opened.
Duration opened_at(const SelfCheckOptions& options, std::size_t index) {
  return options.ramp_time * index / std::max<std::size_t>(options.streams, 1);
}

// A stream that lasts until the end of the hold.
std::string long_stream(const SelfCheckOptions& options, std::size_t index) {
  const Duration left = options.ramp_time + options.hold_time - opened_at(options, index);
  const double gap_us = 1e6 / options.tokens_per_s;
  const double tokens = std::max(1.0, to_seconds(left) * options.tokens_per_s);
  return fmt::format("reference id={} ttft_us={:.0f} gap_us={:.0f} tokens={:.0f} ", index, gap_us,
                     gap_us, tokens);
}

Target target_at(std::uint16_t port) {
  Target target;
  target.host = "127.0.0.1";
  target.port = port;
  target.model = "reference";
  return target;
}

Result<RunResult> run_load(std::uint16_t port, RunOptions run, Workload& workload,
                           Runner::Progress progress = {}) {
  boost::asio::io_context io(1);
  Runner runner(io, target_at(port), std::move(run));
  runner.on_progress(std::move(progress));
  return runner.run(workload);
}

// On the cores that the generator leaves.
template <class Server>
Result<std::unique_ptr<Server>> start_apart(const OwnCore& core, ReferenceOptions options) {
  core.give_others();
  auto server = Server::start(std::move(options));
  core.take_own();
  return server;
}

Result<CapacityCheck> check_capacity(const OwnCore& core, const SelfCheckOptions& options,
                                     bool stream) {
  ReferenceOptions server_options;
  server_options.keep_truth = false;
  const auto server = start_apart<ReferenceServer>(core, server_options);
  if (!server) return std::unexpected(server.error());
  RunOptions run;
  run.stream = stream;
  run.concurrency = stream ? options.stream_concurrency : options.sink_concurrency;
  run.stop_sending_after = options.capacity_time;
  Directions workload(options, stream ? two_speeds : short_request);
  const auto result = run_load((*server)->port(), std::move(run), workload);
  if (!result) return std::unexpected(result.error());
  CapacityCheck check;
  check.requests = result->records.size();
  check.failed = check.requests - static_cast<std::size_t>(std::ranges::count_if(
                                      result->records, &RequestRecord::completed));
  const auto count = static_cast<double>(check.requests);
  check.requests_per_s = count / result->generator.wall_seconds;
  check.requests_per_core_s = count / result->generator.cpu_seconds;
  check.cpu_us_per_request = result->generator.cpu_seconds * 1e6 / std::max(count, 1.0);
  return check;
}

double mean(const std::vector<double>& values) {
  if (values.empty()) return 0;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

// Streams at a rate, Poisson.
Result<RunResult> run_open_loop(const SelfCheckOptions& options, std::uint16_t port, double rate,
                                std::size_t requests) {
  ArrivalOptions arrivals;
  arrivals.rate = rate;
  arrivals.seed = options.seed;
  RunOptions run;
  run.schedule = make_arrivals(arrivals, requests);
  run.concurrency = kMostInProcess;
  Directions workload(options, two_speeds);
  return run_load(port, std::move(run), workload);
}

// The times of one request or of many, on one side.
struct Times {
  std::vector<double> ttft, tpot, itl, e2el;

  void add(Duration first, Duration last, Duration end, std::size_t tokens) {
    ttft.push_back(to_ms(first));
    e2el.push_back(to_ms(end));
    if (tokens > 1) tpot.push_back(to_ms(last - first) / static_cast<double>(tokens - 1));
  }
  [[nodiscard]] bool last_is_good() const {
    return ttft.back() <= kGoodTtftMs && tpot.back() <= kGoodTpotMs;
  }
};

MetricCheck compare(std::vector<double>& measured, std::vector<double>& truth) {
  return {mean(measured), mean(truth), p99(measured), p99(truth)};
}

void add_measured(Times& sample, const RequestRecord& record) {
  sample.add(record.first_token - record.sent, record.last_token - record.sent,
             record.ended - record.sent, static_cast<std::size_t>(record.token_events));
  for (const std::uint32_t gap : record.gaps_us) sample.itl.push_back(gap / 1e3);
}

void add_truth(Times& sample, const ServedTruth& served) {
  const std::vector<TimePoint>& tokens = served.tokens;
  sample.add(tokens.front() - served.received, tokens.back() - served.received,
             served.ended - served.received, tokens.size());
  for (std::size_t i = 1; i < tokens.size(); ++i) {
    sample.itl.push_back(to_ms(tokens[i] - tokens[i - 1]));
  }
}

// Of what was due after the warm-up, in which the connections open.
void compare_with_truth(TruthCheck& check, Duration warm_up,
                        const std::vector<RequestRecord>& records,
                        const std::vector<ServedTruth>& truth) {
  std::unordered_map<std::int64_t, const ServedTruth*> served;
  for (const ServedTruth& one : truth) {
    if (one.whole && !one.tokens.empty()) served.emplace(one.id, &one);
  }
  Times measured;
  Times known;
  for (const RequestRecord& record : records) {
    if (record.scheduled < warm_up) continue;
    const auto found = served.find(static_cast<std::int64_t>(record.index));
    if (!record.completed() || found == served.end() ||
        found->second->tokens.size() != static_cast<std::size_t>(record.token_events)) {
      ++check.unmatched;
      continue;
    }
    add_measured(measured, record);
    add_truth(known, *found->second);
    const bool good = measured.last_is_good();
    const bool truly_good = known.last_is_good();
    check.good += good ? 1 : 0;
    check.good_in_truth += truly_good ? 1 : 0;
    check.judged_otherwise += good != truly_good ? 1 : 0;
  }
  check.ttft = compare(measured.ttft, known.ttft);
  check.tpot = compare(measured.tpot, known.tpot);
  check.itl = compare(measured.itl, known.itl);
  check.e2el = compare(measured.e2el, known.e2el);
}

std::size_t requests_in(Duration time, double rate) {
  return static_cast<std::size_t>(std::max(std::ceil(rate * to_seconds(time)), 1.0));
}

Result<TruthCheck> check_truth_once(const OwnCore& core, const SelfCheckOptions& options,
                                    double share, double capacity) {
  TruthCheck check;
  check.share = share;
  check.rate = share * capacity;
  check.requests = requests_in(options.truth_time, check.rate);
  const auto server = start_apart<ReferenceServer>(core, {});
  if (!server) return std::unexpected(server.error());
  auto run = run_open_loop(options, (*server)->port(), check.rate, check.requests);
  if (!run) return std::unexpected(run.error());
  compare_with_truth(check, options.truth_time / 10, run->records, (*server)->stop());
  check.send_lag_p99_ms = send_lag_p99_ms(run->generator);
  return check;
}

// The middle one of several runs: another process on the generator's core spoils one now and then.
Result<TruthCheck> check_truth(const OwnCore& core, const SelfCheckOptions& options, double share,
                               double capacity) {
  std::vector<TruthCheck> runs;
  for (int i = 0; i < options.truth_runs; ++i) {
    const auto run = check_truth_once(core, options, share, capacity);
    if (!run) return std::unexpected(run.error());
    runs.push_back(*run);
  }
  const auto middle = runs.begin() + options.truth_runs / 2;
  std::ranges::nth_element(runs, middle, {}, &TruthCheck::worst);
  return *middle;
}

// The highest rate, of steps down from what the closed loop did, at which a run is sound: a closed
// loop keeps itself busy, an open one needs time to spare for its bursts.
Result<OpenLoopCapacity> find_capacity(const OwnCore& core, const SelfCheckOptions& options,
                                       double closed_loop_rate) {
  ReferenceOptions server_options;
  server_options.keep_truth = false;
  OpenLoopCapacity capacity{.streams_per_s = closed_loop_rate};
  for (int step = 0; step < kMostSteps; ++step) {
    const auto server = start_apart<ReferenceServer>(core, server_options);
    if (!server) return std::unexpected(server.error());
    const auto run = run_open_loop(options, (*server)->port(), capacity.streams_per_s,
                                   requests_in(options.capacity_time, capacity.streams_per_s));
    if (!run) return std::unexpected(run.error());
    capacity.cpu_share = cpu_share(run->generator);
    if (unsound_reasons(run->generator, kMedianTtftMs, false).empty()) break;
    capacity.streams_per_s *= kStepDown;
  }
  return capacity;
}

// Reads counts and the thread's CPU time while all streams are open.
class FullWindow {
 public:
  explicit FullWindow(std::size_t streams) : streams_(streams) {}
  void see(const RunProgress& progress) {
    if (progress.running < streams_) return;
    const Reading now{progress.now, progress.output_tokens, thread_cpu_seconds()};
    if (!first_) first_ = now;
    last_ = now;
  }
  void fill(StreamsCheck& check) const {
    if (!first_ || last_.at == first_->at) return;
    const auto events = static_cast<double>(last_.tokens - first_->tokens);
    const double cpu = last_.cpu_seconds - first_->cpu_seconds;
    check.seconds = to_seconds(last_.at - first_->at);
    check.events_per_s = events / check.seconds;
    check.cpu_us_per_event = events > 0 ? cpu * 1e6 / events : 0;
    check.cpu_share = cpu / check.seconds;
  }

 private:
  struct Reading {
    Duration at;
    std::int64_t tokens;
    double cpu_seconds;
  };
  std::size_t streams_;
  std::optional<Reading> first_;
  Reading last_{};
};

Result<StreamsCheck> run_streams(const SelfCheckOptions& options, std::uint16_t port) {
  StreamsCheck check;
  check.streams = options.streams;
  RunOptions run;
  for (std::size_t i = 0; i < options.streams; ++i) run.schedule.push_back(opened_at(options, i));
  Directions workload(options, long_stream);
  FullWindow window(options.streams);
  const auto result = run_load(port, std::move(run), workload,
                               [&window](const RunProgress& progress) { window.see(progress); });
  if (!result) return std::unexpected(result.error());
  window.fill(check);
  std::vector<double> gaps;
  for (const RequestRecord& record : result->records) {
    check.completed += record.completed() ? 1 : 0;
    for (const std::uint32_t gap : record.gaps_us) gaps.push_back(gap / 1e3);
  }
  check.itl_mean_ms = mean(gaps);
  check.itl_p99_ms = p99(gaps);
  check.loop_lag_max_ms = result->generator.loop_lag_max_ms;
  return check;
}

Result<StreamsCheck> check_streams(const OwnCore& core, const SelfCheckOptions& options) {
  ReferenceOptions server_options;
  server_options.keep_truth = false;
  if (options.child_process) {
    const auto child = start_apart<ReferenceChild>(core, server_options);
    if (!child) return std::unexpected(child.error());
    return run_streams(options, (*child)->port());
  }
  const auto server = start_apart<ReferenceServer>(core, server_options);
  if (!server) return std::unexpected(server.error());
  return run_streams(options, (*server)->port());
}

}  // namespace

double MetricCheck::off() const {
  const auto of_allowed = [](double measured, double truth) {
    return std::abs(measured - truth) / std::max(1.0, 0.01 * truth);
  };
  return std::max(of_allowed(measured_mean_ms, truth_mean_ms),
                  of_allowed(measured_p99_ms, truth_p99_ms));
}

double TruthCheck::worst() const {
  if (judged_otherwise + unmatched > 0) return std::numeric_limits<double>::infinity();
  return std::max({ttft.off(), tpot.off(), itl.off(), e2el.off()});
}

Result<SelfCheckResult> self_check(const SelfCheckOptions& options) {
  const OwnCore core;
  SelfCheckResult result;
  const auto requests = check_capacity(core, options, false);
  if (!requests) return std::unexpected(requests.error());
  result.short_requests = *requests;
  const auto streams = check_capacity(core, options, true);
  if (!streams) return std::unexpected(streams.error());
  result.short_streams = *streams;
  const auto capacity = options.capacity
                            ? Result<OpenLoopCapacity>({.streams_per_s = *options.capacity})
                            : find_capacity(core, options, streams->requests_per_s);
  if (!capacity) return std::unexpected(capacity.error());
  result.capacity = *capacity;
  for (const double share : options.shares) {
    const auto check = check_truth(core, options, share, capacity->streams_per_s);
    if (!check) return std::unexpected(check.error());
    result.truth.push_back(*check);
  }
  if (options.streams > 0) {
    const auto check = check_streams(core, options);
    if (!check) return std::unexpected(check.error());
    result.streams = *check;
  }
  return result;
}

}  // namespace baton::orchestrator::bench
