#pragma once

#include <string>

#include "adapters/http/server.h"
#include "core/error.h"
#include "orchestrator/config/values.h"

namespace baton::orchestrator {

struct RouterAnswer {
  unsigned status = 0;
  std::string body;
};

// One request to the admin port of a running router; waits for the answer. Errors as of
// http::Client::send(), naming the address.
[[nodiscard]] Result<RouterAnswer> ask_router(const PodUrl& admin, std::string method,
                                              std::string target, std::string body = {},
                                              adapters::http::Fields fields = {});

}  // namespace baton::orchestrator
