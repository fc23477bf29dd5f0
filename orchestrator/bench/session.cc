#include "orchestrator/bench/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "orchestrator/bad_input.h"

namespace baton::orchestrator::bench {
namespace {

double mean_rate(const LoadOptions& load) {
  if (!load.ramp) return load.rate.value_or(0);
  const auto& [from, to, exponential] = *load.ramp;
  return exponential && from != to ? (to - from) / std::log(to / from) : (from + to) / 2;
}

// Requests of a rate's run, the warm-up's included.
std::size_t requests_at_rate(const LoadOptions& load, std::optional<std::size_t> available) {
  const double rate = mean_rate(load);
  const auto within = [rate](Duration time) {
    return std::isfinite(rate) ? static_cast<std::size_t>(std::llround(rate * to_seconds(time)))
                               : std::size_t{0};
  };
  std::size_t measured = load.requests;
  if (load.duration && std::isfinite(rate)) {
    const std::size_t in_time = std::max<std::size_t>(1, within(*load.duration));
    measured = measured == 0 ? in_time : std::min(measured, in_time);
  }
  if (measured == 0) measured = available.value_or(LoadOptions::kFewRequests);
  const std::size_t all = measured + within(load.warmup);
  return available ? std::min(all, *available) : all;
}

RunPlan plan_of_times(const LoadOptions& load, Workload& workload) {
  RunPlan plan;
  plan.requests = workload.size().value_or(LoadOptions::kFewRequests);
  if (load.requests > 0) plan.requests = std::min(plan.requests, load.requests);
  for (std::size_t i = 0; i < plan.requests; ++i) {
    const Duration at = workload.time_of(i);
    if (load.duration && at >= load.warmup + *load.duration) {
      plan.requests = i;
      break;
    }
    plan.schedule.push_back(at);
  }
  return plan;
}

RunPlan plan_of_closed_loop(const LoadOptions& load, const Workload& workload) {
  RunPlan plan;
  const auto available = workload.size();
  plan.requests = load.requests;
  if (load.duration) plan.stop_sending_after = load.warmup + *load.duration;
  if (plan.requests == 0 && load.duration) plan.requests = std::numeric_limits<std::size_t>::max();
  if (plan.requests == 0) plan.requests = available.value_or(LoadOptions::kFewRequests);
  if (available) plan.requests = std::min(plan.requests, *available);
  return plan;
}

// Whatever a summary holds of the way its prompts were built.
void add_prompt_facts(Json& summary, const PromptBuilder& prompts) {
  Json& baton = summary["baton"];
  baton["prompt_source"] = prompts.source();
  baton["prompt_overhead_tokens"] = prompts.overhead();
  if (prompts.error().sampled > 0) {
    baton["prompt_sample_error"] = {{"sampled", prompts.error().sampled},
                                    {"max_tokens_off", prompts.error().max_tokens_off}};
  }
}

}  // namespace

Result<RunPlan> plan_run(const LoadOptions& load, Workload& workload) {
  RunPlan plan;
  if (load.rate || load.ramp) {
    plan.requests = requests_at_rate(load, workload.size());
    plan.schedule = make_arrivals({.rate = load.rate.value_or(1),
                                   .burstiness = load.burstiness,
                                   .ramp = load.ramp,
                                   .seed = load.seed},
                                  plan.requests);
  } else if (load.concurrency > 0) {
    plan = plan_of_closed_loop(load, workload);
  } else if (workload.has_times()) {
    plan = plan_of_times(load, workload);
  } else {
    return bad(
        "how are requests offered? Give --rate R (requests per second, an open loop) or "
        "--concurrency N (so many at a time, a closed loop); traces have times of their own");
  }
  if (plan.requests == 0) return bad("there is not one request to send");
  plan.window.from = load.warmup;
  if (!plan.schedule.empty() && plan.schedule.back() < load.warmup) {
    return bad(
        fmt::format("the warm-up of {:g} s is longer than the run, whose last request is due "
                    "after {:.3g} s",
                    to_seconds(load.warmup), to_seconds(plan.schedule.back())));
  }
  return plan;
}

Session::Session(SessionOptions options, Watcher watcher)
    : options_(std::move(options)), watcher_(std::move(watcher)) {}

void Session::stop() {
  stopped_ = true;
  const std::scoped_lock lock(mutex_);
  if (runner_ != nullptr) runner_->stop();
}

Result<Json> Session::run() {
  const auto ready = prepare_all();
  if (!ready) return std::unexpected(ready.error());
  switch (options_.kind) {
    case SessionKind::kSweep: return run_sweep(ready->front());
    case SessionKind::kCompare: return run_comparison(*ready);
    case SessionKind::kRun: break;
  }
  return run_repeats(ready->front());
}

Result<std::vector<Session::Ready>> Session::prepare_all() {
  std::vector<Ready> all;
  for (SessionTarget& target : options_.targets) {
    auto prompts = prepare(io_, target.target, options_.prompts);
    if (!prompts) return std::unexpected(prompts.error());
    // The sides of a comparison are sent the same prompts: those of the first one.
    all.push_back({target, all.empty() ? std::move(*prompts) : all.front().prompts});
  }
  return all;
}

Result<Session::Done> Session::run_once(const Ready& ready, const LoadOptions& load,
                                        const std::string& what) {
  WorkloadSpec spec = options_.workload;
  spec.seed = load.seed;
  const auto workload = make_workload(spec, ready.prompts);
  if (!workload) return std::unexpected(workload.error());
  auto plan = plan_run(load, **workload);
  if (!plan) return std::unexpected(plan.error());

  RunOptions run = options_.run;
  run.requests = plan->requests;
  run.schedule = plan->schedule;
  run.stop_sending_after = plan->stop_sending_after;
  run.concurrency = run.schedule.empty() ? load.concurrency : load.max_concurrency;
  run.keep_text = run.keep_text || options_.summary.detailed;

  Runner runner(io_, ready.target.target, run);
  runner.on_progress(watcher_.progress);
  {
    const std::scoped_lock lock(mutex_);
    runner_ = &runner;
    if (stopped_) runner.stop();
  }
  watcher_.begins(what, *plan);
  auto result = runner.run(**workload);
  watcher_.ends();
  {
    const std::scoped_lock lock(mutex_);
    runner_ = nullptr;
  }
  if (!result) return std::unexpected(result.error());

  SummaryOptions summary = options_.summary;
  summary.window = plan->window;
  summary.model = ready.target.target.model;
  summary.target = ready.target.url;
  summary.workload = (*workload)->describe();
  summary.prompt_source = summary.tokenizer = ready.prompts.source();
  summary.seed = load.seed;
  summary.ramp = load.ramp;
  summary.request_rate = load.rate.value_or(std::numeric_limits<double>::infinity());
  if (!run.schedule.empty() && !load.rate) {
    const double span = to_seconds(run.schedule.back());
    if (span > 0) summary.request_rate = static_cast<double>(run.schedule.size() - 1) / span;
  }
  if (load.rate) summary.burstiness = load.burstiness;
  if (run.concurrency > 0) summary.max_concurrency = run.concurrency;
  Json summarized = summarize(*result, summary);
  Done done{std::move(*result), std::move(summarized), plan->window};
  add_prompt_facts(done.summary, ready.prompts);
  for (RequestRecord record : done.result.records) {
    record.run = what;
    records_.push_back(std::move(record));
  }
  if (const auto goodput = done.summary.at("baton").find("goodput");
      goodput != done.summary.at("baton").end() && goodput->is_object()) {
    offered_ += goodput->at("offered").get<double>();
    good_ += goodput->at("good").get<double>();
  }
  return done;
}

Result<Json> Session::run_repeats(const Ready& ready) {
  std::vector<Json> summaries;
  LoadOptions load = options_.load;
  for (int i = 0; i < load.repeats && !stopped_; ++i) {
    load.seed = options_.load.seed + static_cast<std::uint64_t>(i);
    const std::string what =
        load.repeats > 1 ? fmt::format("run {} of {}", i + 1, load.repeats) : std::string();
    auto done = run_once(ready, load, what);
    if (!done) return std::unexpected(done.error());
    // A repeat that was cut off is no equal of the whole ones; alone it is all there is.
    if (done->result.stopped_early && !summaries.empty()) break;
    summaries.push_back(std::move(done->summary));
  }
  Json summary = summarize_repeats(summaries);
  if (stopped_) summary["baton"]["partial"] = true;
  return summary;
}

Result<Json> Session::run_sweep(const Ready& ready) {
  GoodputSearch search(options_.sweep);
  std::vector<Json> runs;
  LoadOptions load = options_.load;
  for (std::uint64_t i = 0; !stopped_; ++i) {
    const auto rate = search.next_rate();
    if (!rate) break;
    load.rate = rate;
    load.seed = options_.load.seed + i;
    auto done = run_once(ready, load, fmt::format("{:.4g} requests per second", *rate));
    if (!done) return std::unexpected(done.error());
    if (!stopped_) search.observe(*rate, done->summary);
    runs.push_back(std::move(done->summary));
  }
  Json sweep = sweep_json(search, std::move(runs), options_.summary.slo, options_.summary.version);
  sweep["partial"] = stopped_.load();
  return sweep;
}

Result<Json> Session::run_comparison(const std::vector<Ready>& ready) {
  std::vector<ComparedSide> sides;
  for (const Ready& side : ready) sides.push_back({side.target.name, side.target.url, {}});
  LoadOptions load = options_.load;
  for (int round = 0; round < load.repeats && !stopped_; ++round) {
    load.seed = options_.load.seed + static_cast<std::uint64_t>(round);
    // The order turns round by round, so that nobody is always first.
    std::vector<std::optional<ComparedRun>> runs(ready.size());
    for (std::size_t i = 0; i < ready.size() && !stopped_; ++i) {
      const std::size_t side = (i + static_cast<std::size_t>(round)) % ready.size();
      auto done = run_once(
          ready[side], load,
          fmt::format("round {} of {}, {}", round + 1, load.repeats, ready[side].target.name));
      if (!done) return std::unexpected(done.error());
      if (done->result.stopped_early) break;
      auto times = request_times(done->result.records, done->window);
      runs[side] = ComparedRun{std::move(done->summary), std::move(times)};
    }
    // A round that is not whole has nothing to be paired with.
    if (!std::ranges::all_of(runs, [](const auto& run) { return run.has_value(); })) break;
    for (std::size_t side = 0; side < sides.size(); ++side) {
      sides[side].runs.push_back(std::move(*runs[side]));
    }
  }
  if (sides.front().runs.empty()) {
    return fail(ErrorCode::kCancelled, Stage::kConfig, "stopped before one round was whole");
  }
  Json result = compare(sides, {.seed = options_.load.seed, .version = options_.summary.version});
  result["partial"] = stopped_.load();
  return result;
}

}  // namespace baton::orchestrator::bench
