#pragma once

#include <boost/asio/basic_waitable_timer.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/picking/stream_pace.h"
#include "orchestrator/lifecycle/leg_policy.h"
#include "orchestrator/lifecycle/legs.h"
#include "orchestrator/lifecycle/relay.h"
#include "orchestrator/lifecycle/stream_watch.h"
#include "orchestrator/lifecycle/thread_context.h"
#include "orchestrator/lifecycle/usage.h"

namespace baton::orchestrator {

// What the request's head says about how it is to be served.
struct RequestHead {
  std::string request_id;
  std::string traceparent;  // empty: none that is valid
  bool explain = false;
  SloConfig slo;  // the pool's, but for what the client asks for
  TimePoint accepted_at{};
};

// One completion request from its plan to its end: carries out what LegPolicy decides, relays the
// answer, settles the account. Lives in the frame of the coroutine that handles the exchange, on
// its thread. It promises that the exchange is answered or ended exactly once, and that when run()
// is over no leg of it is running, its load is returned and a hand-off that nobody will fetch is
// being given back.
class ServedRequest {
 public:
  ServedRequest(ThreadContext& context, const ModelTarget& target, http::Exchange& exchange,
                OpenAiRequest request, RequestHead head);
  ServedRequest(const ServedRequest&) = delete;
  ServedRequest& operator=(const ServedRequest&) = delete;
  ~ServedRequest();

  [[nodiscard]] Task<void> run();

 private:
  using Timer =
      asio::basic_waitable_timer<Clock, asio::wait_traits<Clock>, asio::io_context::executor_type>;

  // The coroutine sleeps on `alarm_` until something happened, then looks what it was.
  [[nodiscard]] Task<void> live();
  [[nodiscard]] Task<void> sleep_until(TimePoint time);
  void wake() { alarm_.cancel(); }
  void look();
  static void on_leg_ended(const std::shared_ptr<Leg>& leg, const std::exception_ptr& failure);
  void on_client_gone();

  // Steps of the policy.
  void carry_out(LegSteps steps);
  [[nodiscard]] LegSteps seek_plan(PlanScope scope);
  [[nodiscard]] bool is_refused(const Plan& plan);
  void send_leg(Stage stage);
  void disown_legs();
  void cancel_prefill();
  void cancel_decode();
  void release_blocks();
  [[nodiscard]] std::shared_ptr<const PodEntry> releasing_pod() const;
  void wait_for_pods();
  void stop_waiting();

  [[nodiscard]] LegSteps judge_prefill();
  [[nodiscard]] LegSteps judge_handoff(TimePoint now);
  [[nodiscard]] bool lease_is_over() const;
  [[nodiscard]] LegSteps judge_decode();
  [[nodiscard]] std::optional<LegFailure> failure_of(Leg& leg);
  void count_failure(const Error& error);

  // Answers.
  [[nodiscard]] Task<void> answer();
  [[nodiscard]] Task<void> answer_whole();
  [[nodiscard]] std::optional<CachedTokensFilter> own_cached_tokens() const;
  [[nodiscard]] Task<void> answer_stream();
  [[nodiscard]] Task<void> answer_prefills();
  void blame_decode(const Error& error);
  [[nodiscard]] Task<void> end_with_error_event(Error error);
  [[nodiscard]] Task<void> answer_pods_error();
  [[nodiscard]] Task<void> answer_error();
  [[nodiscard]] Task<void> answer_refusal();
  [[nodiscard]] http::Fields answer_fields(const Leg& leg) const;
  [[nodiscard]] http::Fields leg_fields(const adapters::LegRequest& leg) const;
  void note_first_byte();
  void end_as(Outcome outcome, unsigned status);
  void settle();
  void settle_handoff();
  void settle_tokens(TimePoint now);

  // Observations.
  void on_first_event();
  void learn_prefill(const Leg& leg, TimePoint done_at, const std::optional<Usage>& usage);
  void learn_pace(std::int64_t tokens);
  void learn_transfer(double bytes, double exposed_seconds);
  void log_end(TimePoint now) const;

  ThreadContext& context_;
  PoolContext& pool_;
  http::Exchange& exchange_;
  OpenAiRequest request_;
  RequestHead head_;
  LegPolicy policy_;
  PlanRequest wanted_;
  std::size_t prompt_bytes_ = 0;

  Plan plan_;
  PlanAccount account_;
  Duration plan_time_{};
  bool is_judged_ = false;                // by the verdict on its first plan
  std::optional<SloVerdict> refused_by_;  // that verdict, where nothing was sent because of it
  std::string refused_plan_;              // for a client that wants it explained
  adapters::HandoffKey key_;
  adapters::PrefillResponse prefill_response_;
  std::optional<adapters::WholeAnswer> prefills_answer_;  // where it is the client's
  bool fetched_ = false;                                  // the decode leg got a hand-off
  bool handed_on_ = false;                                // a decode leg was sent with it
  std::shared_ptr<Leg> prefill_;                          // the current one of each; null: none
  std::shared_ptr<Leg> decode_;
  std::shared_ptr<Leg> refused_;               // whose answer is passed on to the client
  std::vector<std::shared_ptr<Leg>> running_;  // cancelled ones too

  Timer alarm_;
  TimePoint alarm_at_ = TimePoint::max();
  TimePoint give_up_at_ = TimePoint::max();  // empty_wait
  std::list<std::function<void()>>::iterator waiting_;
  bool is_waiting_ = false;
  bool prefill_ended_ = false;  // news that look() has not seen
  bool decode_ended_ = false;
  bool pods_changed_ = false;
  bool client_gone_ = false;
  asio::cancellation_signal relay_cancel_;
  bool relaying_ = false;

  std::optional<LegActionKind> verdict_;  // how the request is answered
  Outcome outcome_ = Outcome::kClientLeft;
  unsigned status_ = 499;
  StreamWatch watch_;
  std::optional<Usage> prefill_usage_;
  std::optional<Usage> usage_;
  TimePoint first_byte_at_{};
  std::optional<StreamMark> stream_began_;  // at its first event
  std::optional<StreamMark> stream_ended_;
  std::string last_failure_;  // in words, for the log: of our own connections only
};

}  // namespace baton::orchestrator
