#pragma once

#include "core/openai_request.h"
#include "orchestrator/lifecycle/thread_context.h"
#include "orchestrator/planning/planner.h"

namespace baton::orchestrator {

// What the planner would be asked for this request, so that a plan can be explained without being
// carried out.
[[nodiscard]] PlanRequest plan_request_of(const OpenAiRequest& request, const ModelTarget& target);

}  // namespace baton::orchestrator
