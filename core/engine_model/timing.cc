#include "core/engine_model/timing.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>

namespace baton::engine_model {
namespace {

Duration from_seconds(double seconds) {
  return std::chrono::duration_cast<Duration>(Seconds(std::max(0.0, seconds)));
}

double as_number(Tokens tokens) { return static_cast<double>(tokens.count()); }

// Llama 3.1 8B in BF16 on one H100 (989 TF/s dense, 3.35 TB/s), roofline at 50 % of its arithmetic
// and 75 % of its memory: 2 · 8e9 FLOP a token and 2 · 32 · 4096 a pair of tokens; 16 GB of weights
// and 128 KiB of KV a token are read each step. 1,024 tokens take 36 ms, 8,192 take 304 ms; a step
// of one sequence takes 8.5 ms.
LatencyProfile h100_8b() {
  constexpr double kFlops = 989e12 * 0.5;
  constexpr double kMemory = 3.35e12 * 0.75;
  LatencyProfile profile;
  profile.name = "h100-8b";
  profile.source = "roofline of Llama 3.1 8B in BF16 on one H100 SXM, 50 % MFU, 75 % bandwidth";
  profile.prefill_base_s = 2e-3;
  profile.prefill_token_s = 2 * 8.03e9 / kFlops;
  profile.prefill_square_s = 2.0 * 32 * 4096 / kFlops;
  profile.step_base_s = 2e-3 + 16.06e9 / kMemory;
  profile.step_context_token_s = 131072 / kMemory;
  profile.transfer_setup_s = 2e-3;
  profile.transfer_byte_s = 1 / 40e9;
  profile.adapter_load_s = 0.1;
  return profile;
}

// ai-dynamo/dynamo, lib/mocker/src/common/perf_model.rs, the built-in polynomials:
// prefill ms = 4.209989e-07·t² + 1.518344e-02·t + 16.50142 over the new tokens t of a step,
// decode ms = max(1, −25.74·u² + 54.01·u + 5.74) over the share u of the KV in use. The pass that
// ends a prompt takes both, but on prefill workers (scheduler/vllm/core.rs, emit_ready_tokens).
LatencyProfile dynamo() {
  LatencyProfile profile;
  profile.name = "dynamo-polynomial";
  profile.source = "the built-in polynomials of Dynamo's mocker (lib/mocker, perf_model.rs)";
  profile.prefill_base_s = 16.50142e-3;
  profile.prefill_token_s = 1.518344e-05;
  profile.prefill_step_square_s = 4.209989e-10;
  profile.first_token_takes_step = true;
  profile.step_base_s = 5.74e-3;
  profile.step_usage_s = 54.01e-3;
  profile.step_usage_square_s = -25.74e-3;
  profile.step_least_s = 1e-3;
  profile.transfer_byte_s = 1 / 64e9;
  profile.adapter_load_s = 0.1;
  return profile;
}

struct Setting {
  std::string_view name;
  double LatencyProfile::* value;
  double unit;
};

constexpr std::array kSettings = {
    Setting{"prefill_ms", &LatencyProfile::prefill_base_s, 1e-3},
    Setting{"prefill_token_us", &LatencyProfile::prefill_token_s, 1e-6},
    Setting{"step_ms", &LatencyProfile::step_base_s, 1e-3},
    Setting{"step_sequence_us", &LatencyProfile::step_sequence_s, 1e-6},
    Setting{"transfer_ms", &LatencyProfile::transfer_setup_s, 1e-3},
    Setting{"adapter_ms", &LatencyProfile::adapter_load_s, 1e-3},
};

std::string known_names() {
  std::string names;
  for (const LatencyProfile& profile : latency_profiles()) names += profile.name + ", ";
  for (const Setting& setting : kSettings) names.append(setting.name) += "=, ";
  names.resize(names.size() - 2);
  return names;
}

std::unexpected<Error> refuse(std::string_view part, std::string_view why) {
  return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
              fmt::format("latency profile '{}': {}; known: {}", part, why, known_names()));
}

std::optional<double> positive(std::string_view text) {
  double value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = failure == std::errc() && end == text.data() + text.size();
  if (!whole || !std::isfinite(value) || value < 0) return std::nullopt;
  return value;
}

Result<LatencyProfile> named(std::string_view part) {
  const std::size_t star = part.find('*');
  const std::string_view name = part.substr(0, star);
  const auto& known = latency_profiles();
  const auto found = std::ranges::find(known, name, &LatencyProfile::name);
  if (found == known.end()) return refuse(part, "there is none of this name");
  LatencyProfile profile = *found;
  if (star == std::string_view::npos) return profile;
  const auto factor = positive(part.substr(star + 1));
  if (!factor) return refuse(part, "the factor behind * must be a number from 0");
  profile.factor = *factor;
  return profile;
}

Result<void> set(LatencyProfile& profile, std::string_view part) {
  const std::size_t equals = part.find('=');
  const auto setting = std::ranges::find(kSettings, part.substr(0, equals), &Setting::name);
  if (setting == kSettings.end()) return refuse(part, "there is no such setting");
  const auto value = positive(part.substr(equals + 1));
  if (!value) return refuse(part, "must be a number from 0");
  profile.*setting->value = *value * setting->unit;
  return {};
}

}  // namespace

void PrefillWork::add(Tokens cached, Tokens uncached_too) {
  const double before = as_number(cached);
  const double after = before + as_number(uncached_too);
  uncached += uncached_too;
  pairs += after * after - before * before;
}

Duration LatencyProfile::prefill(PrefillWork work) const {
  if (work.uncached.count() <= 0) return {};
  const double uncached = as_number(work.uncached);
  return from_seconds(factor *
                      (prefill_base_s + prefill_token_s * uncached + prefill_square_s * work.pairs +
                       prefill_step_square_s * uncached * uncached));
}

Duration LatencyProfile::decode(const DecodeWork& work) const {
  if (work.batch <= 0) return {};
  const double usage = std::clamp(work.kv_usage, 0.0, 1.0);
  const double seconds = step_base_s + step_sequence_s * work.batch +
                         step_context_token_s * as_number(work.context) + step_usage_s * usage +
                         step_usage_square_s * usage * usage;
  return from_seconds(factor * std::max(seconds, step_least_s));
}

Duration LatencyProfile::step(PrefillWork prefill_work, const DecodeWork& decode_work) const {
  return prefill(prefill_work) + decode(decode_work);
}

Duration LatencyProfile::transfer(Bytes bytes) const {
  return from_seconds(factor *
                      (transfer_setup_s + transfer_byte_s * static_cast<double>(bytes.count())));
}

Duration LatencyProfile::adapter_load() const { return from_seconds(factor * adapter_load_s); }

const std::vector<LatencyProfile>& latency_profiles() {
  static const std::vector<LatencyProfile> profiles = {LatencyProfile(), h100_8b(), dynamo()};
  return profiles;
}

Result<LatencyProfile> parse_latency_profile(std::string_view text) {
  LatencyProfile profile;
  if (text.ends_with(',')) return refuse(text, "a comma is the last of it");
  for (bool first = true; first || !text.empty(); first = false) {
    const std::size_t comma = text.find(',');
    const std::string_view part = text.substr(0, comma);
    text.remove_prefix(comma == std::string_view::npos ? text.size() : comma + 1);
    if (first && !part.contains('=')) {
      auto base = named(part);
      if (!base) return base;
      profile = std::move(*base);
    } else if (auto done = set(profile, part); !done) {
      return std::unexpected(done.error());
    } else {
      profile.name = "custom";
    }
  }
  return profile;
}

}  // namespace baton::engine_model
