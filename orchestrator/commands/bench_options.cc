#include "orchestrator/commands/bench_options.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>
#include <memory>
#include <nlohmann/json.hpp>
#include <random>
#include <utility>

#include "adapters/engines/llama_cpp/gguf_tokenizer.h"
#include "orchestrator/bad_input.h"
#include "orchestrator/bench/workload/workloads.h"
#include "orchestrator/build_info.h"
#include "orchestrator/config/config.h"

namespace baton::orchestrator {
namespace {

// A number above 0, or "inf".
std::optional<double> parse_positive(std::string_view text) {
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !(value > 0)) return std::nullopt;
  return value;
}

Duration seconds(double value) { return std::chrono::duration_cast<Duration>(Seconds(value)); }

// "10:100" or "10:100:exponential".
Result<bench::Ramp> parse_ramp(std::string_view text) {
  std::vector<std::string_view> parts;
  for (std::string_view rest = text;;) {
    const std::size_t colon = rest.find(':');
    parts.push_back(rest.substr(0, colon));
    if (colon == std::string_view::npos) break;
    rest.remove_prefix(colon + 1);
  }
  const auto from = parse_positive(parts[0]);
  const auto to = parts.size() > 1 ? parse_positive(parts[1]) : std::nullopt;
  const std::string_view shape = parts.size() > 2 ? parts[2] : "linear";
  if (!from || !to || parts.size() > 3 || std::isinf(*from) || std::isinf(*to) ||
      (shape != "linear" && shape != "exponential")) {
    return bad(
        fmt::format("--ramp \"{}\": expected FROM:TO or FROM:TO:exponential, in requests "
                    "per second",
                    text));
  }
  return bench::Ramp{.from_rate = *from, .to_rate = *to, .exponential = shape == "exponential"};
}

// "http://HOST:PORT[/base]"; a base path other than /v1 is kept.
Result<bench::Target> parse_target(std::string_view url) {
  constexpr std::string_view kScheme = "http://";
  const auto wrong = [url] {
    return bad(
        fmt::format("\"{}\" is no target: expected http://HOST:PORT, with a path where the "
                    "API is not at /v1 (TLS: put a proxy in front)",
                    url));
  };
  if (!url.starts_with(kScheme)) return wrong();
  std::string_view rest = url.substr(kScheme.size());
  const std::size_t slash = rest.find('/');
  std::string authority(rest.substr(0, slash));
  if (authority.empty()) return wrong();
  if (authority.find(':') == std::string::npos || authority.ends_with(']')) authority += ":80";
  const auto endpoint = parse_endpoint(authority);
  if (!endpoint || endpoint->port == 0) return wrong();
  bench::Target target;
  target.host = endpoint->host;
  target.port = endpoint->port;
  if (slash != std::string_view::npos && rest.size() > slash + 1) {
    target.base_path = rest.substr(slash);
    if (target.base_path.ends_with('/')) target.base_path.pop_back();
  }
  return target;
}

Result<adapters::http::Fields> parse_headers(const BenchOptions& options, const bench::Slo& slo) {
  adapters::http::Fields fields;
  for (const std::string& header : options.headers) {
    const std::size_t colon = header.find(':');
    if (colon == std::string::npos || colon == 0 ||
        header.find_first_of("\r\n") != std::string::npos) {
      return bad(fmt::format("--header \"{}\": expected NAME: VALUE", header));
    }
    const std::size_t value = header.find_first_not_of(' ', colon + 1);
    fields.emplace_back(header.substr(0, colon),
                        value == std::string::npos ? std::string() : header.substr(value));
  }
  if (!options.slo_headers) return fields;
  if (!slo.ttft_ms && !slo.tpot_ms) {
    return bad("--slo-headers sends the bounds of --goodput, which has none of ttft or tpot");
  }
  if (slo.ttft_ms) fields.emplace_back("x-slo-ttft-ms", fmt::format("{:g}", *slo.ttft_ms));
  if (slo.tpot_ms) fields.emplace_back("x-slo-tpot-ms", fmt::format("{:g}", *slo.tpot_ms));
  return fields;
}

Result<std::vector<bench::SessionTarget>> parse_targets(const BenchOptions& options,
                                                        const bench::Slo& slo) {
  const auto fields = parse_headers(options, slo);
  if (!fields) return std::unexpected(fields.error());
  std::vector<bench::SessionTarget> targets;
  for (const std::string& text : options.targets) {
    const std::size_t equals = text.starts_with("http") ? std::string::npos : text.find('=');
    const bool named = equals != std::string::npos && equals > 0;
    bench::SessionTarget target;
    target.name = named ? text.substr(0, equals) : std::string(1, char('A' + int(targets.size())));
    target.url = named ? text.substr(equals + 1) : text;
    std::string url = target.url;
    std::string model = options.model;
    if (const std::size_t at = url.find(",model="); at != std::string::npos) {
      model = url.substr(at + 7);
      url.resize(at);
    }
    auto parsed = parse_target(url);
    if (!parsed) return std::unexpected(parsed.error());
    target.target = std::move(*parsed);
    target.target.model = std::move(model);
    target.target.chat = options.api == "chat";
    target.target.fields = *fields;
    targets.push_back(std::move(target));
  }
  if (targets.empty())
    return bad("which endpoint? Give its URL, as in baton bench http://HOST:PORT");
  if (!options.compare && targets.size() > 1) {
    return bad("several endpoints are measured against each other with --compare");
  }
  if (options.compare && targets.size() < 2) {
    return bad("--compare needs two endpoints or more, as NAME=URL");
  }
  return targets;
}

}  // namespace

Result<bench::LoadOptions> load_of(const BenchOptions& options, std::uint64_t seed) {
  bench::LoadOptions load;
  if (options.rate) {
    load.rate = parse_positive(*options.rate);
    if (!load.rate) {
      return bad(fmt::format("--rate \"{}\": expected requests per second above 0, or inf",
                             *options.rate));
    }
  }
  const auto burstiness = parse_positive(options.burstiness);
  if (!burstiness) return bad("--burstiness: expected a number above 0, or inf");
  load.burstiness = *burstiness;
  if (!options.ramp.empty()) {
    const auto ramp = parse_ramp(options.ramp);
    if (!ramp) return std::unexpected(ramp.error());
    load.ramp = *ramp;
  }
  if (int(load.rate.has_value()) + int(load.ramp.has_value()) + int(options.concurrency > 0) > 1) {
    return bad(
        "--rate, --ramp and --concurrency are three ways to offer requests; give one "
        "(an open loop's requests in flight are bounded by --max-concurrency)");
  }
  if (load.rate && std::isinf(*load.rate) && options.duration_s > 0) {
    return bad("--rate inf sends all at once: it takes --requests, not --duration");
  }
  if (options.concurrency > 0 && options.max_concurrency > 0) {
    return bad("--max-concurrency bounds an open loop; --concurrency is a closed one");
  }
  if (options.concurrency > 0 && options.warmup_s > 0 && options.duration_s <= 0) {
    return bad("--warmup of a closed loop needs --duration: how long to send after it");
  }
  if (options.sweep && options.duration_s <= 0) {
    return bad("--sweep needs --duration, the seconds of sending at each rate");
  }
  if (options.sweep && options.repeats > 1) {
    return bad("--sweep repeats what is uncertain itself; it takes no --repeats");
  }
  if (options.sweep && (options.concurrency > 0 || load.rate || load.ramp)) {
    return bad("--sweep chooses the rates itself; it begins at --sweep-from");
  }
  load.concurrency = options.concurrency;
  load.max_concurrency = options.max_concurrency;
  load.requests = options.requests;
  if (options.duration_s > 0) load.duration = seconds(options.duration_s);
  load.warmup = seconds(options.warmup_s);
  load.repeats = options.repeats;
  load.seed = seed;
  return load;
}

Result<bench::WorkloadSpec> workload_of(const BenchOptions& options) {
  bench::WorkloadSpec spec = options.workload;
  const auto kind = bench::parse_workload_kind(options.workload_kind);
  if (!kind) return std::unexpected(kind.error());
  spec.kind = *kind;
  spec.think_time = seconds(options.think_time_s);
  if (!options.model_mix.empty()) {
    auto mix = bench::parse_model_mix(options.model_mix);
    if (!mix) return std::unexpected(mix.error());
    spec.models = std::move(*mix);
  }
  if (options.adapters > 0) {
    if (!spec.models.empty()) return bad("--adapters and --model-mix both choose models; give one");
    spec.models = bench::adapter_mix(options.adapters, options.adapter_zipf);
  }
  if (!options.priority_mix.empty()) {
    auto mix = bench::parse_priority_mix(options.priority_mix);
    if (!mix) return std::unexpected(mix.error());
    spec.priorities = std::move(*mix);
  }
  return spec;
}

namespace {

Result<bench::PromptOptions> prompts_of(const BenchOptions& options, std::uint64_t seed) {
  bench::PromptOptions prompts;
  prompts.seed = seed;
  prompts.vocabulary_file = options.vocabulary;
  if (!options.vocabulary.empty()) {
    auto tokenizer = adapters::GgufTokenizer::load(options.vocabulary);
    if (!tokenizer) return std::unexpected(tokenizer.error());
    prompts.vocabulary = std::move(*tokenizer);
    prompts.source = bench::PromptSource::kVocabulary;
  } else if (options.token_ids > 0) {
    if (options.api != "completions") return bad("--token-ids needs --api completions");
    prompts.token_ids = options.token_ids;
    prompts.source = bench::PromptSource::kTokenIds;
  } else if (options.prompts == "server") {
    prompts.source = bench::PromptSource::kServer;
  } else if (options.prompts == "characters") {
    prompts.source = bench::PromptSource::kCharacters;
  }
  return prompts;
}

Result<bench::SummaryOptions> summary_of(const BenchOptions& options, const bench::Slo& slo) {
  bench::SummaryOptions summary;
  summary.slo = slo;
  summary.percentiles = options.percentiles;
  summary.detailed = options.save_detailed;
  summary.backend = options.api == "chat" ? "openai-chat" : "openai";
  summary.label = options.label;
  summary.version = build_info().version;
  for (const std::string& pair : options.metadata) {
    const std::size_t equals = pair.find('=');
    if (equals == std::string::npos || equals == 0) {
      return bad(fmt::format("--metadata \"{}\": expected KEY=VALUE", pair));
    }
    summary.metadata[pair.substr(0, equals)] = pair.substr(equals + 1);
  }
  return summary;
}

bool is_json_object(const std::string& text) {
  return nlohmann::json::parse(text, nullptr, false).is_object();
}

}  // namespace

Result<bench::SessionOptions> session_options_of(const BenchOptions& options) {
  bench::SessionOptions session;
  bench::Slo slo;
  if (!options.goodput.empty()) {
    const auto parsed = bench::parse_slo(options.goodput);
    if (!parsed) return std::unexpected(parsed.error());
    slo = *parsed;
  }
  if (options.sweep && slo.empty()) {
    return bad(
        "--sweep looks for the rate that breaks an SLO: give it with --goodput, as in "
        "--goodput ttft:500,tpot:50");
  }
  if (options.sweep && options.compare) return bad("--sweep and --compare exclude each other");
  if (options.require_good && (slo.empty() || options.sweep || options.compare)) {
    return bad("--require-good judges a run by its --goodput; --sweep and --compare have none");
  }
  if (options.token_ids > 0 && options.workload_kind == "sessions") {
    return bad("--token-ids: sessions hold answers, which come as text");
  }
  if (int(options.json == "-") + int(options.csv == "-") + int(options.html == "-") > 1) {
    return bad("only one result can go to stdout");
  }
  if (!options.extra_body.empty() && !is_json_object(options.extra_body)) {
    return bad("--extra-body is no JSON object");
  }
  // A seed of six digits is easy to type again.
  const std::uint64_t seed = options.seed ? *options.seed : std::random_device{}() % 1000000;
  session.kind = options.sweep     ? bench::SessionKind::kSweep
                 : options.compare ? bench::SessionKind::kCompare
                                   : bench::SessionKind::kRun;
  session.sweep = options.sweep_options;

  const auto take = [](auto& to, auto&& from) -> Result<void> {
    if (!from) return std::unexpected(from.error());
    to = std::move(*from);
    return {};
  };
  if (auto done = take(session.targets, parse_targets(options, slo)); !done)
    return std::unexpected(done.error());
  if (auto done = take(session.load, load_of(options, seed)); !done)
    return std::unexpected(done.error());
  if (auto done = take(session.workload, workload_of(options)); !done)
    return std::unexpected(done.error());
  if (auto done = take(session.prompts, prompts_of(options, seed)); !done)
    return std::unexpected(done.error());
  if (auto done = take(session.summary, summary_of(options, slo)); !done)
    return std::unexpected(done.error());

  session.run.stream = !options.no_stream;
  session.run.ignore_eos = options.ignore_eos;
  session.run.temperature = options.temperature;
  session.run.extra_body = options.extra_body;
  session.run.request_timeout = seconds(options.timeout_s);
  return session;
}

}  // namespace baton::orchestrator
