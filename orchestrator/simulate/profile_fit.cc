#include "orchestrator/simulate/profile_fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "orchestrator/bad_input.h"
#include "orchestrator/simulate/served_requests.h"

namespace baton::orchestrator::simulate {
namespace {

using engine_model::LatencyProfile;

constexpr std::size_t kFewestPrompts = 10;
constexpr std::size_t kFewestSteps = 20;
constexpr std::size_t kMostSteps = 20'000;

struct Coefficient {
  const char* key;  // of the profile's file
  double LatencyProfile::* value;
  double unit;  // seconds in one of the file's
};
using Coefficients = std::array<Coefficient, kFitTerms>;
constexpr Coefficients kPrefill = {{{"prefill_base_ms", &LatencyProfile::prefill_base_s, 1e-3},
                                    {"prefill_token_us", &LatencyProfile::prefill_token_s, 1e-6},
                                    {"prefill_pair_ns", &LatencyProfile::prefill_square_s, 1e-9}}};
constexpr Coefficients kStep = {
    {{"step_base_ms", &LatencyProfile::step_base_s, 1e-3},
     {"step_sequence_us", &LatencyProfile::step_sequence_s, 1e-6},
     {"step_context_token_ns", &LatencyProfile::step_context_token_s, 1e-9}}};
// Where data do not tell: a prompt takes its tokens, a step its base and then its context.
constexpr std::array<std::size_t, kFitTerms> kPrefillDropped = {2, 0, 1};
constexpr std::array<std::size_t, kFitTerms> kStepDropped = {1, 2, 0};

// How many of some spans there are at a time, and in a time.
class Spans {
 public:
  void add(double from, double to) {
    begins_.push_back(from);
    ends_.push_back(to);
  }
  void sort() {
    std::ranges::sort(begins_);
    std::ranges::sort(ends_);
  }
  // Spans that share more than a moment with (from, to).
  [[nodiscard]] std::size_t overlapping(double from, double to) const {
    const auto begun = std::ranges::lower_bound(begins_, to) - begins_.begin();
    const auto over = std::ranges::upper_bound(ends_, from) - ends_.begin();
    return static_cast<std::size_t>(begun - over);
  }

 private:
  std::vector<double> begins_;
  std::vector<double> ends_;
};

// What one pod did: prompts that it computed, streams that it gave, and the tokens of these.
class PodHistory {
 public:
  void add_prompt(const ServedRequest& request) {
    prompts_.add(request.began, request.first_token);
  }
  void add_stream(const ServedRequest& request) {
    const bool fetched = request.prefill_pod != request.decode_pod;
    const double from = request.first_token - (fetched ? request.first_step_s : 0);
    streams_.add(from, request.last_token);
    changes_.push_back({from, request.input_tokens + 1.0});
    double at = request.first_token;
    double context = request.input_tokens + 1.0;
    for (const double gap : request.gaps) {
      at += gap;
      changes_.push_back({at, 1});
      ++context;
    }
    changes_.push_back({request.last_token, -context});
  }
  void finish() {
    prompts_.sort();
    streams_.sort();
    std::ranges::sort(changes_, {}, &Change::at);
    double sum = 0;
    for (Change& change : changes_) change.context = sum += change.context;
  }
  [[nodiscard]] bool is_alone(const ServedRequest& request) const {
    return prompts_.overlapping(request.began, request.first_token) == 1 &&
           streams_.overlapping(request.began, request.first_token) == 0;
  }
  [[nodiscard]] std::optional<FitRow> step(double from, double to) const {
    if (to <= from || prompts_.overlapping(from, to) > 0) return std::nullopt;
    const double middle = (from + to) / 2;
    const auto batch = static_cast<double>(streams_.overlapping(middle, middle));
    const auto after = std::ranges::upper_bound(changes_, middle, {}, &Change::at);
    if (after == changes_.begin()) return std::nullopt;
    return FitRow{{1, batch, std::prev(after)->context}, to - from};
  }

 private:
  struct Change {
    double at = 0;
    double context = 0;  // more tokens of all streams; after finish(): the sum
  };
  Spans prompts_;
  Spans streams_;
  std::vector<Change> changes_;
};

struct Rows {
  std::vector<FitRow> prompts;
  std::vector<FitRow> steps;
};

FitRow prompt_row(const ServedRequest& request, const EngineProfile& like) {
  const double cached = std::min(request.cached_tokens, request.input_tokens - 1);
  const double all = request.input_tokens;
  const auto most = static_cast<double>(like.engine.max_batched_tokens.count());
  const double seconds =
      request.prefill_s > 0 ? request.prefill_s : request.first_token - request.began;
  return {{std::ceil((all - cached) / most), all - cached, all * all - cached * cached}, seconds};
}

void add_rows(const std::vector<ServedRequest>& requests, const EngineProfile& like, Rows& rows) {
  std::map<std::string, PodHistory> pods;
  for (const ServedRequest& request : requests) {
    pods[request.prefill_pod].add_prompt(request);
    pods[request.decode_pod].add_stream(request);
  }
  for (auto& [name, pod] : pods) pod.finish();
  for (const ServedRequest& request : requests) {
    if (request.input_tokens > 0 && pods[request.prefill_pod].is_alone(request)) {
      rows.prompts.push_back(prompt_row(request, like));
    }
    const PodHistory& decode = pods[request.decode_pod];
    double at = request.first_token;
    for (const double gap : request.gaps) {
      if (const auto row = decode.step(at, at + gap)) rows.steps.push_back(*row);
      at += gap;
    }
  }
}

// Every so-manieth, so that no more than `most` are left.
void thin(std::vector<FitRow>& rows, std::size_t most) {
  const std::size_t stride = (rows.size() + most - 1) / most;
  if (stride < 2) return;
  std::size_t kept = 0;
  for (std::size_t i = 0; i < rows.size(); i += stride) rows[kept++] = rows[i];
  rows.resize(kept);
}

void take(const RobustFit& fit, const Coefficients& coefficients, LatencyProfile& timing) {
  for (std::size_t i = 0; i < kFitTerms; ++i) timing.*coefficients[i].value = fit.coefficients[i];
}

std::string untold_text(const RobustFit& fit, const Coefficients& coefficients) {
  std::string text;
  for (std::size_t i = 0; i < kFitTerms; ++i) {
    if (fit.told[i]) continue;
    text += fmt::format("{}{}", text.empty() ? "" : ", ", coefficients[i].key);
  }
  return text;
}

std::string source_text(const std::vector<MeasuredResult>& results, const ProfileFit& fit) {
  std::string files;
  for (const MeasuredResult& result : results) {
    files += (files.empty() ? "" : ", ") + result.file.substr(result.file.rfind('/') + 1);
  }
  const auto error = [](const RobustFit& one) {
    return fmt::format("off by {:.1f} % at the median, {:.1f} % at p90", 100 * one.median_error,
                       100 * one.p90_error);
  };
  std::string text =
      fmt::format("fitted from {}: {} prompts, {}; {} steps, {}", files, fit.prefill.rows,
                  error(fit.prefill), fit.step.rows, error(fit.step));
  std::string untold = untold_text(fit.prefill, kPrefill);
  const std::string more = untold_text(fit.step, kStep);
  if (!untold.empty() && !more.empty()) untold += ", ";
  untold += more;
  if (!untold.empty()) text += fmt::format("; not told by these: {}", untold);
  return text;
}

std::string render_fit(const char* what, const char* which, const RobustFit& fit,
                       const Coefficients& coefficients) {
  std::string text =
      fmt::format("{:<9}{} {}; the fit is off by {:.1f} % at the median, {:.1f} % at p90\n", what,
                  fit.rows, which, 100 * fit.median_error, 100 * fit.p90_error);
  for (std::size_t i = 0; i < kFitTerms; ++i) {
    const Coefficient& one = coefficients[i];
    text += fmt::format("  {:<24}{:>12.4g}{}\n", one.key, fit.coefficients[i] / one.unit,
                        fit.told[i] ? "" : "  not told by these results");
  }
  return text;
}

}  // namespace

Result<ProfileFit> fit_profile(const std::vector<MeasuredResult>& results,
                               const EngineProfile& like, std::string_view name) {
  Rows rows;
  for (const MeasuredResult& result : results) {
    const auto runs = read_served_requests(result.file, result.json);
    if (!runs) return std::unexpected(runs.error());
    for (const auto& requests : *runs) add_rows(requests, like, rows);
  }
  if (rows.prompts.size() < kFewestPrompts) {
    return bad(
        fmt::format("{} prompts of these results were computed while nothing else went on; {} are "
                    "needed: measure with --concurrency 1 too",
                    rows.prompts.size(), kFewestPrompts));
  }
  if (rows.steps.size() < kFewestSteps) {
    return bad(fmt::format(
        "{} gaps between tokens of these results are free of prompts; {} are needed: measure more "
        "requests, with --output-tokens 32 or more",
        rows.steps.size(), kFewestSteps));
  }
  thin(rows.steps, kMostSteps);
  ProfileFit fit{like, fit_robustly(rows.prompts, kPrefillDropped),
                 fit_robustly(rows.steps, kStepDropped)};
  LatencyProfile timing;
  timing.transfer_setup_s = like.engine.timing.transfer_setup_s;
  timing.transfer_byte_s = like.engine.timing.transfer_byte_s;
  timing.adapter_load_s = like.engine.timing.adapter_load_s;
  take(fit.prefill, kPrefill, timing);
  take(fit.step, kStep, timing);
  // A profile's step takes time, whatever was measured.
  timing.step_base_s = std::max(timing.step_base_s, 1e-6);
  fit.profile.name = name;
  fit.profile.source = source_text(results, fit);
  timing.name = fit.profile.name;
  timing.source = fit.profile.source;
  fit.profile.engine.timing = timing;
  return fit;
}

std::string render_profile_fit(const ProfileFit& fit) {
  return render_fit("prefill", "prompts that were alone", fit.prefill, kPrefill) +
         render_fit("steps", "without a prompt", fit.step, kStep);
}

}  // namespace baton::orchestrator::simulate
