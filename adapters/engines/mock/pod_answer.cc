#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <chrono>
#include <utility>

#include "adapters/engines/mock/pod.h"

namespace baton::adapters::mock {
namespace {

using http::Exchange;
using RawEnd = Exchange::RawEnd;

// An HTTP answer as bytes, for faults in the framing.
std::string raw(const Answer& answer) {
  std::string bytes = "HTTP/1.1 " + std::to_string(answer.status) + " OK\r\n";
  for (const auto& [name, value] : answer.fields) {
    bytes.append(name).append(": ").append(value).append("\r\n");
  }
  bytes += "content-length: " + std::to_string(answer.body.size()) + "\r\n\r\n";
  return bytes + answer.body;
}

// Waits until the client leaves.
http::Task<void> wait_for_leave(http::asio::io_context& io, Exchange& exchange) {
  auto left = std::make_shared<Signal>(io);
  exchange.on_client_gone([left] { left->raise(); });
  co_await left->wait();
}

// Counts a request as open as long as it lives.
class OpenRequest {
 public:
  explicit OpenRequest(PodParts& parts) : parts_(parts) { ++parts_.open_requests; }
  OpenRequest(const OpenRequest&) = delete;
  OpenRequest& operator=(const OpenRequest&) = delete;
  ~OpenRequest() { --parts_.open_requests; }

 private:
  PodParts& parts_;
};

}  // namespace

http::Task<void> MockPod::generate(MockPod& pod, Exchange& exchange, Api api,
                                   const http::Request& request) {
  PodParts& parts = pod.parts_;
  const OpenRequest counted(parts);
  const auto record = parts.ledger.open(request, unix_now());
  if (parts.starting() || parts.dead) {
    Answer answer = pod.dress_->unavailable();
    record->status = answer.status;
    record->outcome = parts.dead ? "dead" : "starting";
    (void)co_await exchange.send(answer.status, answer.fields, std::move(answer.body));
    co_return;
  }
  auto wanted = pod.dress_->read(api, request, *record);
  if (!wanted) {
    Answer& answer = wanted.error();
    record->status = answer.status;
    record->outcome = "refused";
    pod.dress_->refused(*record);
    (void)co_await exchange.send(answer.status, answer.fields, std::move(answer.body));
    co_return;
  }
  record->leg = wanted->leg;
  record->id = wanted->id;
  co_await run(pod, exchange, std::move(*wanted), record);
}

http::Task<void> MockPod::run(MockPod& pod, Exchange& exchange, Generation wanted,
                              std::shared_ptr<RequestRecord> record) {
  PodParts& parts = pod.parts_;
  const Leg leg = wanted.leg;
  const auto fault = parts.faults.take_for_answer(leg);
  if (fault && co_await spoil_early(pod, exchange, *fault, *record)) co_return;

  auto rank = parts.ranks[static_cast<std::size_t>(wanted.rank)];
  const auto work = std::make_shared<Work>(parts.io, std::move(rank), parts.tokenizer,
                                           std::move(wanted), record, pod.shared_from_this());
  record->prompt_tokens = work->prompt_tokens();
  work->failure = work->wanted.late_failure;
  if (!work->failure) work->failure = pod.dress_->begin(work);
  pod.open_.insert(work.get());
  exchange.on_client_gone([weak = std::weak_ptr(work)] {
    if (const auto alive = weak.lock()) alive->leave();
  });
  if (!work->over()) {
    work->submit([&](std::size_t i, auto& spec) { pod.dress_->tune(*work, i, spec); },
                 [&] { return ++parts.last_sequence; });
  }
  if (fault && fault->kind != FaultKind::kSlowHeaders) {
    co_await spoil(pod, exchange, *fault, work);
  } else if (work->wanted.stream) {
    co_await answer_stream(pod, exchange, work);
  } else {
    co_await answer_whole(pod, exchange, work);
  }
  pod.open_.erase(work.get());
  if (!work->over() || exchange.client_gone()) work->leave();
  record->cached_tokens = work->cached_tokens.value_or(0);
  record->completion_tokens = work->completion_tokens();
  record->outcome = fault           ? std::string(name_of(fault->kind))
                    : work->left    ? "left"
                    : work->failure ? "failed"
                                    : "answered";
  pod.dress_->ended(*work);
  if (!work->left && parts.faults.take(leg, {FaultKind::kDieAfterPrefill})) {
    record->note("the pod dies");
    http::asio::post(parts.io, [&pod] { pod.stop(); });
  }
}

http::Task<void> MockPod::answer_whole(MockPod& pod, Exchange& exchange,
                                       const std::shared_ptr<Work>& work) {
  while (!work->over()) co_await work->changed.wait();
  if (!work->failure && !work->left) co_await pod.dress_->before_answer(work);
  if (work->left) co_return;
  Answer answer =
      work->failure ? Answer{work->failure->status, work->failure->body} : pod.dress_->whole(*work);
  work->record->status = answer.status;
  (void)co_await exchange.send(answer.status, answer.fields, std::move(answer.body));
}

http::Task<void> MockPod::answer_stream(MockPod& pod, Exchange& exchange,
                                        const std::shared_ptr<Work>& work) {
  Dress& dress = *pod.dress_;
  work->record->status = 200;
  (void)co_await exchange.start(200, dress.stream_fields());
  bool opened = false;
  for (;;) {
    while (!work->over() && !work->first_token_at) co_await work->changed.wait();
    if (work->left) co_return;
    std::string bytes;
    if (!opened) {
      if (!work->failure) co_await dress.before_answer(work);
      if (work->left) co_return;
      opened = !work->failure;
      if (opened) bytes += dress.opening(*work);
    }
    if (opened) {
      for (const Piece& piece : work->take_pieces()) bytes += dress.event(*work, piece);
    }
    if (work->failure && dress.cuts_failed_streams()) {
      exchange.abandon();
      co_return;
    }
    if (work->failure) bytes += dress.failure_events(*work->failure);
    const bool over = work->over();
    if (over && !work->failure) bytes += dress.closing(*work);
    if (!bytes.empty()) {
      const auto written = co_await exchange.write(bytes);
      if (!written) {
        work->leave();
        co_return;
      }
    }
    if (over) break;
    co_await work->changed.wait();
  }
  (void)co_await exchange.finish();
}

http::Task<Answer> MockPod::gather(MockPod& pod, const std::shared_ptr<Work>& work) {
  Dress& dress = *pod.dress_;
  while (!work->over()) co_await work->changed.wait();
  if (work->failure || work->left) {
    co_return work->failure ? Answer{work->failure->status, work->failure->body} : Answer();
  }
  co_await dress.before_answer(work);
  if (work->failure) co_return Answer{work->failure->status, work->failure->body};
  if (!work->wanted.stream) co_return dress.whole(*work);
  std::string events = dress.opening(*work);
  for (const Piece& piece : work->take_pieces()) events += dress.event(*work, piece);
  co_return Answer{200, events + dress.closing(*work), dress.stream_fields()};
}

// Faults that need no answer of the engine. True: the exchange is over.
http::Task<bool> MockPod::spoil_early(MockPod& pod, Exchange& exchange, const Fault& fault,
                                      RequestRecord& record) {
  record.note("fault " + std::string(name_of(fault.kind)));
  switch (fault.kind) {
    case FaultKind::kStatus: {
      record.status = static_cast<unsigned>(fault.value);
      const Json error = {{"message", "scripted fault"},
                          {"type", "InternalServerError"},
                          {"param", nullptr},
                          {"code", fault.value}};
      (void)co_await exchange.send(record.status, {{"content-type", "application/json"}},
                                   dump({{"error", error}}));
      break;
    }
    case FaultKind::kReset: co_await exchange.answer_raw("", RawEnd::kReset); break;
    case FaultKind::kNothing: co_await exchange.answer_raw("", RawEnd::kClose); break;
    case FaultKind::kGarbage:
      co_await exchange.answer_raw("\x16\x03\x01 this is no HTTP\n\n{]", RawEnd::kClose);
      break;
    case FaultKind::kHang: co_await wait_for_leave(pod.parts_.io, exchange); break;
    case FaultKind::kSlowHeaders: {
      http::asio::steady_timer timer(pod.parts_.io, std::chrono::milliseconds(fault.value));
      co_await timer.async_wait(http::asio::as_tuple(http::asio::use_awaitable));
      co_return false;
    }
    default: co_return false;
  }
  record.outcome = name_of(fault.kind);
  co_return true;
}

http::Task<void> MockPod::spoil(MockPod& pod, Exchange& exchange, const Fault& fault,
                                const std::shared_ptr<Work>& work) {
  constexpr std::size_t kTenMib = 10U << 20;
  Answer answer = co_await gather(pod, work);
  if (work->left) co_return;
  work->record->status = answer.status;
  std::string& body = answer.body;
  switch (fault.kind) {
    case FaultKind::kHalfClose: {
      const std::string bytes = raw(answer);
      co_await exchange.answer_raw(bytes.substr(0, bytes.size() - body.size() / 2),
                                   RawEnd::kHalfClose);
      co_return;
    }
    case FaultKind::kTwoResponses:
      co_await exchange.answer_raw(raw(answer) + raw(answer), RawEnd::kClose);
      co_return;
    case FaultKind::kIdleClose:
      co_await exchange.answer_raw(raw(answer), RawEnd::kClose);
      co_return;
    case FaultKind::kHalfJson: body.resize(body.size() / 2); break;
    case FaultKind::kErrorIn200: {
      const Failure failure = pod.dress_->internal_failure();
      body = work->wanted.stream ? pod.dress_->failure_events(failure) : failure.body;
      break;
    }
    case FaultKind::kCutUtf8: {
      const std::size_t half = body.find("\n\n");
      body.resize(half == std::string::npos ? body.size() / 2 : half + 2);
      if (work->wanted.stream) body += R"(data: {"choices":[{"index":0,"text":")";
      body += "\xe2\x82";
      break;
    }
    case FaultKind::kChunk10Mib:
      if (work->wanted.stream) {
        body.insert(0, ": " + std::string(kTenMib, 'x') + "\n\n");
      } else {
        body.append(kTenMib, ' ');
      }
      break;
    default: break;
  }
  if (!work->wanted.stream) {
    (void)co_await exchange.send(answer.status, answer.fields, std::move(body));
    co_return;
  }
  (void)co_await exchange.start(answer.status, answer.fields);
  (void)co_await exchange.write(body);
  if (fault.kind == FaultKind::kCutUtf8 || fault.kind == FaultKind::kHalfJson) {
    exchange.abandon();
  } else {
    (void)co_await exchange.finish();
  }
}

}  // namespace baton::adapters::mock
