#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

#include "core/units.h"

namespace baton {

// How a stage picks its pod. All but the first are the policies of others, under the names that
// they have there, for comparison and for who wants them: each picks one pod of its own stage and
// knows nothing of the other one.
enum class Policy : std::uint8_t {
  kPredicted,     // least predicted seconds, over pairs of pods (planner)
  kRoundRobin,    // one after another
  kRandom,        // any
  kLeastRequest,  // the fewest requests in flight
  kPowerOfTwo,    // the one with fewer requests of two drawn at random
  kCacheAware,    // sglang-router: longest prefix, unless load is uneven
  kGaieDefault,   // Gateway API Inference Extension: queue 2, KV use 2, prefix 3
  kDynamoKv,      // Dynamo's KV router: prefill blocks without overlap + active blocks
  kLmetric,       // LMetric (arXiv 2603.15202): new prefill tokens · batch size
  kMooncake,      // Mooncake (FAST '25), algorithm 1: queue + prefill seconds; decode by load
};
inline constexpr std::size_t kPolicies = 10;
[[nodiscard]] std::string_view name_of(Policy policy);
[[nodiscard]] std::optional<Policy> policy_from_name(std::string_view name);
[[nodiscard]] std::span<const std::string_view> policy_names();

enum class PickStage : std::uint8_t { kPrefill, kDecode, kWhole };  // kWhole: one pod does both

// What those policies look at.
struct PolicyPod {
  int in_flight = 0;           // requests of ours
  int running = 0;             // of those, that decode or will
  Tokens queued{0};            // prompt tokens in flight that are to be computed there
  Tokens kv{0};                // reserved for requests in flight
  Tokens cached{0};            // of this prompt, held
  int waiting = 0;             // as the pod's metrics said
  double kv_usage = 0;         // likewise
  double start_seconds = 0.0;  // predicted until this prompt were computed there
};
struct PolicyRequest {
  PickStage stage = PickStage::kWhole;
  Tokens prompt{0};
  Tokens block_tokens{64};
  std::uint64_t turn = 0;  // counts the stage's picks
  std::uint64_t seed = 0;  // for what is drawn, and ties
};

// The pod that a policy of others picks, as an index of `pods`, which is not empty. Pure.
[[nodiscard]] std::size_t choose(Policy policy, const PolicyRequest& request,
                                 std::span<const PolicyPod> pods);

}  // namespace baton
