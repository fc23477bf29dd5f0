#include "orchestrator/bench/workload/workloads.h"

#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cmath>
#include <fstream>
#include <limits>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "orchestrator/bench/workload/trace_lines.h"
#include "orchestrator/bench/workload/traces.h"
#include "orchestrator/bench/workload/workload_kinds.h"

namespace baton::orchestrator::bench {
namespace {

constexpr std::array kKinds = {WorkloadKind::kRandom,   WorkloadKind::kSharedPrefix,
                               WorkloadKind::kSessions, WorkloadKind::kMooncake,
                               WorkloadKind::kAzure,    WorkloadKind::kShareGpt,
                               WorkloadKind::kCustom};

std::unexpected<Error> bad_option(std::string_view option, std::string message) {
  return fail(ErrorCode::kInvalidArgument, Stage::kConfig, std::move(message), false,
              std::string(option));
}

template <class Value>
Result<void> check_mix(std::string_view option, const std::vector<Share<Value>>& shares) {
  double sum = 0;
  for (const Share<Value>& share : shares) {
    if (!(share.weight >= 0) || !std::isfinite(share.weight)) sum = -1;
    if (sum < 0) break;
    sum += share.weight;
  }
  if (shares.empty() || sum > 0) return {};
  return bad_option(option, fmt::format("weights of {} must be 0 or more, and not all 0", option));
}

// Parts of "a=1,b=2": name and weight.
Result<std::vector<Share<std::string>>> parse_mix(std::string_view text, std::string_view what) {
  std::vector<Share<std::string>> shares;
  while (true) {
    const std::size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    const std::size_t equals = part.rfind('=');
    double weight = 1;
    if (equals != std::string_view::npos) {
      const std::string_view digits = part.substr(equals + 1);
      const char* end = digits.data() + digits.size();
      const auto [at, error] = std::from_chars(digits.data(), end, weight);
      if (error != std::errc{} || at != end || !(weight >= 0) || !std::isfinite(weight)) {
        return bad_option(what, fmt::format("\"{}\" has no weight of 0 or more after =", part));
      }
    }
    const std::string_view name = part.substr(0, equals);
    if (name.empty()) {
      return bad_option(what,
                        fmt::format("\"{}\" names no {}; expected NAME=WEIGHT,…", part, what));
    }
    shares.push_back({std::string(name), weight});
    if (comma == std::string_view::npos) break;
    text.remove_prefix(comma + 1);
  }
  if (const auto checked = check_mix(what, shares); !checked) {
    return std::unexpected(checked.error());
  }
  return shares;
}

Result<void> check_length(std::string_view option, int tokens) {
  if (tokens >= 1 && tokens <= kMostTraceTokens) return {};
  return bad_option(option, fmt::format("{} must be from 1 to {}", option, kMostTraceTokens));
}

struct Length {
  std::string_view option;
  int tokens;
};

std::vector<Length> lengths_of(const WorkloadSpec& spec) {
  switch (spec.kind) {
    case WorkloadKind::kRandom:
      return {{"input_tokens", spec.input_tokens}, {"output_tokens", spec.output_tokens}};
    case WorkloadKind::kSharedPrefix:
      return {{"groups", spec.groups},
              {"prompts_per_group", spec.prompts_per_group},
              {"prefix_tokens", spec.prefix_tokens},
              {"question_tokens", spec.question_tokens},
              {"output_tokens", spec.output_tokens}};
    case WorkloadKind::kSessions:
      return {{"sessions", spec.sessions},
              {"turns", spec.turns},
              {"first_tokens", spec.first_tokens},
              {"turn_tokens", spec.turn_tokens},
              {"output_tokens", spec.output_tokens}};
    case WorkloadKind::kMooncake: return {{"block_tokens", spec.block_tokens}};
    case WorkloadKind::kCustom: return {{"output_tokens", spec.output_tokens}};
    case WorkloadKind::kAzure:
    case WorkloadKind::kShareGpt: break;
  }
  return {};
}

Result<void> check_spec(const WorkloadSpec& spec) {
  for (const Length& length : lengths_of(spec)) {
    if (auto checked = check_length(length.option, length.tokens); !checked) return checked;
  }
  const auto within = [](double value, double low, double high) {
    return value >= low && value <= high;
  };
  if (!within(spec.range_ratio, 0, 0.999999)) {
    return bad_option("range_ratio", "range_ratio must be at least 0 and below 1");
  }
  if (!within(spec.zipf, 0, 20)) return bad_option("zipf", "zipf must be from 0 to 20");
  if (!within(spec.time_scale, 1e-6, 1e6)) {
    return bad_option("time_scale", "time_scale must be above 0");
  }
  if (!within(spec.leave_share, 0, 1)) {
    return bad_option("leave_share", "leave_share must be from 0 to 1");
  }
  if (spec.think_time < Duration::zero()) {
    return bad_option("think_time", "think_time must not be negative");
  }
  if (spec.max_input_tokens < 0) {
    return bad_option("max_input_tokens", "max_input_tokens must be at least 0");
  }
  if (spec.max_output_tokens < 0) {
    return bad_option("max_output_tokens", "max_output_tokens must be at least 0");
  }
  if (auto checked = check_mix("models", spec.models); !checked) return checked;
  if (auto checked = check_mix("priorities", spec.priorities); !checked) return checked;
  return {};
}

Result<std::string> read_file(const std::string& path) {
  if (path.empty()) return bad_option("file", "this workload needs a file");
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::string text;
  std::vector<char> chunk(1 << 20);
  while (file) {
    file.read(chunk.data(), static_cast<std::streamsize>(chunk.size()));
    text.append(chunk.data(), static_cast<std::size_t>(file.gcount()));
  }
  if (!file.is_open() || file.bad()) {
    const auto reason = std::generic_category().message(errno != 0 ? errno : EIO);
    return bad_option("file", fmt::format("cannot read {}: {}", path, reason));
  }
  return text;
}

Result<std::unique_ptr<Workload>> make_of_file(const WorkloadSpec& spec,
                                               const PromptBuilder& prompts) {
  const auto text = read_file(spec.file);
  if (!text) return std::unexpected(text.error());
  switch (spec.kind) {
    case WorkloadKind::kMooncake: return make_mooncake(spec, prompts, *text);
    case WorkloadKind::kAzure: return make_azure(spec, prompts, *text);
    case WorkloadKind::kShareGpt: return make_sharegpt(spec, prompts, *text);
    default: return make_custom(spec, prompts, *text);
  }
}

Result<std::unique_ptr<Workload>> make_plain(const WorkloadSpec& spec,
                                             const PromptBuilder& prompts) {
  switch (spec.kind) {
    case WorkloadKind::kRandom: return make_random(spec, prompts);
    case WorkloadKind::kSharedPrefix: return make_shared_prefix(spec, prompts);
    case WorkloadKind::kSessions: return make_sessions(spec, prompts);
    default: return make_of_file(spec, prompts);
  }
}

}  // namespace

const char* name_of(WorkloadKind kind) {
  switch (kind) {
    case WorkloadKind::kRandom: return "random";
    case WorkloadKind::kSharedPrefix: return "shared-prefix";
    case WorkloadKind::kSessions: return "sessions";
    case WorkloadKind::kMooncake: return "mooncake";
    case WorkloadKind::kAzure: return "azure";
    case WorkloadKind::kShareGpt: return "sharegpt";
    case WorkloadKind::kCustom: return "custom";
  }
  return "unknown";
}

Result<WorkloadKind> parse_workload_kind(std::string_view name) {
  std::string names;
  for (const WorkloadKind kind : kKinds) {
    if (name == name_of(kind)) return kind;
    names.append(names.empty() ? "" : ", ").append(name_of(kind));
  }
  return bad_option("kind", fmt::format("no workload \"{}\"; there are {}", name, names));
}

Result<ModelMix> parse_model_mix(std::string_view text) { return parse_mix(text, "model"); }

ModelMix adapter_mix(int adapters, double zipf) {
  ModelMix mix;
  for (int i = 0; i < adapters; ++i) {
    mix.push_back({fmt::format("adapter-{}", i), std::pow(i + 1.0, -zipf)});
  }
  return mix;
}

Result<PriorityMix> parse_priority_mix(std::string_view text) {
  const auto named = parse_mix(text, "priority");
  if (!named) return std::unexpected(named.error());
  PriorityMix shares;
  for (const Share<std::string>& share : *named) {
    const auto priority =
        whole_number(share.value, std::numeric_limits<int>::min(), std::numeric_limits<int>::max());
    if (!priority) {
      return bad_option("priority",
                        fmt::format("\"{}\" is no priority, a whole number", share.value));
    }
    shares.push_back({static_cast<int>(*priority), share.weight});
  }
  return shares;
}

Result<std::unique_ptr<Workload>> make_workload(const WorkloadSpec& spec,
                                                const PromptBuilder& prompts) {
  if (const auto checked = check_spec(spec); !checked) {
    return std::unexpected(checked.error());
  }
  auto workload = make_plain(spec, prompts);
  if (!workload) return workload;
  return add_mixes(spec, std::move(*workload));
}

}  // namespace baton::orchestrator::bench
