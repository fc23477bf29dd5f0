#include "adapters/engines/mock/side_channel.h"

#include "core/log.h"

namespace baton::adapters::mock {

Answer json_answer(unsigned status, const Json& body) { return {status, dump(body)}; }

Answer violation(std::string_view name, const std::string& message) {
  return json_answer(409, {{"violation", name}, {"message", message}});
}

http::Task<std::optional<PeerAnswer>> ask(http::Client* client, Peer peer, std::string method,
                                          std::string target, Json body) {
  http::ClientRequest request{std::move(method), std::move(target), {}, ""};
  if (!body.is_null()) {
    request.fields = {{"content-type", "application/json"}};
    request.body = dump(body);
  }
  auto exchange = co_await client->send(peer.host, peer.port, std::move(request));
  if (!exchange) co_return std::nullopt;
  const auto text = co_await (*exchange)->read_all(Bytes(64LL << 20));
  if (!text) co_return std::nullopt;
  Json answer = Json::parse(*text, nullptr, false);
  if (answer.is_discarded()) co_return std::nullopt;
  co_return PeerAnswer{(*exchange)->status(), std::move(answer)};
}

void report(const std::exception_ptr& failure) {
  if (failure) log(LogLevel::kError, "a mock's background task failed");
}

}  // namespace baton::adapters::mock
