#include "orchestrator/http/openai_error.h"

#include "core/json_fields.h"

namespace baton::orchestrator {
namespace {

std::string_view type_of(unsigned status) {
  if (status == 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

}  // namespace

std::string openai_error_json(const Error& error, unsigned status, std::string_view code) {
  std::string json = R"({"error":{"message":)" + json_quote(error.message) + R"(,"type":")";
  json += type_of(status);
  json += R"(","param":)";
  json += error.param.empty() ? "null" : json_quote(error.param);
  json += R"(,"code":")";
  json += code.empty() ? name_of(error.code) : code;
  json += '"';
  if (status >= 500) {
    json += R"(,"stage":")";
    json += name_of(error.stage);
    json += '"';
  }
  json += "}}";
  return json;
}

std::string openai_error_event(const Error& error) {
  return "data: " + openai_error_json(error, 502) + "\n\n";
}

}  // namespace baton::orchestrator
