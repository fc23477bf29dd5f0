#pragma once

#include <CLI/CLI.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/units.h"
#include "orchestrator/bench/generator/reference_server.h"
#include "orchestrator/bench/session.h"

namespace baton::orchestrator {

// The command line of `baton bench`, as it was typed.
struct BenchOptions {
  std::vector<std::string> targets;  // URL, or NAME=URL with --compare
  bool compare = false;
  bool sweep = false;
  bool self_check = false;
  bool quick = false;

  std::string api = "chat";
  std::string model;
  std::vector<std::string> headers;
  bool no_stream = false;
  bool ignore_eos = false;
  bool slo_headers = false;
  std::optional<double> temperature;
  std::string extra_body;
  double timeout_s = 600;

  std::optional<std::string> rate;
  std::string burstiness = "1";
  std::string ramp;
  int concurrency = 0;
  int max_concurrency = 0;
  std::size_t requests = 0;
  double duration_s = 0;
  double warmup_s = 0;
  int repeats = 1;
  std::optional<std::uint64_t> seed;  // none: another one each time

  bench::WorkloadSpec workload;
  std::string workload_kind = "random";
  double think_time_s = 0;
  std::string model_mix;
  int adapters = 0;
  double adapter_zipf = 0;
  std::string priority_mix;

  std::string prompts = "auto";
  std::string vocabulary;
  int token_ids = 0;

  std::string goodput;
  std::optional<double> require_good;
  bench::SweepOptions sweep_options;

  std::vector<double> percentiles = {50, 90, 95, 99};
  bool save_detailed = false;
  std::string label;
  std::vector<std::string> metadata;
  std::string json;
  std::string csv;
  std::string html;
  bool quiet = false;

  bool reference_server = false;
  std::uint16_t reference_port = 0;
  double reference_ttft_ms = 0;
  double reference_itl_ms = 0;
  bench::ReferenceFault reference_fault = bench::ReferenceFault::kNone;
  int reference_fault_every = 1;
};

void add_bench_options(CLI::App& command, BenchOptions& options);
// Of these, what `baton simulate` takes too.
void add_load_flags(CLI::App& command, BenchOptions& options);
void add_workload_flags(CLI::App& command, BenchOptions& options);

// What they mean. Errors: kInvalidArgument, naming the option.
[[nodiscard]] Result<bench::SessionOptions> session_options_of(const BenchOptions& options);
[[nodiscard]] Result<bench::LoadOptions> load_of(const BenchOptions& options, std::uint64_t seed);
[[nodiscard]] Result<bench::WorkloadSpec> workload_of(const BenchOptions& options);

[[nodiscard]] inline Duration from_ms(double ms) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::milli>(ms));
}

}  // namespace baton::orchestrator
