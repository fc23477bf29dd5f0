#include "orchestrator/admin/plan_answer.h"

#include <utility>

#include "core/json_fields.h"
#include "core/openai_request.h"
#include "orchestrator/http/slo_fields.h"
#include "orchestrator/lifecycle/describe.h"
#include "orchestrator/planning/explain.h"

namespace baton::orchestrator {
namespace {

AdminResponse no_such_model(std::string_view model) {
  return admin_failure(404, "model_not_found", "no pool serves the model " + json_quote(model),
                       "model");
}

AdminResponse explain(const PoolContext& pool, PlanRequest request, const http::Fields& fields) {
  const auto slo = slo_of_request(request.slo, fields);
  if (!slo) return admin_failure(slo.error());
  request.slo = *slo;
  request.explain = true;
  const auto plan = pool.planner.plan(request, *pool.snapshot, Clock::now(), 0);
  if (!plan) return admin_failure(plan.error());
  return {200, plan_json(*plan) + "\n"};
}

}  // namespace

AdminResponse plan_for_body(ThreadContext& context, std::string body, const http::Fields& fields) {
  const RequestLimits limits;
  const auto members = JsonFields::scan(body, limits.max_depth);
  if (!members) return admin_failure(members.error());
  const Api api = members->find("messages") != nullptr ? Api::kChat : Api::kCompletions;
  const auto parsed = OpenAiRequest::parse(api, std::move(body), limits);
  if (!parsed) return admin_failure(parsed.error());
  const ModelTarget* target = context.find_model(parsed->model);
  if (target == nullptr) return no_such_model(parsed->model);
  target->pool->adopt_sizes();
  return explain(*target->pool, describe(*parsed, *target->pool, target->lora, true), fields);
}

AdminResponse plan_for_size(ThreadContext& context, std::string_view model, Tokens prompt,
                            const http::Fields& fields) {
  const ModelTarget* target = context.find_model(model);
  if (target == nullptr) return no_such_model(model);
  target->pool->adopt_sizes();
  return explain(*target->pool, describe_size(prompt, *target->pool, target->lora), fields);
}

}  // namespace baton::orchestrator
