#include "adapters/engines/llama_cpp/pod_answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/this_coro.hpp>
#include <chrono>
#include <random>
#include <utility>

#include "adapters/engines/llama_cpp/pod_inbox.h"
#include "core/ids.h"
#include "core/json_fields.h"
#include "core/log.h"

namespace baton::adapters {
namespace asio = http::asio;
namespace {

// Cancels the request on the engine unless it ended.
class LiveRequest {
 public:
  LiveRequest(const std::shared_ptr<Engine>& engine, EngineRequestId id)
      : engine_(engine), id_(id) {}
  LiveRequest(const LiveRequest&) = delete;
  LiveRequest& operator=(const LiveRequest&) = delete;
  ~LiveRequest() { cancel(); }
  void ended() { engine_.reset(); }
  void cancel() {
    if (const auto engine = engine_.lock()) engine->cancel(id_);
    engine_.reset();
  }

 private:
  std::weak_ptr<Engine> engine_;
  EngineRequestId id_;
};

// One request on its way: what the ways of answering share.
struct Run {
  Run(http::Exchange& client, PodParts& pod, const PodRequest& wanted, TimePoint start)
      : exchange(client),
        parts(pod),
        request(wanted),
        arrived(start),
        text(wanted, *pod.tokenizer) {}

  http::Exchange& exchange;
  PodParts& parts;
  const PodRequest& request;
  TimePoint arrived;
  std::shared_ptr<AnswerInbox> inbox;
  AnswerHead head;
  AnswerText text;
  EngineUsage usage;
  EngineTimes times;
  std::optional<TimePoint> last_token;
  std::optional<FinishReason> finished;
  std::optional<Error> error;

  void take(AnswerEvent& event);
  [[nodiscard]] bool over() const { return finished || error; }
  [[nodiscard]] http::Fields fields(std::string_view type) const;
};

void Run::take(AnswerEvent& event) {
  if (auto* first = std::get_if<FirstTokenEvent>(&event)) {
    usage = first->usage;
    times = first->times;
  } else if (auto* made = std::get_if<TokenEvent>(&event)) {
    if (last_token) {
      parts.metrics->next_token(made->made_at - *last_token);
    } else {
      parts.metrics->first_token(made->made_at - arrived);
    }
    last_token = made->made_at;
    text.add(made->token);
    if (text.stopped()) {
      usage.completion_tokens = text.tokens();
      finished = FinishReason::kStop;
    }
  } else if (auto* end = std::get_if<FinishEvent>(&event)) {
    usage = std::move(end->usage);
    times = end->times;
    finished = end->reason;
  } else if (auto* failed = std::get_if<ErrorEvent>(&event)) {
    error = std::move(failed->error);
  }
  if (finished && !request.producer) parts.metrics->finished(*finished);
}

http::Fields Run::fields(std::string_view type) const {
  return {{"content-type", std::string(type)}, {"x-baton-timing", timing_json(usage, times)}};
}

std::string producer_params(const Run& run) {
  return fmt::format(
      R"(,"kv_transfer_params":{{"baton":{{"transfer_id":"{}","engine_id":{},"epoch":{},)"
      R"("prompt_tokens":{},"queue_ms":{:.3f},"prefill_ms":{:.3f}}}}})",
      run.request.producer->str(), json_quote(run.parts.facts.engine_id), run.parts.facts.epoch,
      run.usage.prompt_tokens, to_ms(run.times.queue), to_ms(run.times.prefill));
}

// Waits until the request is over; false where the client left before.
http::Task<bool> wait_for_end(Run& run) {
  while (!run.over()) {
    std::vector<AnswerEvent> events = co_await run.inbox->next();
    if (run.exchange.client_gone()) co_return false;
    for (AnswerEvent& event : events) {
      if (!run.over()) run.take(event);
    }
    if (!run.over() && run.inbox->overrun()) {
      run.error = Error{ErrorCode::kTimeout, Stage::kDecode,
                        "the pod was too busy to take the answer's tokens", true};
    }
  }
  co_return true;
}

http::Task<void> answer_whole(Run& run) {
  if (!co_await wait_for_end(run)) co_return;
  if (run.error) {
    co_await send_error(run.exchange, *run.error);
    co_return;
  }
  const FinishReason reason = run.request.producer ? FinishReason::kLength : *run.finished;
  const std::string extra = run.request.producer ? producer_params(run) : std::string();
  // A client that is gone by now has nobody to tell.
  (void)co_await run.exchange.send(
      200, run.fields("application/json"),
      completion_body(run.head, run.text.finish(), reason, run.usage, extra));
}

// Takes the events that came together; returns the stream's bytes for them.
std::string stream_bytes(Run& run, const StreamFormat& format, std::vector<AnswerEvent>& events) {
  std::string out;
  for (AnswerEvent& event : events) {
    if (run.over()) break;
    run.take(event);
    if (!run.over() && run.text.has_text()) out += format.piece(run.text.take());
  }
  if (run.error) {
    out += error_event(*run.error);
  } else if (run.finished) {
    out += format.finish(run.text.finish(), *run.finished);
    if (run.request.include_usage) out += format.usage(run.usage);
    out += StreamFormat::done();
  }
  return out;
}

http::Task<void> answer_stream(Run& run) {
  const StreamFormat format(run.head, run.request.include_usage);
  while (!run.over()) {
    std::vector<AnswerEvent> events = co_await run.inbox->next();
    if (run.exchange.client_gone()) co_return;
    if (run.inbox->overrun()) {
      run.error = Error{ErrorCode::kTimeout,
                        Stage::kDecode,
                        "the client reads more slowly than tokens are made",
                        false,
                        {}};
    }
    std::string out = stream_bytes(run, format, events);
    if (run.error && !run.exchange.started()) {
      co_await send_error(run.exchange, *run.error);
      co_return;
    }
    if (out.empty() && !run.last_token) continue;
    if (!run.exchange.started()) {
      if (!co_await run.exchange.start(200, run.fields("text/event-stream"))) co_return;
      out.insert(0, format.opening());
    }
    if (!out.empty() && !co_await run.exchange.write(out)) co_return;
  }
  (void)co_await run.exchange.finish();
}

EngineRequest engine_request(const PodRequest& request, std::vector<TokenId> prompt) {
  EngineRequest out;
  out.prompt = std::move(prompt);
  out.lora = request.lora;
  out.sampling = request.sampling;
  out.cache_salt = request.cache_salt;
  out.publish = request.producer;
  out.receive = request.consumer;
  return out;
}

// The id that the router gave the request, or one of our own.
std::string answer_id(const http::Exchange& exchange, Api api) {
  const std::string_view prefix = api == Api::kChat ? "chatcmpl-" : "cmpl-";
  const std::string_view given = exchange.request().field("x-request-id");
  const auto plain = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '_' || c == '.';
  };
  if (!given.empty() && given.size() <= 128 && std::ranges::all_of(given, plain)) {
    return fmt::format("{}{}", prefix, given);
  }
  std::random_device device;
  return fmt::format("{}{:08x}{:08x}{:08x}", prefix, device(), device(), device());
}

std::int64_t unix_seconds() {
  using std::chrono::system_clock;
  return std::chrono::duration_cast<std::chrono::seconds>(system_clock::now().time_since_epoch())
      .count();
}

}  // namespace

AnswerText::AnswerText(const PodRequest& request, const GgufTokenizer& tokenizer)
    : stops_(request.stop), logprobs_(request.api, request.sampling.logprobs >= 0, tokenizer) {}

void AnswerText::add(const EngineToken& token) {
  ++tokens_;
  logprobs_.add(token);
  ready_ += stops_.push(characters_.push(token.piece));
}

AnswerPiece AnswerText::take() { return {std::exchange(ready_, {}), logprobs_.take()}; }

AnswerPiece AnswerText::finish() {
  ready_ += stops_.push(characters_.flush());
  ready_ += stops_.flush();
  return take();
}

http::Task<void> send_error(http::Exchange& exchange, Error error) {
  unsigned status = http_status_of(error.code);
  if (error.stage == Stage::kHandoff) {
    const bool later = error.code == ErrorCode::kUnavailable || error.code == ErrorCode::kTimeout;
    status = later ? 503 : 502;
    error.retryable = true;
  } else if (error.code == ErrorCode::kCancelled) {  // not by the client, who is still here
    status = 503;
    error.retryable = true;
  }
  if (status >= 500) {
    log(LogLevel::kWarn, "request failed",
        {{"request_id", exchange.request().field("x-request-id")},
         {"status", status},
         {"stage", name_of(error.stage)},
         {"error", error.message}});
  }
  (void)co_await exchange.send(status, {{"content-type", "application/json"}}, error_body(error));
}

http::Task<void> answer(http::Exchange& exchange, PodParts& parts, PodRequest request,
                        std::vector<TokenId> prompt, TimePoint arrived) {
  Run run(exchange, parts, request, arrived);
  run.head = {request.api, answer_id(exchange, request.api), request.model, unix_seconds()};
  run.inbox = std::make_shared<AnswerInbox>(co_await asio::this_coro::executor);
  const auto live = std::make_shared<LiveRequest>(
      parts.engine, parts.engine->submit(engine_request(request, std::move(prompt)), run.inbox));
  run.inbox->on_overrun([weak = std::weak_ptr(live), metrics = parts.metrics] {
    if (const auto still = weak.lock()) {
      metrics->slow_client();
      still->cancel();
    }
  });
  exchange.on_client_gone([weak = std::weak_ptr(run.inbox)] {
    if (const auto inbox = weak.lock()) inbox->wake();
  });
  if (request.stream && !request.producer) {
    co_await answer_stream(run);
  } else {
    co_await answer_whole(run);
  }
  if (run.over() && !run.text.stopped() && !run.inbox->overrun()) live->ended();
}

}  // namespace baton::adapters
