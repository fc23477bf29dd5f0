#pragma once

#include <string>
#include <string_view>

#include "adapters/http/server.h"
#include "core/error.h"

namespace baton::orchestrator {

struct AdminResponse {
  unsigned status = 200;
  std::string body;
  std::string content_type = "application/json";
  adapters::http::Fields fields{};
};

// Errors in OpenAI's shape.
[[nodiscard]] AdminResponse admin_failure(unsigned status, std::string_view code,
                                          std::string_view message, std::string_view param = {});
[[nodiscard]] AdminResponse admin_failure(const Error& error);

}  // namespace baton::orchestrator
