// What a study's options mean, as they are typed.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <optional>
#include <utility>

#include "core/picking/policy.h"
#include "orchestrator/bad_input.h"
#include "orchestrator/simulate/study.h"

namespace baton::orchestrator::simulate {
namespace {

template <class Number>
std::optional<Number> number_of_text(std::string_view text) {
  Number value{};
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

std::optional<Duration> seconds_of(std::string_view text) {
  const auto value = number_of_text<double>(text);
  if (!value || !std::isfinite(*value) || *value < 0) return std::nullopt;
  return std::chrono::duration_cast<Duration>(Seconds(*value));
}

}  // namespace

Result<PolicyPair> parse_policy(std::string_view text) {
  const std::size_t slash = text.find('/');
  const auto named = [&](std::string_view name) -> Result<Policy> {
    if (const auto policy = policy_from_name(name)) return *policy;
    return bad(fmt::format("--policy {}: there is no policy '{}'; known: {}", text, name,
                           fmt::join(policy_names(), ", ")));
  };
  const auto prefill = named(text.substr(0, slash));
  if (!prefill) return std::unexpected(prefill.error());
  const auto decode = named(slash == std::string_view::npos ? text : text.substr(slash + 1));
  if (!decode) return std::unexpected(decode.error());
  return PolicyPair{std::string(text), *prefill, *decode};
}

Result<std::vector<SimulatedPod>> parse_pods(std::string_view text, const EngineProfile& usual) {
  std::vector<SimulatedPod> pods;
  std::array<int, 3> counts{};
  const auto refuse = [&](std::string_view part) {
    return bad(fmt::format(
        "--pods {}: '{}' must be ROLE=COUNT or ROLE=COUNT:PROFILE, roles prefill, decode and both",
        text, part));
  };
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t comma = rest.find(',');
    const std::string_view part = rest.substr(0, comma);
    rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
    const std::size_t equals = part.find('=');
    if (equals == std::string_view::npos) return refuse(part);
    const auto role = role_from_name(part.substr(0, equals));
    const std::size_t colon = part.find(':');
    const auto count = number_of_text<int>(part.substr(equals + 1, colon - equals - 1));
    if (!role || !count || *count < 0) return refuse(part);
    EngineProfile profile = usual;
    if (colon != std::string_view::npos) {
      auto found = find_engine_profile(part.substr(colon + 1));
      if (!found) return std::unexpected(found.error());
      profile = std::move(*found);
    }
    if (pods.size() + static_cast<std::size_t>(*count) > kMostPods) {
      return bad(fmt::format("--pods {}: more than {} pods", text, kMostPods));
    }
    for (int i = 0; i < *count; ++i) {
      int& number = counts[static_cast<std::size_t>(*role)];
      pods.push_back({fmt::format("{}-{}", name_of(*role), number++), *role, profile});
    }
  }
  if (auto checked = check_pods(pods, fmt::format("--pods {}", text)); !checked) {
    return std::unexpected(checked.error());
  }
  return pods;
}

Result<void> check_pods(const std::vector<SimulatedPod>& pods, std::string_view option) {
  const bool decodes =
      std::ranges::any_of(pods, [](const SimulatedPod& pod) { return can_decode(pod.role); });
  if (!decodes) return bad(fmt::format("{}: no pod of them decodes", option));
  if (pods.size() > kMostPods) return bad(fmt::format("{}: more than {} pods", option, kMostPods));
  const auto other = std::ranges::find_if(pods, [&](const SimulatedPod& pod) {
    return pod.profile.engine.block_tokens != pods.front().profile.engine.block_tokens;
  });
  if (other == pods.end()) return {};
  return bad(fmt::format("{}: blocks of {} and of {} tokens; pods of one pool share one size",
                         option, pods.front().profile.engine.block_tokens.count(),
                         other->profile.engine.block_tokens.count()));
}

Result<PodLoss> parse_loss(std::string_view text, const std::vector<SimulatedPod>& pods) {
  PodLoss loss;
  const std::size_t at = text.find('@');
  loss.pod = text.substr(0, at);
  if (std::ranges::find(pods, loss.pod, &SimulatedPod::name) == pods.end()) {
    return bad(fmt::format("--lose {}: there is no pod '{}'; they are named {} and so on", text,
                           loss.pod, pods.front().name));
  }
  const std::string_view times = at == std::string_view::npos ? "" : text.substr(at + 1);
  const std::size_t plus = times.find('+');
  const auto when = seconds_of(times.substr(0, plus));
  const auto away = plus == std::string_view::npos ? std::optional(Duration::max())
                                                   : seconds_of(times.substr(plus + 1));
  if (!when || !away) {
    return bad(fmt::format("--lose {}: must be POD@SECONDS or POD@SECONDS+AWAY", text));
  }
  loss.at = *when;
  loss.away = *away;
  return loss;
}

}  // namespace baton::orchestrator::simulate
