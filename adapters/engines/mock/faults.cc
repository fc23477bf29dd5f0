#include "adapters/engines/mock/faults.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <initializer_list>

namespace baton::adapters::mock {
namespace {

struct Kind {
  FaultKind kind;
  std::string_view name;
  bool spoils_answer;
};

constexpr std::array kKinds = {
    Kind{FaultKind::kStatus, "status", true},
    Kind{FaultKind::kReset, "reset", true},
    Kind{FaultKind::kHang, "hang", true},
    Kind{FaultKind::kDieAfterPrefill, "die_after_prefill", false},
    Kind{FaultKind::kHalfClose, "half_close", true},
    Kind{FaultKind::kGarbage, "garbage", true},
    Kind{FaultKind::kHalfJson, "half_json", true},
    Kind{FaultKind::kTwoResponses, "two_responses", true},
    Kind{FaultKind::kErrorIn200, "error_in_200", true},
    Kind{FaultKind::kCutUtf8, "cut_utf8", true},
    Kind{FaultKind::kChunk10Mib, "chunk_10mib", true},
    Kind{FaultKind::kNothing, "nothing", true},
    Kind{FaultKind::kWrongKv, "wrong_kv", false},
    Kind{FaultKind::kVersionMismatch, "version_mismatch", false},
    Kind{FaultKind::kSlowHeaders, "slow_headers", true},
    Kind{FaultKind::kIdleClose, "idle_close", true},
    Kind{FaultKind::kAbsentParams, "absent_params", false},
};

constexpr std::array kLegs = {Leg::kPlain, Leg::kPrefill, Leg::kDecode};

std::unexpected<Error> refuse(std::string_view text, std::string_view why) {
  std::string known;
  for (const Kind& kind : kKinds) {
    if (!known.empty()) known += ", ";
    known += kind.name;
  }
  return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
              fmt::format("fault '{}': {}; KIND[=VALUE][@LEG][:COUNT][%PROBABILITY], kinds: {}; "
                          "legs: plain, prefill, decode",
                          text, why, known));
}

std::optional<FaultKind> kind_from(std::string_view name) {
  const auto found = std::ranges::find(kKinds, name, &Kind::name);
  return found == kKinds.end() ? std::nullopt : std::optional(found->kind);
}

std::optional<Leg> leg_from(std::string_view name) {
  for (const Leg leg : kLegs) {
    if (name_of(leg) == name) return leg;
  }
  return std::nullopt;
}

template <class Number>
std::optional<Number> number_from(std::string_view text) {
  Number value{};
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// Cuts what is behind `mark` off `text`. Nothing: the mark is not there.
std::optional<std::string_view> cut_behind(std::string_view& text, char mark) {
  const std::size_t at = text.rfind(mark);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view behind = text.substr(at + 1);
  text = text.substr(0, at);
  return behind;
}

Result<Fault> check(const Fault& fault, std::string_view text) {
  if (fault.kind == FaultKind::kStatus && (fault.value < 400 || fault.value > 599)) {
    return refuse(text, "status needs a VALUE from 400 to 599");
  }
  if (fault.kind == FaultKind::kSlowHeaders && fault.value <= 0) {
    return refuse(text, "slow_headers needs a VALUE in milliseconds");
  }
  if (!std::isfinite(fault.probability) || fault.probability < 0 || fault.probability > 1) {
    return refuse(text, "the probability must be from 0 to 1");
  }
  return fault;
}

Result<Fault> parse_fault(std::string_view text) {
  std::string_view rest = text;
  Fault fault;
  if (const auto probability = cut_behind(rest, '%')) {
    const auto value = number_from<double>(*probability);
    if (!value) return refuse(text, "the probability must be a number");
    fault.probability = *value;
  }
  if (const auto count = cut_behind(rest, ':')) {
    const auto value = number_from<std::int64_t>(*count);
    if (!value || *value < 0) return refuse(text, "the count must be a number from 0");
    fault.count = *value;
  }
  if (const auto leg = cut_behind(rest, '@')) {
    fault.leg = leg_from(*leg);
    if (!fault.leg) return refuse(text, "there is no such leg");
  }
  if (const auto value = cut_behind(rest, '=')) {
    const auto number = number_from<std::int64_t>(*value);
    if (!number) return refuse(text, "the value must be a number");
    fault.value = *number;
  }
  const auto kind = kind_from(rest);
  if (!kind) return refuse(text, "there is no such kind");
  fault.kind = *kind;
  return check(fault, text);
}

Result<Fault> read_fault(const Json& json) {
  if (json.is_string()) return parse_fault(std::string_view(json.get_ref<const std::string&>()));
  const std::string text = dump(json);
  const Json* kind = member(json, "kind");
  if (kind == nullptr || !kind->is_string()) return refuse(text, "it needs a kind");
  const auto known = kind_from(kind->get_ref<const std::string&>());
  if (!known) return refuse(text, "there is no such kind");
  Fault fault;
  fault.kind = *known;
  for (const auto& [name, value] : json.items()) {
    if (name == "leg" && value.is_string()) {
      fault.leg = leg_from(value.get_ref<const std::string&>());
      if (!fault.leg) return refuse(text, "there is no such leg");
    } else if (name == "value" && value.is_number_integer()) {
      fault.value = value.get<std::int64_t>();
    } else if (name == "count" && value.is_number_integer()) {
      fault.count = value.get<std::int64_t>();
    } else if (name == "probability" && value.is_number()) {
      fault.probability = value.get<double>();
    } else if (name != "kind") {
      return refuse(text, "'" + name + "' is not known, or of another type");
    }
  }
  return check(fault, text);
}

}  // namespace

std::string_view name_of(Leg leg) {
  switch (leg) {
    case Leg::kPlain: return "plain";
    case Leg::kPrefill: return "prefill";
    case Leg::kDecode: return "decode";
  }
  return "";
}

std::string_view name_of(FaultKind kind) {
  return std::ranges::find(kKinds, kind, &Kind::kind)->name;
}

Result<std::vector<Fault>> parse_faults(std::string_view text) {
  std::vector<Fault> faults;
  while (!text.empty()) {
    const std::size_t comma = std::min(text.find(','), text.size());
    auto fault = parse_fault(text.substr(0, comma));
    if (!fault) return std::unexpected(fault.error());
    faults.push_back(*fault);
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return faults;
}

Result<std::vector<Fault>> read_faults(const Json& json) {
  if (json.is_string()) return parse_faults(std::string_view(json.get_ref<const std::string&>()));
  if (!json.is_array()) return refuse(dump(json), "it must be a text or an array");
  std::vector<Fault> faults;
  for (const Json& entry : json) {
    auto fault = read_fault(entry);
    if (!fault) return std::unexpected(fault.error());
    faults.push_back(*fault);
  }
  return faults;
}

template <class Wanted>
std::optional<Fault> Faults::take_if(Leg leg, Wanted wanted) {
  for (Fault& fault : faults_) {
    if (fault.count == 0 || (fault.leg && *fault.leg != leg) || !wanted(fault.kind)) continue;
    if (fault.probability < 1 &&
        std::uniform_real_distribution<double>()(rng_) >= fault.probability) {
      continue;
    }
    if (fault.count > 0) --fault.count;
    return fault;
  }
  return std::nullopt;
}

std::optional<Fault> Faults::take(Leg leg, std::initializer_list<FaultKind> kinds) {
  return take_if(leg,
                 [&](FaultKind kind) { return std::ranges::find(kinds, kind) != kinds.end(); });
}

std::optional<Fault> Faults::take_for_answer(Leg leg) {
  return take_if(leg, [](FaultKind kind) {
    return std::ranges::find(kKinds, kind, &Kind::kind)->spoils_answer;
  });
}

Json Faults::json() const {
  Json list = Json::array();
  for (const Fault& fault : faults_) {
    Json entry = {{"kind", name_of(fault.kind)}, {"value", fault.value}};
    entry["leg"] = fault.leg ? Json(name_of(*fault.leg)) : Json();
    entry["count"] = fault.count;
    entry["probability"] = fault.probability;
    list.push_back(std::move(entry));
  }
  return list;
}

}  // namespace baton::adapters::mock
