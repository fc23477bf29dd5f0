#pragma once

#include <string>
#include <string_view>

#include "core/error.h"
#include "core/units.h"
#include "orchestrator/bench/generator/request_record.h"

namespace baton::orchestrator::bench {

// Why a request failed, in few words that many failures share: no addresses, no content.
struct Failure {
  Outcome outcome = Outcome::kUnreachable;
  std::string reason;
};

// Of an exchange that broke before the answer's head. `limit`: how long it was waited for.
[[nodiscard]] Failure failure_before_answer(const Error& error, Duration limit);
// Of one that broke within the answer's body.
[[nodiscard]] Failure failure_in_answer(const Error& error, Duration limit);
// Of an answer that is not 200: "429 rate_limit_exceeded", or the status alone.
[[nodiscard]] Failure failure_of_status(unsigned status, std::string_view body);

}  // namespace baton::orchestrator::bench
