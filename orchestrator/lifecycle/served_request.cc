#include "orchestrator/lifecycle/served_request.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/system/system_error.hpp>
#include <utility>

#include "core/log.h"
#include "core/pairing.h"
#include "orchestrator/http/openai_error.h"
#include "orchestrator/lifecycle/describe.h"
#include "orchestrator/lifecycle/learn_tokens.h"
#include "orchestrator/planning/admission.h"
#include "orchestrator/planning/explain.h"

namespace baton::orchestrator {
namespace {

using Kind = LegActionKind;

std::string message_of(const std::exception_ptr& failure) {
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "unknown exception";
  }
}

// A decode pod that could not be reached, or had no room, has fetched nothing.
bool was_not_taken(const Leg& leg) {
  if (leg.error) return leg.error->code == ErrorCode::kUnavailable;
  return leg.status == 503 || leg.status == 429;
}

// Gives a hand-off back beside the request, which need not wait for it. The pod's own time to live
// is the bound where this fails.
Task<void> give_back(PoolContext* pool, std::shared_ptr<const PodEntry> pod,
                     http::ClientRequest request, unsigned expected) {
  auto answer =
      co_await pool->release_client->send(pod->pod.host, pod->pod.port, std::move(request));
  const unsigned status = answer ? (*answer)->status() : 0;
  if (expected == 0 ? status / 100 == 2 : status == expected) {
    pool->metrics.releases_ok.Increment();
    co_return;
  }
  pool->metrics.releases_failed.Increment();
  log(LogLevel::kWarn, "lease not released",
      {{"pool", pool->config.name},
       {"pod", pod->pod.name},
       {"why", answer ? "status " + std::to_string(status) : answer.error().message}});
}

}  // namespace

ServedRequest::ServedRequest(ThreadContext& context, const ModelTarget& target,
                             http::Exchange& exchange, OpenAiRequest request, RequestHead head)
    : context_(context),
      pool_(*target.pool),
      exchange_(exchange),
      request_(std::move(request)),
      head_(std::move(head)),
      policy_(pool_.connector.dispatch(), context.retry_budget()),
      wanted_(describe(request_, pool_, target.lora, head_.explain)),
      prompt_bytes_(wanted_.blocks.text_bytes),
      alarm_(context.io()) {
  key_.request_id = head_.request_id;
  key_.served_model = target.served_model;
  wanted_.slo = head_.slo;
  learn_tokens(context_, pool_, request_, wanted_);
  request_.canonical_text = {};  // described: a long prompt need not be held twice
  ++context_.open_requests;
  pool_.metrics.open_requests.Increment();
}

ServedRequest::~ServedRequest() {
  stop_waiting();
  disown_legs();
  --context_.open_requests;
  pool_.metrics.open_requests.Decrement();
}

Task<void> ServedRequest::run() {
  try {
    co_await live();
  } catch (...) {  // a defect of ours: the server answers for it
    exchange_.on_client_gone([] {});
    for (const auto& leg : running_) {
      leg->cancelled = true;
      leg->cancel.emit(asio::cancellation_type::terminal);
    }
    throw;
  }
}

Task<void> ServedRequest::live() {
  exchange_.on_client_gone([this] { on_client_gone(); });
  carry_out(client_gone_ ? policy_.client_left() : policy_.start(Clock::now()));
  while (!verdict_) {
    const bool news = client_gone_ || prefill_ended_ || decode_ended_ || pods_changed_;
    if (!news) co_await sleep_until(alarm_at_);
    look();
  }
  stop_waiting();
  co_await answer();
  exchange_.on_client_gone([] {});
  while (!running_.empty()) co_await sleep_until(TimePoint::max());
  settle();
}

Task<void> ServedRequest::sleep_until(TimePoint time) {
  alarm_.expires_at(time);
  co_await alarm_.async_wait(asio::as_tuple(asio::use_awaitable));
}

void ServedRequest::look() {
  if (client_gone_) {
    carry_out(policy_.client_left());
    return;
  }
  if (std::exchange(prefill_ended_, false)) carry_out(judge_prefill());
  if (!verdict_ && std::exchange(decode_ended_, false)) carry_out(judge_decode());
  if (verdict_) return;
  if (std::exchange(pods_changed_, false)) carry_out(policy_.pods_changed());
  if (!verdict_ && alarm_at_ != TimePoint::max() && Clock::now() >= alarm_at_) {
    alarm_at_ = TimePoint::max();
    const TimePoint now = Clock::now();
    const bool looks_again = is_waiting_ && now < give_up_at_;
    carry_out(looks_again ? policy_.pods_changed() : policy_.wait_over(now));
  }
}

void ServedRequest::on_leg_ended(const std::shared_ptr<Leg>& leg,
                                 const std::exception_ptr& failure) {
  if (leg->owner == nullptr) return;
  ServedRequest& self = *leg->owner;
  std::erase(self.running_, leg);
  self.wake();
  if (leg->cancelled) return;
  if (failure) leg->error = Error{ErrorCode::kInternal, leg->stage, message_of(failure), true};
  (leg == self.prefill_ ? self.prefill_ended_ : self.decode_ended_) = true;
}

void ServedRequest::disown_legs() {
  for (const auto& leg : running_) leg->owner = nullptr;
}

void ServedRequest::on_client_gone() {
  client_gone_ = true;
  if (relaying_) {
    relay_cancel_.emit(asio::cancellation_type::terminal);
  } else {
    wake();
  }
}

void ServedRequest::carry_out(LegSteps steps) {
  for (std::size_t i = 0; i < steps.size(); ++i) {
    switch (steps[i].kind) {
      case Kind::kPlan:  // always the last of its turn
        steps = seek_plan(steps[i].scope);
        i = static_cast<std::size_t>(-1);
        break;
      case Kind::kWaitForPods: wait_for_pods(); break;
      case Kind::kAwaitPrefill: alarm_at_ = Clock::now() + kVerdictTime; break;
      case Kind::kNewHandoff:
        key_.transfer_id = TransferId::draw(context_.random());
        handed_on_ = false;
        break;
      case Kind::kSendPrefill: send_leg(Stage::kPrefill); break;
      case Kind::kSendDecode: send_leg(Stage::kDecode); break;
      case Kind::kCancelPrefill: cancel_prefill(); break;
      case Kind::kCancelDecode: cancel_decode(); break;
      case Kind::kReleaseBlocks: release_blocks(); break;
      case Kind::kExcludePrefill:
        wanted_.excluded_prefill.push_back(plan_.prefill->pod.name);
        pool_.metrics.retries.Increment();
        break;
      case Kind::kExcludeDecode:
        wanted_.excluded_decode.push_back(plan_.decode->pod.name);
        pool_.metrics.retries.Increment();
        break;
      case Kind::kRelay:
      case Kind::kAnswerWhole:
      case Kind::kAnswerPodsError:
      case Kind::kAnswerError:
      case Kind::kEndWithErrorEvent:
      case Kind::kEnd: verdict_ = steps[i].kind; break;
    }
  }
}

LegSteps ServedRequest::seek_plan(PlanScope scope) {
  stop_waiting();
  alarm_at_ = TimePoint::max();
  account_ = {};  // a retry's own load must not stand in its way
  if (plan_.decode != nullptr) pool_.planner.withdraw(plan_, wanted_);  // nor its own belief
  const TimePoint began = Clock::now();
  wanted_.waited = began - head_.accepted_at;
  Result<Plan> plan = plan_in_scope(pool_, wanted_, scope, plan_, began, context_.random()());
  if (!plan) return policy_.no_plan(std::move(plan.error()));
  if (is_refused(*plan)) return policy_.no_plan(refusal(wanted_.slo, plan->verdict));
  plan_ = std::move(*plan);
  account_ = pool_.planner.commit(plan_, wanted_, began);
  if (prefill_response_.status == 200) {  // its work is done
    account_.prefill.finish();
    account_.decode.decode_begins();
  }
  plan_time_ = Clock::now() - began;
  pool_.metrics.plan_seconds.Observe(to_seconds(plan_time_));
  return policy_.planned(plan_.kind);
}

// Once a request: what has begun is tried to the end.
bool ServedRequest::is_refused(const Plan& plan) {
  if (std::exchange(is_judged_, true)) return false;
  const SloVerdict& verdict = plan.verdict;
  if (verdict.ttft_over_seconds > 0) pool_.metrics.ttft_misses.Increment();
  if (verdict.tpot_over_seconds > 0) pool_.metrics.tpot_misses.Increment();
  if (!verdict.is_refused) return false;
  refused_by_ = verdict;
  if (head_.explain) refused_plan_ = explain_json(plan);
  return true;
}

void ServedRequest::send_leg(Stage stage) {
  const bool is_prefill = stage == Stage::kPrefill;
  auto leg = std::make_shared<Leg>();
  leg->owner = this;
  leg->stage = stage;
  leg->pod = is_prefill ? plan_.prefill : plan_.decode;
  // No prompt of ours waits there but the one to be sent; and yet the pod may say that some do.
  const bool is_only = context_.loads().of(leg->pod->index).waiting_prompts.load() <= 1;
  leg->behind_others = is_only && leg->pod->state.waiting > 0;
  leg->is_alone = is_only && !leg->behind_others;
  (is_prefill ? prefill_ : decode_) = leg;
  const bool has_answer = pool_.connector.dispatch() == adapters::Dispatch::kSequential &&
                          plan_.kind == PlanKind::kSplit && prefill_response_.status == 200;
  const adapters::PrefillResponse* prefill = has_answer ? &prefill_response_ : nullptr;
  const bool await_event =
      !is_prefill && plan_.kind == PlanKind::kSplit && pool_.connector.may_fail_in_stream();
  handed_on_ = handed_on_ || prefill != nullptr;  // or found to be what must not be
  Result<adapters::LegRequest> wanted;
  if (is_prefill) {
    wanted = pool_.connector.prefill_leg(request_, plan_, key_);
  } else if (prefill != nullptr && lease_is_over()) {
    wanted =
        fail(ErrorCode::kStale, Stage::kHandoff, "the prefill pod's lease is running out", true);
  } else {
    wanted = pool_.connector.decode_leg(request_, plan_, key_, prefill);
  }
  if (!wanted) {
    leg->error = std::move(wanted.error());
    (is_prefill ? prefill_ended_ : decode_ended_) = true;
    return;
  }
  if (!is_prefill) fetched_ = plan_.kind == PlanKind::kSplit && wanted->no_handoff.empty();
  if (!wanted->no_handoff.empty()) {
    pool_.metrics.handoffs_absent.Increment();
    log(LogLevel::kWarn, "no hand-off",
        {{"request_id", head_.request_id},
         {"pool", pool_.config.name},
         {"pod", plan_.prefill->pod.name},
         {"why", wanted->no_handoff}});
  }
  http::ClientRequest sent;
  sent.method = std::move(wanted->method);
  sent.target = std::move(wanted->target);
  sent.fields = leg_fields(*wanted);
  sent.body = std::move(wanted->body);
  const Bytes whole_up_to = is_prefill ? kWholeAnswer : context_.config().limits.stream_buffer;
  running_.push_back(leg);
  asio::co_spawn(
      context_.io(), run_leg(pool_.client.get(), leg, std::move(sent), whole_up_to, await_event),
      asio::bind_cancellation_slot(leg->cancel.slot(), [leg](const std::exception_ptr& failure) {
        on_leg_ended(leg, failure);
      }));
}

http::Fields ServedRequest::leg_fields(const adapters::LegRequest& leg) const {
  http::Fields fields;
  fields.reserve(3 + leg.fields.size());
  if (!leg.body.empty()) fields.emplace_back("content-type", "application/json");
  const bool has_own_id = std::ranges::any_of(
      leg.fields, [](const auto& field) { return field.first == "x-request-id"; });
  if (!has_own_id) fields.emplace_back("x-request-id", head_.request_id);
  if (!head_.traceparent.empty()) fields.emplace_back("traceparent", head_.traceparent);
  fields.insert(fields.end(), leg.fields.begin(), leg.fields.end());
  return fields;
}

void ServedRequest::cancel_prefill() {
  prefill_ended_ = false;
  prefill_->cancelled = true;
  prefill_->cancel.emit(asio::cancellation_type::terminal);
}

void ServedRequest::cancel_decode() {
  decode_ended_ = false;
  decode_->cancelled = true;
  decode_->answer.reset();  // closes the connection where the leg's coroutine is over
  decode_->cancel.emit(asio::cancellation_type::terminal);
  decode_.reset();
}

void ServedRequest::release_blocks() {
  adapters::PrefillResponse given = std::exchange(prefill_response_, {});
  if (given.status == 0 && prefill_->status == 200) {  // it came, and nobody has looked at it
    given = {200, std::move(prefill_->body)};
  }
  const bool is_kept = given.status == 200 && !handed_on_;
  const auto release = pool_.connector.release(plan_, key_, is_kept ? &given : nullptr);
  if (!release) return;
  const adapters::LegRequest& wanted = release->request;
  http::ClientRequest request;
  request.method = wanted.method;
  request.target = wanted.target;
  request.fields = leg_fields(wanted);
  request.body = wanted.body;
  const auto pod = release->pod == Stage::kDecode ? releasing_pod() : prefill_->pod;
  ThreadContext* context = &context_;
  ++context->open_releases;
  asio::co_spawn(context_.io(), give_back(&pool_, pod, std::move(request), release->status),
                 [context](const std::exception_ptr& failure) {
                   --context->open_releases;
                   if (failure) {
                     log(LogLevel::kError, "lease release failed", {{"why", message_of(failure)}});
                   }
                 });
}

// A decode pod that did not fail this request, if there is one that fits the prefill pod.
std::shared_ptr<const PodEntry> ServedRequest::releasing_pod() const {
  const auto fits = [this](const std::shared_ptr<const PodEntry>& entry) {
    return can_decode(entry->pod.role) && entry->state.takes_requests() &&
           what_keeps_apart(plan_.prefill->pod.facts, entry->pod.facts) == Apart::kNothing &&
           std::ranges::find(wanted_.excluded_decode, entry->pod.name) ==
               wanted_.excluded_decode.end();
  };
  if (fits(plan_.decode)) return plan_.decode;
  const auto& pods = pool_.snapshot->pods;
  const auto other = std::ranges::find_if(pods, fits);
  return other == pods.end() ? plan_.decode : *other;
}

void ServedRequest::wait_for_pods() {
  if (give_up_at_ == TimePoint::max()) give_up_at_ = Clock::now() + pool_.config.empty_wait;
  // A slot that a request of another thread gave back wakes nobody here.
  constexpr auto kLookAgain = std::chrono::milliseconds(50);
  alarm_at_ = std::min(give_up_at_, Clock::now() + kLookAgain);
  waiting_ = pool_.waiting_for_pods.insert(pool_.waiting_for_pods.end(), [this] {
    pods_changed_ = true;
    wake();
  });
  is_waiting_ = true;
  pool_.metrics.waiting.Increment();
}

void ServedRequest::stop_waiting() {
  if (!std::exchange(is_waiting_, false)) return;
  pool_.waiting_for_pods.erase(waiting_);
  pool_.metrics.waiting.Decrement();
}

LegSteps ServedRequest::judge_prefill() {
  const TimePoint now = Clock::now();
  if (auto failure = failure_of(*prefill_)) {
    prefill_response_ = {};
    return policy_.prefill_failed(std::move(*failure), now);
  }
  pool_.metrics.prefill_seconds.Observe(to_seconds(now - prefill_->sent_at));
  account_.prefill.prefill_done();
  account_.prefill.finish();
  account_.decode.decode_begins();
  prefill_usage_ = read_usage(prefill_->body);
  learn_prefill(*prefill_, prefill_->head_at, prefill_usage_);
  if (prefill_usage_) pool_.learn_ratio(prompt_bytes_, prefill_usage_->prompt);
  prefill_response_.status = 200;
  prefill_response_.body = std::move(prefill_->body);
  return judge_handoff(now);
}

// What follows from a good prefill answer.
LegSteps ServedRequest::judge_handoff(TimePoint now) {
  const auto refuse = [this, now](Error error) {
    prefill_response_ = {};  // nor can what it names be given back
    last_failure_ = prefill_->pod->pod.name + ": " + error.message;
    count_failure(error);
    return policy_.handoff_refused(std::move(error), now);
  };
  if (pool_.connector.dispatch() == adapters::Dispatch::kConcurrent) {
    auto checked = pool_.connector.check_prefill(request_, plan_, prefill_response_);
    return checked ? policy_.prefill_good(now) : refuse(std::move(checked.error()));
  }
  auto whole = pool_.connector.whole_answer(request_, prefill_response_);
  if (!whole) return refuse(std::move(whole.error()));
  if (!*whole) return policy_.prefill_good(now);
  prefills_answer_ = std::move(*whole);
  return policy_.prefill_was_all();
}

// A sixth of the lease is left to the decode pod, which renews it once the request is queued there.
bool ServedRequest::lease_is_over() const {
  if (!pool_.connector.has_lease()) return false;
  const Duration age = Clock::now() - prefill_->head_at + prefill_->waited_for_us;
  return age > pool_.config.lease - pool_.config.lease / 6;
}

LegSteps ServedRequest::judge_decode() {
  if (auto failure = failure_of(*decode_)) {
    // What could not be fetched nobody gives back but the router (vLLM's failed loads).
    if (was_not_taken(*decode_) || failure->error.stage == Stage::kHandoff) handed_on_ = false;
    return policy_.decode_failed(std::move(*failure), Clock::now());
  }
  pool_.metrics.decode_seconds.Observe(to_seconds(decode_->head_at - decode_->sent_at));
  // Of a stream the head may come long before the prompt is computed.
  const bool begins = decode_->answer != nullptr && is_event_stream(decode_->content_type);
  if (!begins) account_.decode.prefill_done();
  return policy_.decode_good();
}

// Reads a leg's end and keeps the pod's count of errors in a row.
std::optional<LegFailure> ServedRequest::failure_of(Leg& leg) {
  PodLoad& load = context_.loads().of(leg.pod->index);
  if (!leg.error && leg.status == 200) {
    load.consecutive_errors.store(0, std::memory_order_relaxed);
    return std::nullopt;
  }
  LegFailure failure;
  if (leg.error) {
    failure.error = *leg.error;
    if (failure.error.stage != Stage::kHandoff) failure.error.stage = leg.stage;
    failure.error.retryable = true;
    last_failure_ = leg.pod->pod.name + ": " + failure.error.message;
    if (leg.sent_at != TimePoint{}) {
      load.consecutive_errors.fetch_add(1, std::memory_order_relaxed);
    }
  } else {
    failure.error = pool_.connector.read_error(leg.status, leg.body, leg.stage);
    const bool pods_fault = leg.status >= 500 || leg.status < 400;
    failure.clients_fault = !pods_fault && !failure.error.retryable;
    last_failure_ = leg.pod->pod.name + ": status " + std::to_string(leg.status) + ", " +
                    std::string(name_of(failure.error.code));
    // A decode pod that reports a failed hand-off speaks of the other pod.
    if (pods_fault && failure.error.stage != Stage::kHandoff) {
      load.consecutive_errors.fetch_add(1, std::memory_order_relaxed);
    } else if (!pods_fault) {
      load.consecutive_errors.store(0, std::memory_order_relaxed);
    }
  }
  if (plan_.kind == PlanKind::kDecodeOnly && failure.error.stage == Stage::kHandoff) {
    failure.error.stage = Stage::kDecode;  // there was none
  }
  failure.advice = pool_.connector.on_leg_failure(failure.error);
  if (failure.clients_fault) {
    refused_ = leg.stage == Stage::kPrefill ? prefill_ : decode_;
  } else {
    count_failure(failure.error);
  }
  return failure;
}

void ServedRequest::count_failure(const Error& error) {
  PoolMetrics& metrics = pool_.metrics;
  switch (error.stage) {
    case Stage::kPrefill: metrics.prefill_failures.Increment(); break;
    case Stage::kHandoff: metrics.handoff_failures.Increment(); break;
    default: metrics.decode_failures.Increment(); break;
  }
  log(LogLevel::kWarn, "leg failed",
      {{"request_id", head_.request_id},
       {"pool", pool_.config.name},
       {"stage", name_of(error.stage)},
       {"attempt", policy_.attempts()},
       {"why", last_failure_}});
}

}  // namespace baton::orchestrator
