#include "orchestrator/lifecycle/legs.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

#include "adapters/engines/openai_legs.h"
#include "orchestrator/lifecycle/stream_watch.h"

namespace baton::orchestrator {
namespace {

bool is_short(std::string_view content_length, Bytes limit) {
  std::int64_t length = 0;
  const char* end = content_length.data() + content_length.size();
  const auto [at, failure] = std::from_chars(content_length.data(), end, length);
  return failure == std::errc() && at == end && length <= limit.count();
}

// The data of a stream's first event, from its text.
std::string data_of(std::string_view event) {
  constexpr std::string_view kData = "data:";
  const std::size_t at = event.find(kData);
  if (at == std::string_view::npos) return {};
  event.remove_prefix(at + kData.size());
  if (event.starts_with(' ')) event.remove_prefix(1);
  return std::string(event.substr(0, event.find('\n')));
}

// The status that a stream's error would have had as an answer of its own: engines that say it put
// it into `error.code`.
unsigned status_in(std::string_view event) {
  const auto parsed = nlohmann::json::parse(event, nullptr, false);
  if (!parsed.is_object()) return 500;
  const auto error = parsed.find("error");
  if (error == parsed.end() || !error->is_object()) return 500;
  const auto code = error->find("code");
  if (code == error->end() || !code->is_number_integer()) return 500;
  const auto status = code->get<std::int64_t>();
  return status >= 400 && status < 600 ? static_cast<unsigned>(status) : 500;
}

// Reads the answer's first event into leg->begun. False: there was none, or it told of an error.
Task<bool> read_first_event(Leg& leg, http::ClientExchange& answer) {
  StreamWatch watch;
  while (watch.events() == 0 && !watch.done() && !watch.engine_error()) {
    auto piece = co_await answer.read_some();
    if (!piece) {
      leg.error = std::move(piece.error());
      co_return false;
    }
    const bool too_long = static_cast<std::int64_t>(leg.begun.size()) > kWholeAnswer.count();
    if (piece->empty() || too_long) {
      leg.error = Error{
          ErrorCode::kUpstream, leg.stage,
          too_long ? "the stream's first event is too long" : "the stream ended without an event",
          true};
      co_return false;
    }
    watch.feed(*piece);
    leg.begun += *piece;
  }
  if (!watch.engine_error()) co_return true;
  leg.body = data_of(std::exchange(leg.begun, {}));
  leg.status = status_in(leg.body);
  leg.content_type = "application/json";
  co_return false;
}

}  // namespace

Task<void> run_leg(http::Client* client, std::shared_ptr<Leg> leg, http::ClientRequest request,
                   Bytes whole_up_to, bool await_event) {
  if (leg->cancelled) co_return;
  leg->sent_at = Clock::now();
  const Pod& pod = leg->pod->pod;
  auto sent = co_await client->send(pod.host, pod.port, std::move(request));
  if (!sent) {
    leg->error = std::move(sent.error());
    co_return;
  }
  std::unique_ptr<http::ClientExchange> answer = std::move(*sent);
  leg->head_at = Clock::now();
  if (leg->stage == Stage::kPrefill) leg->waited_for_us = answer->since_last_data();
  leg->content_type = answer->field("content-type");
  leg->timing = answer->field("x-baton-timing");
  if (leg->stage != Stage::kPrefill && answer->status() == 200 &&
      !is_short(answer->field("content-length"), whole_up_to)) {
    const bool waits = await_event && is_event_stream(leg->content_type);
    if (waits && !co_await read_first_event(*leg, *answer)) co_return;
    leg->status = 200;
    leg->answer = std::move(answer);
    co_return;
  }
  auto body = co_await answer->read_all(kWholeAnswer);
  if (!body) {
    leg->error = std::move(body.error());
    co_return;
  }
  leg->status = answer->status();
  leg->body = std::move(*body);
  std::string_view fault;
  if (answer->has_surplus()) {
    fault = "is followed by what nobody asked for";
  } else if (leg->status == 200 && !is_event_stream(leg->content_type)) {
    fault = adapters::fault_in_answer(leg->body);
  }
  if (!fault.empty()) {
    leg->error = Error{ErrorCode::kUpstream, leg->stage, "its answer " + std::string(fault), true};
    answer->do_not_keep();
  }
}

}  // namespace baton::orchestrator
