#include "orchestrator/http/slo_fields.h"

#include <charconv>
#include <optional>
#include <ratio>
#include <string>
#include <string_view>
#include <utility>

namespace baton::orchestrator {
namespace {

constexpr double kLeastMs = 0.001;
constexpr double kMostMs = 86'400'000;  // a day

std::optional<Duration> milliseconds_of(std::string_view text) {
  double ms = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), ms);
  if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (!(ms >= kLeastMs && ms <= kMostMs)) return std::nullopt;
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double, std::milli>(ms));
}

std::unexpected<Error> refuse(std::string_view field, std::string_view what) {
  const std::string name(field);
  return fail(ErrorCode::kInvalidArgument, Stage::kRouter,
              "The header " + name + " " + std::string(what), false, name);
}

}  // namespace

Result<SloConfig> slo_of_request(SloConfig pool, const adapters::http::Fields& fields) {
  bool has_ttft = false;
  bool has_tpot = false;
  for (const auto& [name, value] : fields) {
    const bool is_ttft = name == kSloTtftField;
    if (!is_ttft && name != kSloTpotField) continue;
    bool& was_given = is_ttft ? has_ttft : has_tpot;
    if (std::exchange(was_given, true)) return refuse(name, "is given twice; give it once.");
    const auto bound = milliseconds_of(value);
    if (!bound) {
      return refuse(name, "must be a number of milliseconds from 0.001 to 86400000, such as 250.");
    }
    (is_ttft ? pool.ttft : pool.tpot) = bound;
  }
  return pool;
}

}  // namespace baton::orchestrator
