#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "orchestrator/bench/results/summary.h"

// Reading members of result files, for whoever renders or compares them.
namespace baton::orchestrator::bench {

// Empty or 0 where the member is absent, null or of another type.
[[nodiscard]] std::string text_of(const Json& json, std::string_view key);
[[nodiscard]] double number_of(const Json& json, std::string_view key);
[[nodiscard]] std::int64_t count_of(const Json& json, std::string_view key);

// Whether `metric` ("ttft", …) was had by no request of this run, so that its keys say 0.
[[nodiscard]] bool is_unmeasured(const Json& run, std::string_view metric);

// "ttft <= 500 ms, tpot <= 50 ms" of what slo_json() made.
[[nodiscard]] std::string slo_text(const Json& slo);

}  // namespace baton::orchestrator::bench
