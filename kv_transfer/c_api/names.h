#pragma once

#include <string>
#include <string_view>

#include "kv_transfer/c_api/guard.h"

namespace baton::kv::c_api {

// An engine's name as it may go over the wire and into logs. `field` is named in the error.
[[nodiscard]] Outcome<std::string> checked_name(const char* text, std::string_view field);

// host:port, an IPv6 host in brackets.
[[nodiscard]] Outcome<std::string> checked_address(const char* text, std::string_view field);

}  // namespace baton::kv::c_api
