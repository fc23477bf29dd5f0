#include "orchestrator/up/demo_client.h"

#include <nlohmann/json.hpp>
#include <utility>

namespace baton::orchestrator {

namespace http = adapters::http;
using Json = nlohmann::json;

Result<void> StreamReader::feed(std::string_view bytes, Duration since) {
  unread_.append(bytes);
  std::size_t begin = 0;
  for (;;) {
    const std::size_t end = unread_.find('\n', begin);
    if (end == std::string::npos) break;
    const std::string_view line = std::string_view(unread_).substr(begin, end - begin);
    begin = end + 1;
    constexpr std::string_view kData = "data: ";
    if (!line.starts_with(kData)) continue;
    if (auto read = on_event(line.substr(kData.size()), since); !read) return read;
  }
  unread_.erase(0, begin);
  return {};
}

Result<void> StreamReader::on_event(std::string_view data, Duration since) {
  if (data.starts_with("[DONE]")) {
    done_ = true;
    return {};
  }
  const Json event = Json::parse(data, nullptr, false);
  if (!event.is_object() || event.contains("error")) {
    return fail(ErrorCode::kUpstream, Stage::kRouter,
                "the stream says: " + std::string(data.substr(0, 300)));
  }
  if (event.contains("usage") && event["usage"].is_object()) {
    const Json& usage = event["usage"];
    answer_.prompt_tokens = usage.value("prompt_tokens", 0);
    answer_.completion_tokens = usage.value("completion_tokens", 0);
    const Json details = usage.value("prompt_tokens_details", Json());
    if (details.is_object()) answer_.cached_tokens = details.value("cached_tokens", 0);
  }
  if (!event.contains("choices") || event["choices"].empty()) return {};
  const Json& choice = event["choices"][0];
  const Json piece = choice.contains("delta") ? choice["delta"].value("content", Json())
                                              : choice.value("text", Json());
  if (piece.is_string() && !piece.get_ref<const std::string&>().empty()) {
    if (answer_.text.empty()) answer_.first_token = since;
    answer_.last_token = since;
    answer_.text += piece.get_ref<const std::string&>();
  }
  const Json reason = choice.value("finish_reason", Json());
  if (reason.is_string()) answer_.finish_reason = reason.get<std::string>();
  return {};
}

http::Task<Result<StreamedAnswer>> ask(http::Client& client, Endpoint endpoint, std::string target,
                                       std::string body) {
  StreamedAnswer answer;
  StreamReader reader(answer);
  http::ClientRequest request;
  request.method = "POST";
  request.target = std::move(target);
  request.fields = {{"content-type", "application/json"}};
  request.body = std::move(body);
  const TimePoint sent = Clock::now();
  auto exchange = co_await client.send(endpoint.host, endpoint.port, std::move(request));
  if (!exchange) co_return std::unexpected(exchange.error());
  http::ClientExchange& reply = **exchange;
  if (reply.status() != 200) {
    const auto text = co_await reply.read_all(Bytes(64 << 10));
    co_return fail(ErrorCode::kUpstream, Stage::kRouter,
                   "status " + std::to_string(reply.status()) + ": " + text.value_or(""));
  }
  answer.prefill_pod = reply.field("x-baton-prefill");
  answer.decode_pod = reply.field("x-baton-decode");
  answer.timing = reply.field("x-baton-timing");
  for (;;) {
    const auto piece = co_await reply.read_some();
    if (!piece) co_return std::unexpected(piece.error());
    if (piece->empty()) break;
    const auto fed = reader.feed(*piece, Clock::now() - sent);
    if (!fed) co_return std::unexpected(fed.error());
  }
  if (!reader.done()) {
    co_return fail(ErrorCode::kUpstream, Stage::kRouter, "the stream ended without [DONE]");
  }
  co_return answer;
}

}  // namespace baton::orchestrator
