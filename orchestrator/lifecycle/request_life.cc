#include "orchestrator/lifecycle/request_life.h"

#include <utility>

#include "orchestrator/http/openai_error.h"
#include "orchestrator/http/request_fields.h"
#include "orchestrator/http/slo_fields.h"
#include "orchestrator/lifecycle/served_request.h"

namespace baton::orchestrator {
namespace {

constexpr std::string_view kChatPath = "/v1/chat/completions";
constexpr std::string_view kCompletionsPath = "/v1/completions";
constexpr std::string_view kModelsPath = "/v1/models";

RequestHead read_head(ThreadContext& context, const http::Request& request) {
  RequestHead head;
  head.accepted_at = Clock::now();
  const std::string_view id = request.field("x-request-id");
  head.request_id = is_safe_request_id(id) ? std::string(id) : Id128::draw(context.random()).str();
  const std::string_view trace = request.field("traceparent");
  if (is_traceparent(trace)) head.traceparent = trace;
  head.explain = context.config().expose_plan && request.field("x-baton-explain") == "1";
  return head;
}

// Answers a request that no pool was asked for.
Task<void> refuse(ThreadContext& context, http::Exchange& exchange, std::string request_id,
                  unsigned status, Error error, std::string code, http::Fields more) {
  context.unrouted.Increment();
  http::Fields fields = std::move(more);
  fields.emplace_back("x-request-id", std::move(request_id));
  fields.emplace_back("content-type", "application/json");
  (void)co_await exchange.send(status, std::move(fields), openai_error_json(error, status, code));
}

Task<void> complete(ThreadContext& context, http::Exchange& exchange, Api api, RequestHead head) {
  http::Request sent = exchange.take_request();
  if (const int count = count_routing_fields(sent.fields); count > 0) {
    context.stripped_fields.Increment(count);
  }
  Result<OpenAiRequest> request = OpenAiRequest::parse(api, std::move(sent.body), {});
  if (!request) {
    const unsigned status = http_status_of(request.error().code);
    co_await refuse(context, exchange, std::move(head.request_id), status,
                    std::move(request.error()), {}, {});
    co_return;
  }
  const ModelTarget* target = context.find_model(request->model);
  if (target == nullptr) {
    const std::string named = request->model.size() <= 200 ? " '" + request->model + "'" : "";
    Error error{ErrorCode::kNotFound, Stage::kRouter, "The model" + named + " does not exist.",
                false, "model"};
    co_await refuse(context, exchange, std::move(head.request_id), 404, std::move(error),
                    "model_not_found", {});
    co_return;
  }
  Result<SloConfig> slo = slo_of_request(target->pool->config.slo, sent.fields);
  if (!slo) {
    co_await refuse(context, exchange, std::move(head.request_id), 400, std::move(slo.error()), {},
                    {});
    co_return;
  }
  head.slo = *slo;
  ServedRequest served(context, *target, exchange, std::move(*request), std::move(head));
  co_await served.run();
}

Task<void> list_models(ThreadContext& context, http::Exchange& exchange, std::string request_id) {
  http::Fields fields = {{"x-request-id", std::move(request_id)},
                         {"content-type", "application/json"}};
  (void)co_await exchange.send(200, std::move(fields), context.models_json());
}

}  // namespace

Task<void> handle(ThreadContext& context, http::Exchange& exchange) {
  const http::Request& request = exchange.request();
  RequestHead head = read_head(context, request);
  const std::string_view path = request.path();
  const bool completes = path == kChatPath || path == kCompletionsPath;
  if (!completes && path != kModelsPath) {
    Error error{ErrorCode::kNotFound, Stage::kRouter, "There is nothing at this path."};
    co_await refuse(context, exchange, std::move(head.request_id), 404, std::move(error),
                    "not_found", {});
    co_return;
  }
  const std::string_view allowed = completes ? "POST" : "GET";
  if (request.method != allowed) {
    Error error{ErrorCode::kInvalidArgument, Stage::kRouter,
                "This path takes " + std::string(allowed) + " requests only."};
    http::Fields allow = {{"allow", std::string(allowed)}};
    co_await refuse(context, exchange, std::move(head.request_id), 405, std::move(error),
                    "method_not_allowed", std::move(allow));
    co_return;
  }
  if (!completes) {
    co_await list_models(context, exchange, std::move(head.request_id));
  } else {
    const Api api = path == kChatPath ? Api::kChat : Api::kCompletions;
    co_await complete(context, exchange, api, std::move(head));
  }
}

}  // namespace baton::orchestrator
