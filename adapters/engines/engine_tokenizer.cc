#include "adapters/engines/engine_tokenizer.h"

#include <boost/asio/co_spawn.hpp>
#include <exception>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/json_fields.h"

namespace baton::adapters {
namespace {

using Json = nlohmann::json;
using Ids = Result<std::vector<TokenId>>;

constexpr Bytes kLongestAnswer{64LL << 20};

http::ClientLimits limits() {
  http::ClientLimits limits;
  limits.header_time = std::chrono::seconds(5);
  limits.idle_time = std::chrono::seconds(5);
  return limits;
}

}  // namespace

http::Task<Ids> ask_for_ids(http::Client* client, EngineAddress engine, http::ClientRequest request,
                            Bytes limit) {
  auto exchange = co_await client->send(std::move(engine.host), engine.port, std::move(request));
  if (!exchange) co_return std::unexpected(std::move(exchange.error()));
  const auto body = co_await (*exchange)->read_all(limit);
  if (!body) co_return std::unexpected(body.error());
  if ((*exchange)->status() != 200) {
    co_return fail(ErrorCode::kUpstream, Stage::kRouter,
                   "/tokenize answered " + std::to_string((*exchange)->status()), true);
  }
  co_return read_tokenize_answer(*body);
}

Result<std::vector<TokenId>> read_tokenize_answer(std::string_view body) {
  const Json answer = Json::parse(body, nullptr, false);
  const auto malformed = [] {
    return fail(ErrorCode::kUpstream, Stage::kRouter, "/tokenize answered without token ids", true);
  };
  if (!answer.is_object()) return malformed();
  const auto tokens = answer.find("tokens");
  if (tokens == answer.end() || !tokens->is_array()) return malformed();
  std::vector<TokenId> ids;
  ids.reserve(tokens->size());
  for (const Json& token : *tokens) {
    if (!token.is_number_unsigned() ||
        token.get<std::uint64_t>() > std::uint64_t{std::numeric_limits<TokenId>::max()}) {
      return malformed();
    }
    ids.push_back(token.get<TokenId>());
  }
  return ids;
}

EngineTokenizer::EngineTokenizer(boost::asio::io_context& io, std::string model, Choose choose)
    : io_(io),
      model_(std::move(model)),
      choose_(std::move(choose)),
      client_(http::Client::create(io, limits())) {}

void EngineTokenizer::encode(std::string_view text, bool add_special, bool /*parse_special*/,
                             Done done) {
  auto engine = choose_();
  if (!engine) {
    done(fail(ErrorCode::kUnavailable, Stage::kRouter, "no pod to ask for token ids", true));
    return;
  }
  http::ClientRequest request;
  request.method = "POST";
  request.target = "/tokenize";
  request.fields = {{"content-type", "application/json"}};
  request.body = R"({"model":)" + json_quote(model_) + R"(,"prompt":)" + json_quote(text) +
                 R"(,"add_special_tokens":)" + (add_special ? "true}" : "false}");
  boost::asio::co_spawn(
      io_, ask_for_ids(client_.get(), std::move(*engine), std::move(request), kLongestAnswer),
      [done = std::move(done)](const std::exception_ptr& thrown, Ids ids) {
        if (thrown) {
          done(fail(ErrorCode::kInternal, Stage::kRouter, "an exception in the call of /tokenize"));
        } else {
          done(std::move(ids));
        }
      });
}

}  // namespace baton::adapters
