#include "adapters/engines/plain/plain_connector.h"

#include <nlohmann/json.hpp>

#include "adapters/engines/openai_legs.h"

namespace baton::adapters {

std::string PlainConnector::refuses_split(const OpenAiRequest&) const {
  return "the connector `plain` hands nothing over";
}

Result<LegRequest> PlainConnector::prefill_leg(const OpenAiRequest&, const Plan&,
                                               const HandoffKey&) const {
  return fail(ErrorCode::kUnsupported, Stage::kPrefill, "the connector `plain` has no prefill leg");
}

Result<LegRequest> PlainConnector::decode_leg(const OpenAiRequest& request, const Plan&,
                                              const HandoffKey& key, const PrefillResponse*) const {
  return client_leg(request, key);
}

LegAction PlainConnector::on_leg_failure(const Error& error) const {
  return error.retryable ? LegAction::kRetryDecode : LegAction::kFail;
}

Error PlainConnector::read_error(unsigned status, std::string_view body, Stage leg) const {
  return read_openai_error(status, error_in(body), leg);
}

}  // namespace baton::adapters
