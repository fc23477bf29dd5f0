#include "orchestrator/bench/generator/flight.h"

#include <boost/asio/this_coro.hpp>
#include <utility>

#include "orchestrator/bench/generator/answer_reader.h"
#include "orchestrator/bench/generator/failure_reason.h"
#include "orchestrator/bench/generator/stage_times.h"

namespace baton::orchestrator::bench {
namespace {

namespace http = adapters::http;
using http::Task;
using Cancel = Flight::Cancel;

constexpr Bytes kErrorBody{64 << 10};
// How long a server may take from [DONE] to the end of the body before its connection is given up.
constexpr Duration kDrainTime = std::chrono::milliseconds(500);
// A client that leaves before the first token leaves when the server has surely begun.
constexpr Duration kLeaveDelay = std::chrono::milliseconds(10);

void end_as(RequestRecord& record, Duration at, Failure failure) {
  record.ended = at;
  record.outcome = failure.outcome;
  record.reason = std::move(failure.reason);
}

void end_cancelled(const Flight& flight, RequestRecord& record, Duration at) {
  record.ended = at;
  record.outcome = flight.cancelled == Cancel::kLeft ? Outcome::kLeft : Outcome::kUnfinished;
}

void note_head(const http::ClientExchange& answer, RequestRecord& record) {
  record.status = answer.status();
  record.request_id = answer.field("x-request-id");
  record.stages = read_stage_times(answer.field("x-baton-timing"), answer.field("x-baton-prefill"),
                                   answer.field("x-baton-decode"));
}

void note_progress(RunProgress& progress, const RequestRecord& record, int tokens_before) {
  progress.output_tokens += record.token_events - tokens_before;
  if (tokens_before == 0 && record.token_events > 0) {
    progress.ttft_ms.push_back(to_ms(record.first_token - record.sent));
  }
}

bool leaves_now(const Flight& flight) {
  return flight.leave_after_tokens && flight.record.streamed &&
         flight.record.token_events >= *flight.leave_after_tokens;
}

Task<void> read_answer(const FlightContext& context, Flight& flight, http::ClientExchange& answer) {
  RequestRecord& record = flight.record;
  AnswerReader reader(record, record.streamed, flight.keep_text);
  for (;;) {
    const auto piece = co_await answer.read_some();
    const Duration at = piece ? answer.received_at() - context.start : context.now();
    const bool done = reader.state() == AnswerReader::State::kDone;
    if (done && (!piece || piece->empty())) co_return;
    if (!piece && piece.error().code == ErrorCode::kCancelled) {
      end_cancelled(flight, record, at);
      co_return;
    }
    const int tokens_before = record.token_events;
    if (!piece) {
      const Failure failure = failure_in_answer(piece.error(), context.timeout);
      reader.cut(at, failure.reason);
      if (record.outcome != Outcome::kCompleted) record.outcome = failure.outcome;
    } else if (piece->empty()) {
      reader.finish(at);
    } else {
      reader.feed(*piece, at);
    }
    note_progress(*context.progress, record, tokens_before);
    if (!piece || piece->empty() || reader.state() == AnswerReader::State::kFailed) co_return;
    if (reader.state() == AnswerReader::State::kDone) {
      if (!done) context.cancel_later(flight, Cancel::kDrained, kDrainTime);
    } else if (leaves_now(flight)) {
      flight.cancelled = Cancel::kLeft;
      end_cancelled(flight, record, at);
      co_return;
    }
  }
}

}  // namespace

Task<void> fly(const FlightContext* context, Flight* flight) {
  co_await boost::asio::this_coro::throw_if_cancelled(false);
  RequestRecord& record = flight->record;
  record.sent = context->now();
  if (flight->leave_after_tokens == 0) {
    context->cancel_later(*flight, Cancel::kLeft, kLeaveDelay);
  }
  const auto answer =
      co_await context->client->send(context->host, context->port, std::move(flight->request));
  if (!answer) {
    const Duration at = context->now();
    if (answer.error().code == ErrorCode::kCancelled) {
      end_cancelled(*flight, record, at);
    } else {
      end_as(record, at, failure_before_answer(answer.error(), context->timeout));
    }
    co_return;
  }
  note_head(**answer, record);
  if (record.status == 200) {
    co_await read_answer(*context, *flight, **answer);
    co_return;
  }
  const auto body = co_await (*answer)->read_all(kErrorBody);
  end_as(record, context->now(), failure_of_status(record.status, body.value_or("")));
}

}  // namespace baton::orchestrator::bench
