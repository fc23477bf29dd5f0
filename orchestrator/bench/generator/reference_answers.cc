#include "orchestrator/bench/generator/reference_answers.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "adapters/http/syntax.h"
#include "core/json_fields.h"

namespace baton::orchestrator::bench {
namespace {

using End = ReferenceAnswer::End;
using Fault = ReferenceFault;

constexpr std::string_view kDone = "data: [DONE]\n\n";
constexpr std::string_view kPage = "<!DOCTYPE html>\n<html><body>Welcome</body></html>\n";
constexpr std::string_view kRefusal =
    R"({"error":{"message":"No.","type":"too_many","param":null,"code":"rate_limit_exceeded"}})";
constexpr std::string_view kBrokenEngine =
    "data: {\"error\":{\"message\":\"No.\",\"code\":\"engine_died\"}}\n\n";
constexpr std::string_view kLastChunk = "0\r\n\r\n";

std::string chunk(std::string_view bytes) {
  return bytes.empty() ? std::string() : fmt::format("{:x}\r\n{}\r\n", bytes.size(), bytes);
}

ReferenceAnswer at_once(std::string bytes) {
  ReferenceAnswer answer;
  answer.head = std::move(bytes);
  return answer;
}

std::string field_lines(const ReferenceOptions& options) {
  std::string lines;
  for (const auto& [name, value] : options.fields) {
    adapters::http::append_field(lines, name, value);
  }
  return lines;
}

}  // namespace

ReferenceAnswers::ReferenceAnswers(const ReferenceOptions& options)
    : timing_(options.timing),
      fault_(options.fault),
      fault_every_(std::max(options.fault_every, 1)),
      fault_status_(options.fault_status),
      texts_(options.model),
      fields_(field_lines(options)),
      chat_token_(chunk(texts_.token_event(true))),
      text_token_(chunk(texts_.token_event(false))),
      role_(chunk(texts_.role_event())) {}

std::string ReferenceAnswers::whole(unsigned status, std::string_view body, std::string_view fields,
                                    std::string_view content_type) {
  return fmt::format("HTTP/1.1 {} {}\r\ncontent-type: {}\r\n{}content-length: {}\r\n\r\n{}", status,
                     adapters::http::reason_phrase(status), content_type, fields, body.size(),
                     body);
}

ReferenceAnswer ReferenceAnswers::answer(const adapters::http::Request& request) {
  const std::string_view path = request.path();
  if (path == "/v1/chat/completions") return completion(request.body, true);
  if (path == "/v1/completions") return completion(request.body, false);
  if (path == "/v1/models") return at_once(whole(200, texts_.models()));
  if (path == "/health") return at_once(whole(200, "{}"));
  if (path == "/tokenize") {
    const auto tokens = ReferenceTexts::tokenized(request.body);
    return at_once(tokens ? whole(200, *tokens) : whole(400, R"({"error":{}})"));
  }
  return at_once(whole(404, R"({"error":{"code":"not_found"}})"));
}

ReferenceAnswer ReferenceAnswers::completion(std::string_view body, bool chat) {
  const auto ask = read_reference_ask(body, chat, timing_);
  if (!ask) {
    return at_once(whole(400, R"({"error":{"message":)" + json_quote(ask.error().message) +
                                  R"(,"type":"invalid_request_error","code":"bad_request"}})"));
  }
  const Fault fault = ++completions_ % fault_every_ == 0 ? fault_ : Fault::kNone;
  ReferenceAnswer answer;
  answer.completion = true;
  answer.id = ask->id;
  if (fault == Fault::kStatus) {
    answer.head = whole(fault_status_, kRefusal);
  } else if (fault == Fault::kHtml) {
    answer.head = whole(200, kPage, own_fields(), "text/html");
  } else if (fault == Fault::kReset) {
    answer.end = End::kReset;
  } else if (fault == Fault::kHang) {
    answer.end = End::kHold;
  } else if (ask->stream) {
    answer_stream(answer, *ask, fault);
  } else {
    answer_whole(answer, *ask, fault);
  }
  return answer;
}

std::string ReferenceAnswers::own_fields() const {
  return fmt::format("x-request-id: reference-{}\r\n{}", completions_, fields_);
}

void ReferenceAnswers::answer_whole(ReferenceAnswer& answer, const ReferenceAsk& ask,
                                    Fault fault) const {
  std::string body = texts_.whole_answer(ask);
  if (fault == Fault::kOtherJson) body = R"({"object":"list","data":[]})";
  if (fault == Fault::kEmptyStream) body.clear();
  answer.head = whole(200, body, own_fields());
  answer.first = ask.timing.ttft + ask.timing.gap * std::max(ask.timing.tokens - 1, 0);
  answer.tokens = 1;  // one write, which the head holds
}

void ReferenceAnswers::answer_stream(ReferenceAnswer& answer, const ReferenceAsk& ask,
                                     Fault fault) const {
  fmt::format_to(std::back_inserter(answer.head),
                 "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
                 "transfer-encoding: chunked\r\n{}\r\n",
                 own_fields());
  if (fault == Fault::kEmptyStream) {
    answer.tail = kLastChunk;
    return;
  }
  if (ask.timing.role_first) {
    answer.head += role_;
    answer.head_at_once = true;
  }
  answer.first = ask.timing.ttft;
  answer.gap = ask.timing.gap;
  answer.token = ask.chat ? chat_token_ : text_token_;
  const bool half = fault == Fault::kErrorEvent || fault == Fault::kCut || fault == Fault::kStall;
  answer.tokens = half ? (ask.timing.tokens + 1) / 2 : ask.timing.tokens;
  if (fault == Fault::kCut) {
    answer.end = End::kClose;
  } else if (fault == Fault::kStall) {
    answer.end = End::kHold;
  } else {
    answer.tail = chunk(events_at_end(ask, fault));
    answer.end = fault == Fault::kOpenEnd ? End::kHold : End::kKeep;
    if (answer.end == End::kKeep) answer.tail += kLastChunk;
  }
}

std::string ReferenceAnswers::events_at_end(const ReferenceAsk& ask, Fault fault) const {
  if (fault == Fault::kErrorEvent) return std::string(kBrokenEngine);
  if (fault == Fault::kOtherJson) return "data: {\"hello\":1}\n\n";
  std::string events;
  if (ask.timing.usage || fault == Fault::kUsageTwice) events += texts_.usage_event(ask);
  if (fault == Fault::kUsageTwice) events += texts_.usage_event(ask);
  if (fault != Fault::kNoDone) events += kDone;
  return events;
}

}  // namespace baton::orchestrator::bench
