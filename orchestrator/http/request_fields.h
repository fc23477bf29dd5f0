#pragma once

#include <string_view>

#include "adapters/http/server.h"

namespace baton::orchestrator {

// True for an id that may be echoed and sent on: 1 to 128 visible ASCII characters without quotes,
// backslashes, commas and semicolons.
[[nodiscard]] bool is_safe_request_id(std::string_view id);

// True for a W3C trace context (traceparent, version 00).
[[nodiscard]] bool is_traceparent(std::string_view value);

// How many fields would steer a request inside a serving cluster. None ever reaches a pod, since
// upstream requests are written from our own fields; they are counted so that the attempt is seen.
[[nodiscard]] int count_routing_fields(const adapters::http::Fields& fields);

}  // namespace baton::orchestrator
