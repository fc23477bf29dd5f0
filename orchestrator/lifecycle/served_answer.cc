// The answering half of ServedRequest: what the client gets, and the account afterwards.
#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <utility>

#include "core/log.h"
#include "orchestrator/http/openai_error.h"
#include "orchestrator/lifecycle/served_request.h"
#include "orchestrator/planning/admission.h"
#include "orchestrator/planning/explain.h"

namespace baton::orchestrator {
namespace {

using Kind = LegActionKind;

constexpr std::size_t kLongestTiming = 1024;

bool is_printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= ' ' && c < 0x7F; });
}

// The decode pod's own times with the router's and the prefill pod's added.
std::string timing_with_plan(std::string_view timing, Duration plan, int retries,
                             std::string_view prefill) {
  const auto plan_us = std::chrono::duration_cast<std::chrono::microseconds>(plan).count();
  std::string json = R"({"plan_us":)" + std::to_string(plan_us);
  json.append(R"(,"retries":)").append(std::to_string(retries));
  for (const std::string_view key : {"queue_ms", "prefill_ms"}) {
    const auto ms = read_number(prefill, key);
    if (ms) json.append(R"(,"prefill_pod_)").append(key).append("\":").append(std::to_string(*ms));
  }
  const bool usable = timing.size() > 2 && timing.size() <= kLongestTiming &&
                      timing.starts_with('{') && timing.ends_with('}') && is_printable(timing);
  if (!usable) return json + "}";
  json += ',';
  json += timing.substr(1);
  return json;
}

// What a client is told of a failure that no other pod could mend. Pods' own words may hold
// addresses, so they stay in the log.
Error error_for_client(const Error& error, int attempts) {
  Error told{error.code, error.stage, {}, error.retryable};
  switch (error.stage) {
    case Stage::kPrefill: told.message = "Computing the prompt failed"; break;
    case Stage::kHandoff: told.message = "Handing the KV cache to the decode pod failed"; break;
    case Stage::kDecode: told.message = "Producing the answer failed"; break;
    default: told.message = "Serving the request failed"; break;
  }
  told.message += ": ";
  told.message += name_of(error.code);
  if (attempts > 1) told.message += ", after " + std::to_string(attempts) + " attempts";
  told.message += ".";
  return told;
}

unsigned status_for_client(const Error& error) {
  if (error.retryable) return 503;
  const unsigned status = http_status_of(error.code);
  return status > 500 ? status : 502;
}

}  // namespace

Task<void> ServedRequest::answer() {
  switch (*verdict_) {
    case Kind::kRelay:
      note_first_byte();
      if (decode_->answer) {
        co_await answer_stream();
      } else {
        co_await answer_whole();
      }
      break;
    case Kind::kAnswerWhole:
      note_first_byte();
      co_await answer_prefills();
      break;
    case Kind::kAnswerPodsError: co_await answer_pods_error(); break;
    case Kind::kAnswerError:
      if (refused_by_) {
        co_await answer_refusal();
      } else {
        co_await answer_error();
      }
      break;
    default: break;  // the client left: nobody reads an answer
  }
}

Task<void> ServedRequest::answer_prefills() {
  prefill_->content_type = std::move(prefills_answer_->content_type);
  usage_ = read_usage(prefills_answer_->body);
  const auto sent =
      co_await exchange_.send(200, answer_fields(*prefill_), std::move(prefills_answer_->body));
  (void)(sent ? policy_.stream_ended() : policy_.client_left());
  if (sent) end_as(Outcome::kOk, 200);
}

// The client is told what the prefill pod had, where the decode pod cannot know it.
std::optional<CachedTokensFilter> ServedRequest::own_cached_tokens() const {
  const bool wanted = fetched_ && prefill_usage_ && pool_.connector.counts_fetched_as_cached();
  if (!wanted) return std::nullopt;
  return CachedTokensFilter(prefill_usage_->cached.count());
}

Task<void> ServedRequest::answer_whole() {
  if (auto cached = own_cached_tokens()) {
    std::string body(cached->feed(decode_->body));
    decode_->body = body.append(cached->rest());
  }
  usage_ = read_usage(decode_->body);
  const auto sent = co_await exchange_.send(200, answer_fields(*decode_), std::move(decode_->body));
  (void)(sent ? policy_.stream_ended() : policy_.client_left());
  if (sent) end_as(Outcome::kOk, 200);
}

Task<void> ServedRequest::answer_stream() {
  const bool events = is_event_stream(decode_->content_type);
  http::Fields fields = answer_fields(*decode_);
  if (events) fields.emplace_back("cache-control", "no-cache");
  std::optional<CachedTokensFilter> cached = own_cached_tokens();
  CachedTokensFilter* const filter = cached ? &*cached : nullptr;
  RelayResult result;
  const auto started = co_await exchange_.start(200, std::move(fields));
  if (started && !client_gone_) {
    relaying_ = true;
    try {
      result = co_await asio::co_spawn(
          context_.io(),
          relay(decode_->begun, decode_->answer.get(), &exchange_, &watch_, filter,
                [this] { on_first_event(); }),
          asio::bind_cancellation_slot(relay_cancel_.slot(), asio::use_awaitable));
    } catch (const boost::system::system_error&) {
      result.end = RelayEnd::kClientLeft;
    }
    relaying_ = false;
    stream_ended_ = StreamMark::of(context_.loads().of(plan_.decode->index), Clock::now());
  }
  usage_ = read_usage(watch_.tail());
  if (watch_.engine_error() || (events && !watch_.done())) decode_->answer->do_not_keep();
  if (decode_->answer->has_surplus()) {
    blame_decode(
        {ErrorCode::kUpstream, Stage::kDecode, "its answer is followed by what nobody asked for"});
  }
  decode_->answer.reset();
  const bool whole = events ? watch_.done() : result.end == RelayEnd::kWhole;
  const bool client_left = result.end == RelayEnd::kClientLeft;
  if (!client_left && !whole) {
    if (result.end == RelayEnd::kWhole) {
      result.error = {ErrorCode::kUpstream, Stage::kDecode, "the stream ended without [DONE]"};
    }
    co_await end_with_error_event(std::move(result.error));
    co_return;
  }
  if (client_left || !co_await exchange_.finish()) {
    (void)policy_.client_left();
    co_return;
  }
  (void)policy_.stream_ended();
  end_as(watch_.engine_error() ? Outcome::kCutShort : Outcome::kOk, 200);
}

// Of what was wrong with an answer that had begun.
void ServedRequest::blame_decode(const Error& error) {
  context_.loads()
      .of(plan_.decode->index)
      .consecutive_errors.fetch_add(1, std::memory_order_relaxed);
  last_failure_ = plan_.decode->pod.name + ": " + error.message;
  count_failure(error);
}

Task<void> ServedRequest::end_with_error_event(Error error) {
  error.stage = Stage::kDecode;
  blame_decode(error);
  const Error told{error.code, Stage::kDecode, "The decode pod failed in the stream.", false};
  (void)policy_.stream_failed(std::move(error));
  end_as(Outcome::kCutShort, 200);
  if (is_event_stream(decode_->content_type) && !watch_.engine_error()) {
    std::string event = watch_.inside_event() ? "\n\n" : "";
    event += openai_error_event(told);
    (void)co_await exchange_.write(event);
  }
  exchange_.abandon();
}

Task<void> ServedRequest::answer_pods_error() {
  http::Fields fields = {{"x-request-id", head_.request_id}};
  if (!refused_->content_type.empty()) {
    fields.emplace_back("content-type", refused_->content_type);
  }
  const unsigned status = refused_->status;
  const auto sent = co_await exchange_.send(status, std::move(fields), std::move(refused_->body));
  if (sent) end_as(Outcome::kClientError, status);
}

Task<void> ServedRequest::answer_error() {
  const Error& error = policy_.error();
  const bool tried = prefill_ != nullptr || decode_ != nullptr;
  const Error told = tried ? error_for_client(error, policy_.attempts()) : error;
  const unsigned status = tried ? status_for_client(error) : http_status_of(error.code);
  http::Fields fields = {{"x-request-id", head_.request_id}, {"content-type", "application/json"}};
  if (status == 503) fields.emplace_back("retry-after", "1");
  const auto sent =
      co_await exchange_.send(status, std::move(fields), openai_error_json(told, status));
  if (sent) end_as(Outcome::kUnavailable, status);
}

Task<void> ServedRequest::answer_refusal() {
  constexpr unsigned kTooMany = 429;
  http::Fields fields = {{"x-request-id", head_.request_id},
                         {"content-type", "application/json"},
                         {"retry-after", std::to_string(retry_after_seconds(*refused_by_))}};
  if (!refused_plan_.empty()) fields.emplace_back("x-baton-plan", std::move(refused_plan_));
  const auto sent = co_await exchange_.send(
      kTooMany, std::move(fields), openai_error_json(policy_.error(), kTooMany, "slo_unreachable"));
  if (sent) end_as(Outcome::kRefused, kTooMany);
}

http::Fields ServedRequest::answer_fields(const Leg& leg) const {
  http::Fields fields;
  fields.reserve(8);
  fields.emplace_back("x-request-id", head_.request_id);
  if (!leg.content_type.empty()) fields.emplace_back("content-type", leg.content_type);
  if (!context_.config().expose_plan) return fields;
  if (plan_.prefill) fields.emplace_back("x-baton-prefill", plan_.prefill->pod.name);
  fields.emplace_back("x-baton-decode", plan_.decode->pod.name);
  fields.emplace_back(
      "x-baton-timing",
      timing_with_plan(leg.timing, plan_time_, policy_.attempts() - 1, prefill_response_.body));
  if (head_.explain) fields.emplace_back("x-baton-plan", explain_json(plan_));
  return fields;
}

void ServedRequest::note_first_byte() {
  first_byte_at_ = Clock::now();
  const bool split = plan_.kind == PlanKind::kSplit;
  (split ? pool_.metrics.ttft_split : pool_.metrics.ttft_decode_only)
      .Observe(to_seconds(first_byte_at_ - head_.accepted_at));
  if (prefills_answer_) plan_.decode = plan_.prefill;  // no other pod saw anything of it
  pool_.planner.confirm(plan_, wanted_, first_byte_at_);
}

void ServedRequest::end_as(Outcome outcome, unsigned status) {
  outcome_ = outcome;
  status_ = status;
}

void ServedRequest::settle() {
  const TimePoint now = Clock::now();
  account_ = {};
  pool_.metrics.requests(outcome_).Increment();
  if (policy_.retry_refused()) pool_.metrics.retries_refused.Increment();
  if (first_byte_at_ != TimePoint{}) {
    settle_handoff();
    settle_tokens(now);
  }
  log_end(now);
}

void ServedRequest::settle_handoff() {
  if (plan_.kind != PlanKind::kSplit || decode_ == nullptr) return;
  const std::string_view timing = decode_->timing;
  const auto bytes = read_number(timing, "kv_bytes");
  if (bytes && *bytes > 0) {
    pool_.metrics.handoff_bytes(read_text(timing, "transport")).Increment(*bytes);
  }
  const auto exposed = read_number(timing, "exposed_transfer_ms");
  if (!exposed || *exposed < 0) return;
  pool_.metrics.handoff_seconds.Observe(*exposed / 1e3);
  if (bytes && *bytes > 0) learn_transfer(*bytes, *exposed / 1e3);
}

void ServedRequest::settle_tokens(TimePoint now) {
  const std::optional<Usage>& prompt = prefill_usage_ ? prefill_usage_ : usage_;
  if (prompt) {
    pool_.metrics.prompt_tokens.Increment(static_cast<double>(prompt->prompt.count()));
    pool_.metrics.cached_tokens.Increment(static_cast<double>(prompt->cached.count()));
    if (!prefill_usage_) pool_.learn_ratio(prompt_bytes_, prompt->prompt);
  }
  const std::int64_t tokens = usage_ ? usage_->completion.count() : watch_.events();
  if (outcome_ == Outcome::kOk && tokens > 0) pool_.learn_output(tokens);
  if (outcome_ == Outcome::kOk && watch_.events() > 1 && tokens > 1) {
    pool_.metrics.tpot.Observe(to_seconds(now - first_byte_at_) / static_cast<double>(tokens - 1));
    learn_pace(tokens);
  }
}

void ServedRequest::log_end(TimePoint now) const {
  const LogLevel level = outcome_ == Outcome::kUnavailable || outcome_ == Outcome::kCutShort
                             ? LogLevel::kWarn
                             : LogLevel::kInfo;
  if (!log_enabled(level)) return;
  const std::optional<Usage>& prompt = prefill_usage_ ? prefill_usage_ : usage_;
  const bool planned = plan_.decode != nullptr;
  const bool split = planned && plan_.kind == PlanKind::kSplit;
  const bool begun = first_byte_at_ != TimePoint{};
  log(level, "request",
      {{"request_id", head_.request_id},
       {"pool", pool_.config.name},
       {"outcome", name_of(outcome_)},
       {"status", status_},
       {"plan", split ? "split" : "decode_only"},
       {"prefill", split ? std::string_view(plan_.prefill->pod.name) : ""},
       {"decode", planned ? std::string_view(plan_.decode->pod.name) : ""},
       {"attempts", policy_.attempts()},
       {"prompt_tokens", prompt ? prompt->prompt.count() : wanted_.prompt.count()},
       {"cached_tokens", prompt ? prompt->cached.count() : 0},
       {"completion_tokens", usage_ ? usage_->completion.count() : 0},
       {"events", watch_.events()},
       {"plan_us", std::chrono::duration_cast<std::chrono::microseconds>(plan_time_).count()},
       {"ttft_ms", begun ? to_ms(first_byte_at_ - head_.accepted_at) : 0.0},
       {"total_ms", to_ms(now - head_.accepted_at)}});
}

}  // namespace baton::orchestrator
