#include "adapters/engines/mock/vllm/handoff.h"

#include <fmt/format.h>

#include "adapters/engines/mock/vllm/mooncake.h"
#include "adapters/engines/mock/vllm/nixl.h"

namespace baton::adapters::mock::vllm {

std::unique_ptr<Handoff> make_handoff(PodParts& parts, Metrics& metrics) {
  if (parts.options.engine == "vllm-mooncake") return std::make_unique<Mooncake>(parts);
  return std::make_unique<Nixl>(parts, metrics);
}

std::string engine_id_of(const PodParts& parts, std::size_t rank) {
  if (parts.ranks.size() == 1) return parts.options.engine_id;
  return fmt::format("{}_dp{}", parts.options.engine_id, rank);
}

void fail_load(PodParts& parts, Work& work, std::size_t choice, const std::string& why,
               std::string_view violation) {
  RequestRecord& record = *work.record;
  if (!violation.empty()) parts.ledger.violate(&record, violation);
  record.note("KV load failed: " + why);
  if (parts.options.recompute_failed_loads) {
    record.note("recomputed");
    work.rank().kv_missing(work.choices[choice].sequence);
    return;
  }
  work.fail({500, dump({{"error",
                         {{"message", "Internal server error"},
                          {"type", "InternalServerError"},
                          {"param", nullptr},
                          {"code", 500}}}})});
}

}  // namespace baton::adapters::mock::vllm
