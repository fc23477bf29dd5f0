#include "orchestrator/admin/admin_response.h"

#include "core/json_fields.h"
#include "orchestrator/http/openai_error.h"

namespace baton::orchestrator {

AdminResponse admin_failure(unsigned status, std::string_view code, std::string_view message,
                            std::string_view param) {
  const std::string body = R"({"error":{"message":)" + json_quote(message) + R"(,"type":)" +
                           json_quote(status < 500 ? "invalid_request_error" : "server_error") +
                           R"(,"param":)" + (param.empty() ? "null" : json_quote(param)) +
                           R"(,"code":)" + json_quote(code) + "}}\n";
  return {status, body};
}

AdminResponse admin_failure(const Error& error) {
  const unsigned status = http_status_of(error.code);
  return {status, openai_error_json(error, status) + "\n"};
}

}  // namespace baton::orchestrator
