#include "orchestrator/commands/bench_self_check.h"

#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "orchestrator/bench/generator/self_check.h"
#include "orchestrator/commands/commands.h"

namespace baton::orchestrator {
namespace {

using Json = nlohmann::ordered_json;

int decimals(double value) { return value >= 1000 ? 0 : value >= 10 ? 1 : 3; }

// Figures as perf/common.py writes them.
class Figures {
 public:
  explicit Figures(std::FILE* out) : out_(out) {}
  void add(const std::string& what, double value, const char* unit,
           std::optional<double> target = std::nullopt, bool at_most = true) {
    Json figure = {{"what", what},
                   {"value", value},
                   {"unit", unit},
                   {"target", nullptr},
                   {"at_most", at_most},
                   {"met", nullptr},
                   {"peers", Json::object()},
                   {"detail", nullptr}};
    std::string line = fmt::format("{:<70}{:>8.{}f} {:<4}", what, value, decimals(value), unit);
    if (target) {
      const bool met = at_most ? value <= *target : value >= *target;
      missed_ = missed_ || !met;
      figure["target"] = *target;
      figure["met"] = met;
      line += fmt::format("  target {} {:g}  {}", at_most ? "<=" : ">=", *target,
                          met ? "met" : "MISSED");
    }
    std::fprintf(out_, "%s\n", line.c_str());
    figures_.push_back(std::move(figure));
  }
  [[nodiscard]] bool missed() const { return missed_; }
  [[nodiscard]] Json json() const { return {{"figures", figures_}}; }

 private:
  std::FILE* out_;
  Json figures_ = Json::array();
  bool missed_ = false;
};

void add_truth(Figures& figures, const bench::TruthCheck& truth) {
  const std::string at =
      fmt::format("{:g} % of capacity ({:.0f}/s)", truth.share * 100, truth.rate);
  const auto metric = [&](const char* name, const bench::MetricCheck& check) {
    figures.add(fmt::format("{} {}: off by, of 1 % or 1 ms", at, name), check.off(), "x", 1.0);
  };
  metric("TTFT", truth.ttft);
  metric("TPOT", truth.tpot);
  metric("ITL", truth.itl);
  metric("E2EL", truth.e2el);
  figures.add(at + " requests whose goodput differs from the truth",
              static_cast<double>(truth.judged_otherwise + truth.unmatched), "", 0.0);
  figures.add(at + " p99 of sent minus scheduled", truth.send_lag_p99_ms, "ms");
}

}  // namespace

int run_self_check(const std::string& json, bool quick) {
  bench::SelfCheckOptions options;
  if (quick) {
    options.capacity_time = std::chrono::seconds(1);
    options.truth_time = std::chrono::seconds(2);
    options.truth_runs = 1;
    options.streams = 1000;
    options.ramp_time = std::chrono::seconds(1);
    options.hold_time = std::chrono::seconds(2);
  }
  std::fputs("The load generator against servers of known timing, from one core.\n", stderr);
  const auto result = bench::self_check(options);
  if (!result) {
    return complain("bench", result.error().message, kFailed);
  }
  Figures figures(json == "-" ? stderr : stdout);
  const bench::CapacityCheck& requests = result->short_requests;
  figures.add("short requests a second of the generator's core", requests.requests_per_core_s, "/s",
              8000, false);
  figures.add("CPU of a short request", requests.cpu_us_per_request, "us");
  figures.add("short requests a second by the clock", requests.requests_per_s, "/s");
  figures.add("short streams a second, closed loop", result->short_streams.requests_per_s, "/s");
  figures.add("short streams a second of the core", result->short_streams.requests_per_core_s,
              "/s");
  figures.add("capacity: short streams a second of an open loop that is sound",
              result->capacity.streams_per_s, "/s");
  figures.add("  of the generator's core, at capacity", 100 * result->capacity.cpu_share, "%");
  for (const bench::TruthCheck& truth : result->truth) add_truth(figures, truth);
  if (result->streams) {
    const bench::StreamsCheck& streams = *result->streams;
    figures.add("streams open at once", static_cast<double>(streams.streams), "",
                quick ? std::nullopt : std::optional(10000.0), false);
    figures.add("  of them, completed", static_cast<double>(streams.completed), "",
                static_cast<double>(streams.streams), false);
    figures.add("  token events a second", streams.events_per_s, "/s",
                0.98 * options.tokens_per_s * static_cast<double>(streams.streams), false);
    figures.add("  CPU of a token event", streams.cpu_us_per_event, "us", 10.0);
    figures.add("  mean gap of 100 ms, as measured", streams.itl_mean_ms, "ms");
  }
  if (!json.empty()) {
    const std::string text = figures.json().dump(1) + "\n";
    if (json == "-") {
      std::fputs(text.c_str(), stdout);
    } else if (std::ofstream file(json); !(file << text)) {
      return complain("bench", json + ": cannot be written", kFailed);
    }
  }
  return figures.missed() ? 3 : 0;
}

}  // namespace baton::orchestrator
