#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/units.h"
#include "orchestrator/bench/generator/request_record.h"
#include "orchestrator/bench/generator/runner.h"
#include "orchestrator/bench/workload/arrivals.h"

namespace baton::orchestrator::bench {

using Json = nlohmann::ordered_json;

// Bounds that a request has to keep, all of them, to be good. Milliseconds, inclusive.
struct Slo {
  std::optional<double> ttft_ms{};
  std::optional<double> tpot_ms{};
  std::optional<double> e2el_ms{};
  [[nodiscard]] bool empty() const { return !ttft_ms && !tpot_ms && !e2el_ms; }
};
// "ttft:500 tpot:50 e2el:5000" (spaces or commas). Errors: kInvalidArgument.
[[nodiscard]] Result<Slo> parse_slo(std::string_view text);

// The part of a run that counts: requests scheduled in [from, to).
struct Window {
  Duration from{};
  Duration to = Duration::max();
};

struct SummaryOptions {
  Slo slo;
  Window window;
  std::vector<double> percentiles = {50, 90, 95, 99};
  bool detailed = false;  // vLLM's --save-detailed arrays
  // What the run was, for the head of the file: vLLM's keys.
  std::string model;
  std::string tokenizer;  // where prompt lengths come from
  std::string backend = "openai-chat";
  std::string label;
  // Requests per second; of a trace's own times their mean. Infinity: "inf"; a closed loop and a
  // ramp too.
  double request_rate = 0;
  std::optional<Ramp> ramp;
  std::optional<double> burstiness;  // where gaps are drawn
  std::optional<int> max_concurrency;
  Json metadata = Json::object();  // more keys of the user's
  // What the run was, for the `baton` section.
  std::string version;  // of Baton
  std::string command;
  std::uint64_t seed = 0;
  std::string target;    // URL
  std::string workload;  // Workload::describe()
  std::string prompt_source;
};

// One run as vLLM's `bench serve` writes it, key by key, with a `baton` section beside them.
// Definitions: docs/benchmarking.md. A pure function of its arguments.
[[nodiscard]] Json summarize(const RunResult& run, const SummaryOptions& options);

// Repeats of one run: the means over the repeats, each with its 95 % interval (Student's t), in
// `baton.intervals`; everything else is of the repeat whose median TTFT is the middle one.
[[nodiscard]] Json summarize_repeats(const std::vector<Json>& runs);

// One line a request (RFC 4180), with a header: the record but for its text and the single gaps,
// times in ms, empty where something did not happen.
[[nodiscard]] std::string records_csv(const std::vector<RequestRecord>& records);

// A table for a terminal, at most 100 columns, definitions beside the numbers. `color`: with ANSI
// bold, dim and red.
[[nodiscard]] std::string render_table(const Json& summary, bool color = false);

}  // namespace baton::orchestrator::bench
