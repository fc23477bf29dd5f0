#include <map>
#include <string>

#include "orchestrator/commands/bench_options.h"

namespace baton::orchestrator {
namespace {

void add_target_flags(CLI::App& command, BenchOptions& options) {
  command
      .add_option("target", options.targets,
                  "http://HOST:PORT of the endpoint; with --compare NAME=URL[,model=MODEL] of "
                  "each")
      ->type_name("URL");
  const char* group = "The endpoint";
  command.add_option("--api", options.api, "chat or completions")
      ->check(CLI::IsMember({"chat", "completions"}))
      ->capture_default_str()
      ->group(group);
  command.add_option("--model", options.model, "Default: the first one that it lists")
      ->group(group);
  command.add_option("--header", options.headers, "NAME: VALUE of each request; repeatable")
      ->allow_extra_args(false)
      ->group(group);
  command.add_flag("--no-stream", options.no_stream, "Ask for answers in one piece")->group(group);
  command.add_flag("--ignore-eos", options.ignore_eos, "Ask for all of max_tokens")->group(group);
  command.add_option("--temperature", options.temperature, "Default: the endpoint's")->group(group);
  command.add_option("--extra-body", options.extra_body, "Members for each request's body")
      ->type_name("JSON")
      ->group(group);
  command
      .add_option("--timeout", options.timeout_s,
                  "Seconds without a word from the server after which a request is given up")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group(group);
}

}  // namespace

void add_load_flags(CLI::App& command, BenchOptions& options) {
  const char* group = "The load";
  command
      .add_option("--rate", options.rate,
                  "Open loop: requests per second, whatever the answers do; inf: all at once")
      ->group(group);
  command
      .add_option("--burstiness", options.burstiness,
                  "Shape of the gaps between requests: 1 Poisson, below 1 bursty, inf constant")
      ->capture_default_str()
      ->group(group);
  command.add_option("--ramp", options.ramp, "Open loop with a growing rate")
      ->type_name("FROM:TO[:exponential]")
      ->group(group);
  command
      .add_option("--concurrency", options.concurrency,
                  "Closed loop: so many requests at a time, the next one after an answer")
      ->check(CLI::Range(1, 1000000))
      ->group(group);
  command
      .add_option("--max-concurrency", options.max_concurrency,
                  "Open loop: at most so many at a time; what waits is late, and counted so")
      ->check(CLI::Range(1, 1000000))
      ->group(group);
  command.add_option("--requests", options.requests, "How many; default: the workload's, or 100")
      ->check(CLI::Range(1, 100000000))
      ->group(group);
  command.add_option("--duration", options.duration_s, "Seconds of sending, after the warm-up")
      ->check(CLI::PositiveNumber)
      ->group(group);
  command
      .add_option("--warmup", options.warmup_s,
                  "Seconds of sending first whose requests do not count")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--repeats", options.repeats,
                  "Runs, for confidence intervals; rounds of a comparison")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--seed", options.seed,
                  "The same seed offers the same requests, which a prefix cache may know; "
                  "default: another one each time")
      ->envname("BATON_SEED")
      ->group(group);
}

void add_workload_flags(CLI::App& command, BenchOptions& options) {
  const char* group = "The workload";
  bench::WorkloadSpec& spec = options.workload;
  command
      .add_option("--workload", options.workload_kind,
                  "random, shared-prefix, sessions, mooncake, azure, sharegpt or custom")
      ->capture_default_str()
      ->group(group);
  command.add_option("--file", spec.file, "Trace, ShareGPT or custom file")->group(group);
  command.add_option("--time-scale", spec.time_scale, "2: a trace plays in half its time")
      ->capture_default_str()
      ->group(group);
  const auto count = [&](const char* name, int& value, const char* help) {
    command.add_option(name, value, help)
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str()
        ->group(group);
  };
  count("--input-tokens", spec.input_tokens, "random: tokens of prompt");
  count("--output-tokens", spec.output_tokens, "Tokens of answer asked for");
  command
      .add_option("--range-ratio", spec.range_ratio,
                  "random, sessions: lengths vary by so much, evenly (0.5: half to one and a "
                  "half)")
      ->capture_default_str()
      ->group(group);
  count("--groups", spec.groups, "shared-prefix: prefixes");
  count("--prompts-per-group", spec.prompts_per_group, "shared-prefix: prompts with each");
  count("--prefix-tokens", spec.prefix_tokens, "shared-prefix: tokens that a group shares");
  count("--question-tokens", spec.question_tokens, "shared-prefix: tokens of one's own");
  command.add_option("--zipf", spec.zipf, "shared-prefix: above 0, some groups are more popular")
      ->capture_default_str()
      ->group(group);
  count("--sessions", spec.sessions, "sessions: conversations");
  count("--turns", spec.turns, "sessions: questions in each");
  count("--first-tokens", spec.first_tokens, "sessions: tokens of the first question");
  count("--turn-tokens", spec.turn_tokens, "sessions: tokens of each later one");
  command
      .add_option("--think-time", options.think_time_s,
                  "sessions: seconds from an answer to the next question")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group(group);
  count("--max-input-tokens", spec.max_input_tokens, "Files: longer prompts are cut; 0: none");
  count("--max-output-tokens", spec.max_output_tokens, "Files: longer answers are cut; 0: none");
  command
      .add_option("--model-mix", options.model_mix,
                  "Models or LoRA adapters and their weights, as base=3,sql=1")
      ->group(group);
  command
      .add_option("--adapters", options.adapters,
                  "So many LoRA adapters, named adapter-0 and so on, instead of a --model-mix")
      ->check(CLI::Range(0, 100000))
      ->group(group);
  command
      .add_option("--adapter-zipf", options.adapter_zipf,
                  "Above 0, some of them are more popular: as 1 / rank^zipf")
      ->check(CLI::Range(0.0, 20.0))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--priority-mix", options.priority_mix,
                  "Priorities and their weights, as 0=0.9,5=0.1")
      ->group(group);
  command
      .add_option("--cancel-share", spec.leave_share,
                  "Share of requests that are cancelled after some of their tokens")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str()
      ->group(group);
}

namespace {

void add_prompt_flags(CLI::App& command, BenchOptions& options) {
  const char* group = "How prompts get their length";
  CLI::Option* prompts =
      command
          .add_option("--prompts", options.prompts,
                      "server: by its /tokenize; characters: calibrated by a few requests; auto: "
                      "the first that works")
          ->check(CLI::IsMember({"auto", "server", "characters"}))
          ->capture_default_str()
          ->group(group);
  CLI::Option* vocabulary =
      command.add_option("--vocabulary", options.vocabulary, "By the vocabulary of this GGUF file")
          ->type_name("FILE")
          ->group(group);
  vocabulary->excludes(prompts);
  command
      .add_option("--token-ids", options.token_ids,
                  "Send ids below this instead of text (completions)")
      ->check(CLI::Range(2, 1 << 24))
      ->excludes(prompts)
      ->excludes(vocabulary)
      ->group(group);
}

void add_goodput_flags(CLI::App& command, BenchOptions& options) {
  const char* group = "Goodput, sweeps and comparisons";
  command
      .add_option("--goodput", options.goodput,
                  "Bounds in ms that a good request keeps, as ttft:500,tpot:50,e2el:5000")
      ->group(group);
  command
      .add_flag("--slo-headers", options.slo_headers,
                "Send them along as x-slo-ttft-ms and x-slo-tpot-ms")
      ->group(group);
  command
      .add_option("--require-good", options.require_good,
                  "Exit with 3 where a smaller share of the requests was good")
      ->check(CLI::Range(0.0, 1.0))
      ->group(group);
  command
      .add_flag("--sweep", options.sweep,
                "Raise the rate until --goodput breaks; find the highest goodput")
      ->group(group);
  bench::SweepOptions& sweep = options.sweep_options;
  command.add_option("--sweep-from", sweep.from_rate, "Its first rate, in requests per second")
      ->check(CLI::PositiveNumber)
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--sweep-good-share", sweep.good_share,
                  "Share of good requests below which it breaks")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--sweep-tolerance", sweep.tolerance, "How near the answer must be (0.05: 5 %)")
      ->check(CLI::Range(0.001, 1.0))
      ->capture_default_str()
      ->group(group);
  command.add_option("--sweep-points", sweep.max_points, "Runs at most")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str()
      ->group(group);
  command
      .add_flag("--compare", options.compare,
                "Measure several endpoints in turn on the same workload, as ratios")
      ->group(group);
}

void add_result_flags(CLI::App& command, BenchOptions& options) {
  const char* group = "Results";
  command.add_option("--json", options.json, "Result file, with the keys of vLLM's; -: stdout")
      ->type_name("FILE")
      ->group(group);
  command.add_option("--csv", options.csv, "One line a request; -: stdout")
      ->type_name("FILE")
      ->group(group);
  command.add_option("--html", options.html, "Report, one page that needs nothing else")
      ->type_name("FILE")
      ->group(group);
  command
      .add_flag("--save-detailed", options.save_detailed,
                "With every request's lengths, times and text in --json")
      ->group(group);
  command.add_option("--percentiles", options.percentiles, "Which to give")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->check(CLI::Range(0.0, 100.0))
      ->capture_default_str()
      ->group(group);
  command.add_option("--label", options.label, "Name of the run, in its file")->group(group);
  command.add_option("--metadata", options.metadata, "KEY=VALUE for its file; repeatable")
      ->allow_extra_args(false)
      ->group(group);
  command.add_flag("--quiet", options.quiet, "No progress")->group(group);
  command
      .add_flag("--self-check", options.self_check,
                "Measure the load generator itself, against servers of known timing")
      ->group(group);
  command.add_flag("--quick", options.quick, "A short --self-check")->group(group);
}

std::map<std::string, bench::ReferenceFault> reference_faults() {
  using Fault = bench::ReferenceFault;
  return {{"status", Fault::kStatus},
          {"html", Fault::kHtml},
          {"other-json", Fault::kOtherJson},
          {"empty", Fault::kEmptyStream},
          {"no-done", Fault::kNoDone},
          {"usage-twice", Fault::kUsageTwice},
          {"error-event", Fault::kErrorEvent},
          {"cut", Fault::kCut},
          {"reset", Fault::kReset},
          {"hang", Fault::kHang},
          {"stall", Fault::kStall}};
}

// For the tests and comparisons in perf/.
void add_reference_flags(CLI::App& command, BenchOptions& options) {
  const char* hidden = "";
  command.add_flag("--reference-server", options.reference_server)->group(hidden);
  command.add_option("--port", options.reference_port)->group(hidden);
  command.add_option("--ttft-ms", options.reference_ttft_ms)->group(hidden);
  command.add_option("--itl-ms", options.reference_itl_ms)->group(hidden);
  command.add_option("--fault", options.reference_fault)
      ->transform(CLI::CheckedTransformer(reference_faults()))
      ->group(hidden);
  command.add_option("--fault-every", options.reference_fault_every)->group(hidden);
}

}  // namespace

void add_bench_options(CLI::App& command, BenchOptions& options) {
  add_target_flags(command, options);
  add_load_flags(command, options);
  add_workload_flags(command, options);
  add_prompt_flags(command, options);
  add_goodput_flags(command, options);
  add_result_flags(command, options);
  add_reference_flags(command, options);
}

}  // namespace baton::orchestrator
