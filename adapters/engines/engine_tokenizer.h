#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/http/client.h"
#include "core/tokenizer.h"

namespace baton::adapters {

struct EngineAddress {
  std::string host;
  std::uint16_t port = 0;
};

// Ids from an engine's own `POST /tokenize` (vLLM's form, which Baton's pods speak too). Slow
// beside a look-up: put a CachingTokenizer before it. Owned by an io thread and used on it alone,
// unlike other tokenizers; `done` runs there.
class EngineTokenizer final : public Tokenizer {
 public:
  // Which pod to ask; none: encode() fails with kUnavailable.
  using Choose = std::function<std::optional<EngineAddress>()>;

  EngineTokenizer(boost::asio::io_context& io, std::string model, Choose choose);

  // Engines read control tokens in the text whatever `parse_special` says. Errors: those of
  // http::Client::send(); kUpstream for an answer without ids.
  void encode(std::string_view text, bool add_special, bool parse_special, Done done) override;
  [[nodiscard]] bool is_local() const override { return false; }

 private:
  boost::asio::io_context& io_;
  std::string model_;
  Choose choose_;
  std::unique_ptr<http::Client> client_;
};

// Sends a `POST /tokenize` and reads the ids of its answer, which may be `limit` long. Errors:
// those of http::Client::send(); kUpstream for an answer without ids. `client` outlives the call.
[[nodiscard]] http::Task<Result<std::vector<TokenId>>> ask_for_ids(http::Client* client,
                                                                   EngineAddress engine,
                                                                   http::ClientRequest request,
                                                                   Bytes limit);

// The ids in an engine's answer: {"tokens":[…],…}. Errors: kUpstream.
[[nodiscard]] Result<std::vector<TokenId>> read_tokenize_answer(std::string_view body);

}  // namespace baton::adapters
