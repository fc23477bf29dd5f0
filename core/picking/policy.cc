#include "core/picking/policy.h"

#include <algorithm>
#include <array>
#include <cassert>
#include <limits>
#include <vector>

namespace baton {
namespace {

constexpr std::array<std::string_view, kPolicies> kNames = {
    "predicted",   "round_robin",  "random",    "least_request", "power_of_two",
    "cache_aware", "gaie_default", "dynamo_kv", "lmetric",       "mooncake"};

double as_double(Tokens tokens) { return static_cast<double>(tokens.count()); }

// Fibonacci hashing, so that seeds that count up are spread too.
std::uint64_t spread(std::uint64_t seed) { return (seed * 0x9E3779B97F4A7C15) >> 32; }

// The pod of the least cost; of several, one by the seed.
template <class Cost>
std::size_t cheapest(std::span<const PolicyPod> pods, std::uint64_t seed, Cost cost) {
  double least = std::numeric_limits<double>::infinity();
  std::size_t tied = 0;
  for (const PolicyPod& pod : pods) {
    const double its = cost(pod);
    if (its < least) tied = 0;
    least = std::min(least, its);
    tied += its == least ? 1 : 0;
  }
  std::size_t skip = tied == 0 ? 0 : spread(seed) % tied;
  for (std::size_t i = 0; i < pods.size(); ++i) {
    if (cost(pods[i]) == least && skip-- == 0) return i;
  }
  return 0;  // no cost is a number
}

std::size_t fewest_requests(std::span<const PolicyPod> pods, std::uint64_t seed) {
  return cheapest(pods, seed, [](const PolicyPod& pod) { return double(pod.in_flight); });
}

std::size_t power_of_two(std::span<const PolicyPod> pods, std::uint64_t seed) {
  if (pods.size() == 1) return 0;
  const std::uint64_t drawn = spread(seed);
  const std::size_t one = drawn % pods.size();
  std::size_t other = drawn / pods.size() % (pods.size() - 1);
  if (other >= one) ++other;
  return pods[other].in_flight < pods[one].in_flight ? other : one;
}

// sgl-project/sglang, sgl-model-gateway/src/policies/cache_aware.rs, with the command line's
// defaults. Where no prefix is long enough it takes the pod of the smallest prefix tree; here the
// one with the fewest requests, as no tree is kept a pod.
std::size_t cache_aware(const PolicyRequest& request, std::span<const PolicyPod> pods) {
  constexpr int kUnevenBy = 64;
  constexpr double kUnevenTimes = 1.5;
  constexpr double kLongPrefix = 0.3;
  const auto [least, most] = std::ranges::minmax(pods, {}, &PolicyPod::in_flight);
  const bool uneven = most.in_flight - least.in_flight > kUnevenBy &&
                      most.in_flight > kUnevenTimes * least.in_flight;
  const auto best = std::ranges::max_element(pods, {}, &PolicyPod::cached);
  if (uneven || as_double(best->cached) <= kLongPrefix * as_double(request.prompt)) {
    return fewest_requests(pods, request.seed);
  }
  return static_cast<std::size_t>(best - pods.begin());
}

// kubernetes-sigs/gateway-api-inference-extension, pkg/epp/scheduling: queue scorer (weight 2),
// kv-cache-utilization scorer (2), prefix-cache scorer (3), highest sum.
std::size_t gaie_default(const PolicyRequest& request, std::span<const PolicyPod> pods) {
  const auto [least, most] = std::ranges::minmax(pods, {}, &PolicyPod::waiting);
  const double range = most.waiting - least.waiting;
  const double prompt = std::max(1.0, as_double(request.prompt));
  return cheapest(pods, request.seed, [&](const PolicyPod& pod) {
    const double queue = range > 0 ? (most.waiting - pod.waiting) / range : 1.0;
    const double room = 1.0 - pod.kv_usage;
    return -(2 * queue + 2 * room + 3 * as_double(pod.cached) / prompt);
  });
}

// ai-dynamo/dynamo, docs/components/router/router-concepts.md: the linear cost with its default
// weights; its prefill router tracks no active blocks, its decode router no prefill.
std::size_t dynamo_kv(const PolicyRequest& request, std::span<const PolicyPod> pods) {
  const double block = as_double(request.block_tokens);
  return cheapest(pods, request.seed, [&](const PolicyPod& pod) {
    const Tokens prefill = pod.queued + request.prompt - pod.cached;
    const double prefill_blocks = std::max(0.0, as_double(prefill)) / block;
    const double active_blocks = as_double(pod.kv + request.prompt) / block;
    switch (request.stage) {
      case PickStage::kPrefill: return prefill_blocks;
      case PickStage::kDecode: return active_blocks;
      case PickStage::kWhole: break;
    }
    return prefill_blocks + active_blocks;
  });
}

std::size_t lmetric(const PolicyRequest& request, std::span<const PolicyPod> pods) {
  return cheapest(pods, request.seed, [&](const PolicyPod& pod) {
    if (request.stage == PickStage::kDecode) return double(pod.running);
    const Tokens tokens = pod.queued + request.prompt - pod.cached;
    return std::max(1.0, as_double(tokens)) * (pod.in_flight + 1);
  });
}

std::size_t mooncake(const PolicyRequest& request, std::span<const PolicyPod> pods) {
  return cheapest(pods, request.seed, [&](const PolicyPod& pod) {
    return request.stage == PickStage::kDecode ? as_double(pod.kv) : pod.start_seconds;
  });
}

}  // namespace

std::string_view name_of(Policy policy) { return kNames[static_cast<std::size_t>(policy)]; }

std::optional<Policy> policy_from_name(std::string_view name) {
  const auto found = std::ranges::find(kNames, name);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<Policy>(found - kNames.begin());
}

std::span<const std::string_view> policy_names() { return kNames; }

std::size_t choose(Policy policy, const PolicyRequest& request, std::span<const PolicyPod> pods) {
  assert(!pods.empty());
  switch (policy) {
    case Policy::kRoundRobin: return request.turn % pods.size();
    case Policy::kRandom: return spread(request.seed) % pods.size();
    case Policy::kPowerOfTwo: return power_of_two(pods, request.seed);
    case Policy::kCacheAware: return cache_aware(request, pods);
    case Policy::kGaieDefault: return gaie_default(request, pods);
    case Policy::kDynamoKv: return dynamo_kv(request, pods);
    case Policy::kLmetric: return lmetric(request, pods);
    case Policy::kMooncake: return mooncake(request, pods);
    case Policy::kPredicted:
    case Policy::kLeastRequest: break;
  }
  return fewest_requests(pods, request.seed);
}

}  // namespace baton
