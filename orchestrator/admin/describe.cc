#include "orchestrator/admin/describe.h"

#include <algorithm>
#include <cmath>

namespace baton::orchestrator {

PlanRequest plan_request_of(const OpenAiRequest& request, const ModelTarget& target) {
  const PoolContext& pool = *target.pool;
  PlanRequest wanted;
  wanted.lora = target.lora;
  wanted.split = pool.config.split;
  wanted.refuses_split = pool.connector.refuses_split(request);
  if (request.max_tokens) wanted.expected_output = Tokens(*request.max_tokens);
  if (request.prompt_ids.empty()) {
    wanted.blocks =
        PromptBlocks::from_text(request.canonical_text, request.cache_salt, target.lora);
    const double bytes = static_cast<double>(request.canonical_text.size());
    wanted.prompt = Tokens(std::max<std::int64_t>(1, std::llround(bytes / pool.bytes_per_token)));
  } else {
    Tokens block{0};
    for (const auto& entry : pool.snapshot->pods) {
      block = std::max(block, entry->pod.facts.block_tokens);
    }
    wanted.blocks =
        PromptBlocks::from_tokens(request.prompt_ids, block, request.cache_salt, target.lora);
    wanted.prompt = Tokens(static_cast<std::int64_t>(request.prompt_ids.size()));
  }
  return wanted;
}

}  // namespace baton::orchestrator
