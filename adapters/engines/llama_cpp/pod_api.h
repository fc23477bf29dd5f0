#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "adapters/engines/llama_cpp/pod_answer.h"
#include "adapters/http/server.h"

namespace baton::adapters {

// The pod's HTTP interface: what a router or a client of vLLM finds on a vLLM pod, and Baton's own
// paths under /baton/. Owned by the pod; lives on its HTTP thread and outlives every exchange.
class PodApi {
 public:
  PodApi(PodParts parts, EngineOptions options);
  // Answers one exchange; http::Server::Handler.
  http::Task<void> handle(http::Exchange& exchange);
  // From now on /health says 503, so that routers stop sending.
  void start_draining() { draining_ = true; }

 private:
  http::Task<void> complete(http::Exchange& exchange, Api api);
  http::Task<void> tokenize(http::Exchange& exchange);
  http::Task<void> release_lease(http::Exchange& exchange, std::string_view id);
  [[nodiscard]] Result<std::vector<TokenId>> prompt_of(const PodRequest& request) const;
  [[nodiscard]] Result<std::vector<TokenId>> chat_ids(const ChatPrompt& chat) const;
  [[nodiscard]] Result<std::vector<TokenId>> text_ids(std::string_view text, bool add_special,
                                                      std::string_view param) const;
  // Sets sampling.max_tokens from what was asked and what fits.
  [[nodiscard]] Result<void> fit(PodRequest& request, std::size_t prompt_tokens) const;
  [[nodiscard]] Result<void> check_role(const PodRequest& request) const;
  [[nodiscard]] std::string models_json() const;
  [[nodiscard]] std::string facts_json() const;

  PodParts parts_;
  EngineOptions options_;
  std::size_t longest_piece_ = 1;
  std::int64_t started_at_;  // Unix seconds
  bool draining_ = false;
};

}  // namespace baton::adapters
