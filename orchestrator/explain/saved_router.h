#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>
#include <string_view>

#include "core/picking/latency_models.h"
#include "core/picking/learned_sizes.h"
#include "orchestrator/admin/admin_response.h"
#include "orchestrator/lifecycle/thread_context.h"

namespace baton::orchestrator {

// What a router told of itself, as one file: its answers to GET /config and GET /pods.
[[nodiscard]] std::string saved_router_json(std::string_view config, std::string_view pods);

// Such a file as something that plans: pods, states, loads and what was learned are the router's of
// that moment. What the file does not have is as if new: prefixes that pods hold, and how pairs of
// pods differ in moving KV. Owned by a command; one thread, no I/O.
class SavedRouter {
 public:
  // Errors: kInvalidArgument saying what is wrong with it.
  [[nodiscard]] static Result<std::unique_ptr<SavedRouter>> read(std::string_view json);

  [[nodiscard]] ThreadContext& context() { return *context_; }

 private:
  SavedRouter() = default;

  asio::io_context io_{1};
  Metrics metrics_;
  LoadTable loads_;
  PrefixIndex prefixes_{Bytes(1 << 20)};
  LatencyModels latencies_;
  LearnedSizesOfPools sizes_;
  std::unique_ptr<ThreadContext> context_;
};

}  // namespace baton::orchestrator
