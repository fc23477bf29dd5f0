#include "orchestrator/simulate/engine_profile.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "orchestrator/bad_input.h"
#include "orchestrator/simulate/json_file.h"

namespace baton::orchestrator::simulate {
namespace {

using engine_model::LatencyProfile;
using Json = nlohmann::ordered_json;

LatencyProfile timing_of(std::string_view name) {
  return *std::ranges::find(engine_model::latency_profiles(), name, &LatencyProfile::name);
}

// The defaults of Dynamo's mocker (ai-dynamo/dynamo, docs/mocker/mocker.md), whose offline replay
// moves KV in no time unless it is told a size of it.
EngineProfile dynamo_mocker() {
  EngineProfile profile;
  profile.name = "dynamo-mocker";
  profile.engine.timing = timing_of("dynamo-polynomial");
  profile.engine.timing.transfer_byte_s = 0;
  profile.source = profile.engine.timing.source;
  profile.engine.blocks = 16384;
  profile.engine.block_tokens = Tokens(64);
  return profile;
}

// The same with hand-offs at the 64 GB/s of its --kv-transfer-bandwidth, of a model of 128 KiB of
// KV a token.
EngineProfile dynamo_mocker_64gbs() {
  EngineProfile profile = dynamo_mocker();
  profile.name = "dynamo-mocker-64gbs";
  profile.engine.timing.transfer_byte_s = 1 / 64e9;
  profile.bytes_per_token = Bytes(131072);
  return profile;
}

// Blocks: 80 GB, of which 90 % are the engine's, less 16 GB of weights and 6 GB of activations.
EngineProfile llama3_8b_h100() {
  EngineProfile profile;
  profile.name = "llama3-8b-h100";
  profile.engine.timing = timing_of("h100-8b");
  profile.source = profile.engine.timing.source;
  profile.engine.blocks = 23800;
  profile.engine.block_tokens = Tokens(16);
  profile.bytes_per_token = Bytes(131072);
  profile.start_up = std::chrono::seconds(60);
  return profile;
}

// Llama 3.1 70B in BF16 over eight H100 SXM with tensor parallelism: 45 % MFU, 70 % of the memory's
// bandwidth, 2 all-reduces a layer of 12 us; 2 · 80 · 8192 FLOP a pair of tokens, 320 KiB of KV a
// token (80 layers, 8 heads of 128, K and V). Blocks: 0.9 · 640 GB less weights (141 GB) and 32 GB.
EngineProfile llama3_70b_h100_tp8() {
  constexpr double kFlops = 8 * 989e12 * 0.45;
  constexpr double kMemory = 8 * 3.35e12 * 0.7;
  constexpr double kAllReduces = 2 * 80 * 12e-6;
  constexpr double kWeights = 70.6e9;
  EngineProfile profile;
  profile.name = "llama3-70b-h100-tp8";
  profile.source =
      "roofline of Llama 3.1 70B in BF16 on eight H100 SXM, TP 8, 45 % MFU, 70 % bandwidth";
  LatencyProfile& timing = profile.engine.timing;
  timing.name = profile.name;
  timing.source = profile.source;
  timing.prefill_base_s = 2e-3 + kAllReduces;
  timing.prefill_token_s = 2 * kWeights / kFlops;
  timing.prefill_square_s = 2.0 * 80 * 8192 / kFlops;
  timing.step_base_s = 2e-3 + kAllReduces + 2 * kWeights / kMemory;
  timing.step_context_token_s = 327680 / kMemory;
  timing.transfer_setup_s = 2e-3;
  timing.transfer_byte_s = 1 / 160e9;  // four of eight NICs of 400 Gb/s
  timing.adapter_load_s = 0.2;
  profile.engine.blocks = 76000;
  profile.engine.block_tokens = Tokens(16);
  profile.bytes_per_token = Bytes(327680);
  profile.start_up = std::chrono::seconds(180);
  return profile;
}

struct Number {
  std::string_view key;
  double LatencyProfile::* value;
  double unit;  // seconds in one of the file's
};
constexpr std::array kNumbers = {
    Number{"prefill_base_ms", &LatencyProfile::prefill_base_s, 1e-3},
    Number{"prefill_token_us", &LatencyProfile::prefill_token_s, 1e-6},
    Number{"prefill_pair_ns", &LatencyProfile::prefill_square_s, 1e-9},
    Number{"prefill_step_square_ns", &LatencyProfile::prefill_step_square_s, 1e-9},
    Number{"step_base_ms", &LatencyProfile::step_base_s, 1e-3},
    Number{"step_sequence_us", &LatencyProfile::step_sequence_s, 1e-6},
    Number{"step_context_token_ns", &LatencyProfile::step_context_token_s, 1e-9},
    Number{"transfer_setup_ms", &LatencyProfile::transfer_setup_s, 1e-3},
    Number{"transfer_byte_ns", &LatencyProfile::transfer_byte_s, 1e-9},
    Number{"adapter_load_ms", &LatencyProfile::adapter_load_s, 1e-3},
};
struct Count {
  std::string_view key;
  std::int64_t least;
  void (*set)(EngineProfile&, std::int64_t);
  std::int64_t (*get)(const EngineProfile&);
};
constexpr std::array kCounts = {
    Count{"blocks", 1,
          [](EngineProfile& p, std::int64_t n) { p.engine.blocks = static_cast<std::int32_t>(n); },
          [](const EngineProfile& p) { return std::int64_t{p.engine.blocks}; }},
    Count{"block_tokens", 1,
          [](EngineProfile& p, std::int64_t n) { p.engine.block_tokens = Tokens(n); },
          [](const EngineProfile& p) { return p.engine.block_tokens.count(); }},
    Count{"max_num_seqs", 1,
          [](EngineProfile& p, std::int64_t n) { p.engine.max_num_seqs = static_cast<int>(n); },
          [](const EngineProfile& p) { return std::int64_t{p.engine.max_num_seqs}; }},
    Count{"max_batched_tokens", 1,
          [](EngineProfile& p, std::int64_t n) { p.engine.max_batched_tokens = Tokens(n); },
          [](const EngineProfile& p) { return p.engine.max_batched_tokens.count(); }},
    Count{"max_loras", 0,
          [](EngineProfile& p, std::int64_t n) { p.engine.max_loras = static_cast<int>(n); },
          [](const EngineProfile& p) { return std::int64_t{p.engine.max_loras}; }},
    Count{"bytes_per_token", 0,
          [](EngineProfile& p, std::int64_t n) { p.bytes_per_token = Bytes(n); },
          [](const EngineProfile& p) { return p.bytes_per_token.count(); }},
    Count{"start_up_ms", 0,
          [](EngineProfile& p, std::int64_t n) { p.start_up = std::chrono::milliseconds(n); },
          [](const EngineProfile& p) { return static_cast<std::int64_t>(to_ms(p.start_up)); }},
};
constexpr std::int64_t kMostCount = 1 << 30;

std::string known_keys() {
  std::string keys = "name, source, base";
  for (const Count& count : kCounts) keys.append(", ").append(count.key);
  for (const Number& number : kNumbers) keys.append(", ").append(number.key);
  return keys;
}

Result<void> set(EngineProfile& profile, const std::string& file, const std::string& key,
                 const Json& value) {
  const auto refuse = [&](std::string_view why) {
    return bad(fmt::format("{}: {}: {}", file, key, why));
  };
  if (key == "name" || key == "source") {
    if (!value.is_string()) return refuse("must be a string");
    (key == "name" ? profile.name : profile.source) = value.get<std::string>();
    return {};
  }
  if (const auto count = std::ranges::find(kCounts, key, &Count::key); count != kCounts.end()) {
    if (!value.is_number_integer()) return refuse("must be a whole number");
    const auto number = value.get<std::int64_t>();
    if (number < count->least || number > kMostCount) {
      return refuse(fmt::format("must be from {} to {}", count->least, kMostCount));
    }
    count->set(profile, number);
    return {};
  }
  const auto number = std::ranges::find(kNumbers, key, &Number::key);
  if (number == kNumbers.end()) {
    return refuse("there is no such key; known: " + known_keys());
  }
  if (!value.is_number() || !std::isfinite(value.get<double>()) || value.get<double>() < 0) {
    return refuse("must be a number from 0");
  }
  profile.engine.timing.*number->value = value.get<double>() * number->unit;
  return {};
}

std::string known_names() {
  std::string names;
  for (const EngineProfile& each : engine_profiles()) names += each.name + ", ";
  return names;
}

// What the file changes: a built-in profile, or nothing.
Result<EngineProfile> base_of(const std::string& file, const Json& json) {
  if (!json.contains("base")) return EngineProfile();
  const auto& known = engine_profiles();
  const auto found = std::ranges::find_if(known, [&](const EngineProfile& each) {
    return json.at("base").is_string() && json.at("base").get<std::string>() == each.name;
  });
  if (found != known.end()) return *found;
  std::string names = known_names();
  names.resize(names.size() - 2);
  return bad(fmt::format("{}: base: must be one of {}", file, names));
}

Result<EngineProfile> read_profile(const std::string& path) {
  const auto read = read_json_file(path);
  if (!read) return std::unexpected(read.error());
  const Json& json = *read;
  if (!json.is_object()) return bad(path + ": must hold one JSON object");
  auto begun = base_of(path, json);
  if (!begun) return begun;
  EngineProfile profile = std::move(*begun);
  profile.name = path.substr(path.rfind('/') + 1);
  profile.source = path;
  for (const auto& [key, value] : json.items()) {
    if (key == "base") continue;
    if (auto done = set(profile, path, key, value); !done) return std::unexpected(done.error());
  }
  profile.engine.timing.name = profile.name;
  if (profile.engine.timing.step_base_s <= 0) {
    return bad(path + ": step_base_ms: must be given, and above 0: a step takes time");
  }
  return profile;
}

std::optional<double> factor_of(std::string_view text) {
  double value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  const bool whole = failure == std::errc() && end == text.data() + text.size();
  if (!whole || !std::isfinite(value) || value <= 0) return std::nullopt;
  return value;
}

}  // namespace

const std::vector<EngineProfile>& engine_profiles() {
  static const std::vector<EngineProfile> profiles = {dynamo_mocker(), dynamo_mocker_64gbs(),
                                                      llama3_8b_h100(), llama3_70b_h100_tp8()};
  return profiles;
}

Result<EngineProfile> find_engine_profile(std::string_view text) {
  const std::size_t star = text.rfind('*');
  const std::string name(text.substr(0, star));
  const auto& known = engine_profiles();
  const auto found = std::ranges::find(known, name, &EngineProfile::name);
  Result<EngineProfile> profile;
  if (found != known.end()) {
    profile = *found;
  } else if (name.ends_with(".json")) {
    profile = read_profile(name);
    if (!profile) return profile;
  } else {
    return bad(fmt::format("engine profile '{}': known are {}or a file that ends in .json", name,
                           known_names()));
  }
  if (star != std::string_view::npos) {
    const auto factor = factor_of(text.substr(star + 1));
    if (!factor)
      return bad(fmt::format("engine profile '{}': behind * must be a number above 0", text));
    profile->engine.timing.factor *= *factor;
    profile->name = std::string(text);
  }
  return profile;
}

std::string profile_json(const EngineProfile& profile) {
  Json json;
  json["name"] = profile.name;
  json["source"] = profile.source;
  for (const Count& count : kCounts) json[std::string(count.key)] = count.get(profile);
  for (const Number& number : kNumbers) {
    json[std::string(number.key)] = profile.engine.timing.*number.value / number.unit;
  }
  return json.dump(1);
}

}  // namespace baton::orchestrator::simulate
