#pragma once

#include <string>
#include <string_view>

#include "core/units.h"
#include "orchestrator/admin/admin_response.h"
#include "orchestrator/lifecycle/thread_context.h"

namespace baton::orchestrator {

// The answers of POST and GET /plan: which pods a request would get now, and why. Made on the
// thread of `context` from its snapshots and from tables that all threads share; nothing is sent,
// counted or believed. A plan as plan_json() writes it, or an error in OpenAI's shape.

// `fields` are the request's, for the SLO that it asks for.

// `body` is a chat where it has "messages", else a completion.
[[nodiscard]] AdminResponse plan_for_body(ThreadContext& context, std::string body,
                                          const http::Fields& fields = {});
// A prompt of that length that no pod holds anything of.
[[nodiscard]] AdminResponse plan_for_size(ThreadContext& context, std::string_view model,
                                          Tokens prompt, const http::Fields& fields = {});

}  // namespace baton::orchestrator
