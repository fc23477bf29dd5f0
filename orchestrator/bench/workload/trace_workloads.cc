#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <tuple>
#include <utility>

#include "orchestrator/bench/workload/traces.h"
#include "orchestrator/bench/workload/workload_kinds.h"

namespace baton::orchestrator::bench {
namespace {

int cut_to(int tokens, int most) { return most > 0 ? std::min(tokens, most) : tokens; }
// A request asks for one token at least, also where a trace says none came.
int output_of(int tokens, const WorkloadSpec& spec) {
  return std::max(1, cut_to(tokens, spec.max_output_tokens));
}

Duration scaled(Duration at, double time_scale) {
  return std::chrono::round<Duration>(std::chrono::duration<double, Duration::period>(
      static_cast<double>(at.count()) / time_scale));
}

struct Means {
  double input = 0;
  double output = 0;
};
template <class Entry>
Means means_of(const std::vector<Entry>& entries, const WorkloadSpec& spec) {
  Means means;
  for (const Entry& entry : entries) {
    means.input += cut_to(entry.input_tokens, spec.max_input_tokens);
    means.output += output_of(entry.output_tokens, spec);
  }
  means.input /= static_cast<double>(entries.size());
  means.output /= static_cast<double>(entries.size());
  return means;
}

std::string rounded(double number) {
  return grouped(static_cast<std::uint64_t>(std::llround(number)));
}

std::string span_of(Duration span) {
  const double seconds = to_seconds(span);
  if (seconds >= 7200) return fmt::format("{:.1f} h", seconds / 3600);
  if (seconds >= 120) return fmt::format("{:.1f} min", seconds / 60);
  return fmt::format("{:.1f} s", seconds);
}

std::string order_note(std::size_t out_of_order) {
  if (out_of_order == 0) return "";
  return fmt::format(", sorted by time ({} lines were late)", grouped(out_of_order));
}

template <class Entry>
std::string describe_timed(std::string_view what, const Trace<Entry>& trace,
                           const WorkloadSpec& spec) {
  const Means means = means_of(trace.entries, spec);
  std::string text = fmt::format(
      "{} trace {}: {} requests over {}, input {} tokens mean, output "
      "{} mean",
      what, file_name(spec.file), grouped(trace.entries.size()), span_of(trace.entries.back().at),
      rounded(means.input), rounded(means.output));
  if (spec.max_input_tokens > 0) {
    text += fmt::format(", input cut to {}", rounded(spec.max_input_tokens));
  }
  if (spec.max_output_tokens > 0) {
    text += fmt::format(", output cut to {}", rounded(spec.max_output_tokens));
  }
  if (spec.time_scale != 1) text += fmt::format(", x{:g} speed", spec.time_scale);
  return text + order_note(trace.out_of_order);
}

template <class Entry>
void keep_first(Trace<Entry>& trace, std::size_t limit) {
  trace.entries.resize(limited(trace.entries.size(), limit));
  trace.entries.shrink_to_fit();
}

// A trace of times and lengths, whatever its prompts are made of.
template <class Entry>
class TimedTrace : public Workload {
 public:
  TimedTrace(const WorkloadSpec& spec, const PromptBuilder& prompts, Trace<Entry> trace)
      : spec_(spec), prompts_(prompts), trace_(std::move(trace)) {
    keep_first(trace_, spec.limit);
  }

  [[nodiscard]] std::optional<std::size_t> size() const override { return trace_.entries.size(); }
  [[nodiscard]] bool has_times() const override { return true; }
  [[nodiscard]] Duration time_of(std::size_t index) override {
    return scaled(trace_.entries[index].at, spec_.time_scale);
  }
  [[nodiscard]] Result<WorkloadRequest> request(std::size_t index) override {
    assert(index < trace_.entries.size());
    const Entry& entry = trace_.entries[index];
    WorkloadRequest request;
    request.at = time_of(index);
    request.max_tokens = output_of(entry.output_tokens, spec_);
    prompts_.build(pieces_of(index, entry, cut_to(entry.input_tokens, spec_.max_input_tokens)),
                   request);
    return request;
  }

 protected:
  [[nodiscard]] virtual std::vector<Piece> pieces_of(std::size_t index, const Entry& entry,
                                                     int input_tokens) const = 0;
  [[nodiscard]] const WorkloadSpec& spec() const { return spec_; }
  [[nodiscard]] const Trace<Entry>& trace() const { return trace_; }

 private:
  WorkloadSpec spec_;
  const PromptBuilder& prompts_;
  Trace<Entry> trace_;
};

class MooncakeWorkload final : public TimedTrace<MooncakeEntry> {
 public:
  using TimedTrace::TimedTrace;
  [[nodiscard]] std::string describe() const override {
    return describe_timed("mooncake", trace(), spec());
  }

 private:
  [[nodiscard]] std::vector<Piece> pieces_of(std::size_t index, const MooncakeEntry& entry,
                                             int input_tokens) const override {
    if (entry.hash_ids.empty()) {
      return {{key_of(Purpose::kQuestion, index, spec().seed), input_tokens}};
    }
    std::vector<Piece> pieces;
    for (const std::uint64_t id : entry.hash_ids) {
      const int tokens = std::min(spec().block_tokens, input_tokens);
      if (tokens == 0) break;
      pieces.push_back({key_of(Purpose::kBlock, id, spec().seed), tokens});
      input_tokens -= tokens;
    }
    return pieces;
  }
};

class AzureWorkload final : public TimedTrace<AzureEntry> {
 public:
  using TimedTrace::TimedTrace;
  [[nodiscard]] std::string describe() const override {
    return describe_timed("azure", trace(), spec());
  }

 private:
  [[nodiscard]] std::vector<Piece> pieces_of(std::size_t index, const AzureEntry& /*entry*/,
                                             int input_tokens) const override {
    return {{key_of(Purpose::kQuestion, index, spec().seed), input_tokens}};
  }
};

// Shorter questions and answers are left out of ShareGPT, as vLLM's benchmark leaves them out.
constexpr int kFewestTokens = 4;

int tokens_of(const std::vector<Turn>& turns, const PromptBuilder& prompts) {
  int tokens = prompts.overhead();
  for (const Turn& turn : turns) tokens += prompts.count(turn.text);
  return tokens;
}

// Prompts that are text already, held as they were read.
struct TextEntry {
  CustomEntry asked;
  int input_tokens = 0;  // about, for the description
  int output_tokens = 0;
};

class TextWorkload final : public Workload {
 public:
  TextWorkload(const WorkloadSpec& spec, Trace<TextEntry> trace)
      : spec_(spec), trace_(std::move(trace)) {}

  [[nodiscard]] std::optional<std::size_t> size() const override { return trace_.entries.size(); }
  [[nodiscard]] bool has_times() const override {
    return trace_.entries.front().asked.at.has_value();
  }
  [[nodiscard]] Duration time_of(std::size_t index) override {
    const auto& at = trace_.entries[index].asked.at;
    return at ? scaled(*at, spec_.time_scale) : Duration{};
  }
  [[nodiscard]] Result<WorkloadRequest> request(std::size_t index) override {
    assert(index < trace_.entries.size());
    const TextEntry& entry = trace_.entries[index];
    WorkloadRequest request;
    if (entry.asked.at) request.at = time_of(index);
    request.turns = entry.asked.turns;
    request.max_tokens = output_of(entry.output_tokens, spec_);
    request.model = entry.asked.model;
    request.priority = entry.asked.priority;
    return request;
  }
  [[nodiscard]] std::string describe() const override {
    const Means means = means_of(trace_.entries, spec_);
    std::string text = fmt::format("{} {}: {} prompts", name_of(spec_.kind), file_name(spec_.file),
                                   grouped(trace_.entries.size()));
    if (has_times()) text += " over " + span_of(*trace_.entries.back().asked.at);
    text += fmt::format(", input about {} tokens mean, output {} mean", rounded(means.input),
                        rounded(means.output));
    if (has_times() && spec_.time_scale != 1)
      text += fmt::format(", x{:g} speed", spec_.time_scale);
    if (trace_.skipped > 0) text += fmt::format(", {} left out", grouped(trace_.skipped));
    return text + order_note(trace_.out_of_order);
  }

 private:
  WorkloadSpec spec_;
  Trace<TextEntry> trace_;
};

}  // namespace

Result<std::unique_ptr<Workload>> make_mooncake(const WorkloadSpec& spec,
                                                const PromptBuilder& prompts,
                                                std::string_view text) {
  auto trace = read_mooncake(text, spec.file, spec.block_tokens);
  if (!trace) return std::unexpected(std::move(trace.error()));
  return std::make_unique<MooncakeWorkload>(spec, prompts, std::move(*trace));
}

Result<std::unique_ptr<Workload>> make_azure(const WorkloadSpec& spec, const PromptBuilder& prompts,
                                             std::string_view text) {
  auto trace = read_azure(text, spec.file);
  if (!trace) return std::unexpected(std::move(trace.error()));
  return std::make_unique<AzureWorkload>(spec, prompts, std::move(*trace));
}

Result<std::unique_ptr<Workload>> make_sharegpt(const WorkloadSpec& spec,
                                                const PromptBuilder& prompts,
                                                std::string_view text) {
  std::vector<std::pair<int, int>> lengths;  // of those kept
  ShareGptFilter filter;
  filter.limit = spec.limit;
  filter.keep = [&](const ShareGptEntry& entry) {
    const int input = tokens_of(entry.turns, prompts);
    const int output = prompts.count(entry.answer);
    const bool keep = std::min(input, output) >= kFewestTokens &&
                      (spec.max_input_tokens == 0 || input <= spec.max_input_tokens);
    if (keep) lengths.emplace_back(input, output);
    return keep;
  };
  auto read = read_sharegpt(text, spec.file, filter);
  if (!read) return std::unexpected(std::move(read.error()));
  Trace<TextEntry> trace;
  trace.skipped = read->skipped;
  for (std::size_t i = 0; i < read->entries.size(); ++i) {
    TextEntry& kept = trace.entries.emplace_back();
    std::tie(kept.input_tokens, kept.output_tokens) = lengths[i];
    kept.asked.turns = std::move(read->entries[i].turns);
  }
  return std::make_unique<TextWorkload>(spec, std::move(trace));
}

Result<std::unique_ptr<Workload>> make_custom(const WorkloadSpec& spec,
                                              const PromptBuilder& prompts, std::string_view text) {
  auto read = read_custom(text, spec.file);
  if (!read) return std::unexpected(std::move(read.error()));
  keep_first(*read, spec.limit);
  Trace<TextEntry> trace;
  trace.out_of_order = read->out_of_order;
  for (CustomEntry& entry : read->entries) {
    TextEntry& kept = trace.entries.emplace_back();
    kept.input_tokens = tokens_of(entry.turns, prompts);
    kept.output_tokens = entry.max_tokens.value_or(spec.output_tokens);
    kept.asked = std::move(entry);
  }
  return std::make_unique<TextWorkload>(spec, std::move(trace));
}

}  // namespace baton::orchestrator::bench
