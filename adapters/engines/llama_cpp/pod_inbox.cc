#include "adapters/engines/llama_cpp/pod_inbox.h"

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

namespace baton::adapters {
namespace asio = http::asio;

AnswerInbox::AnswerInbox(asio::any_io_executor http_thread)
    : http_thread_(http_thread), woken_(http_thread, TimePoint::max()) {}

http::Task<std::vector<AnswerEvent>> AnswerInbox::next() {
  while (true) {
    std::vector<AnswerEvent> events = take();
    if (!events.empty() || wake_asked_ || overrun()) {
      wake_asked_ = false;
      co_return events;
    }
    co_await woken_.async_wait(asio::as_tuple(asio::use_awaitable));
  }
}

void AnswerInbox::wake() {
  wake_asked_ = true;
  woken_.cancel();
}

bool AnswerInbox::overrun() const {
  const std::lock_guard lock(mutex_);
  return overrun_;
}

std::vector<AnswerEvent> AnswerInbox::take() {
  const std::lock_guard lock(mutex_);
  held_bytes_ = 0;
  notified_ = false;
  return std::exchange(events_, {});
}

void AnswerInbox::add(AnswerEvent event, std::size_t bytes) {
  bool overrun_now = false;
  {
    const std::lock_guard lock(mutex_);
    if (overrun_) return;
    held_bytes_ += bytes;
    if (held_bytes_ > kMaxHeldBytes) {
      overrun_ = overrun_now = true;
      events_.clear();
    } else {
      events_.push_back(std::move(event));
    }
    if (std::exchange(notified_, true) && !overrun_now) return;
  }
  asio::post(http_thread_, [self = shared_from_this(), overrun_now] { self->notify(overrun_now); });
}

void AnswerInbox::notify(bool overrun_now) {
  if (overrun_now && overrun_action_) overrun_action_();
  woken_.cancel();
}

void AnswerInbox::on_first_token(const EngineUsage& usage, const EngineTimes& times) {
  add(FirstTokenEvent{usage, times}, 0);
}

void AnswerInbox::on_token(EngineToken token) {
  const std::size_t bytes =
      sizeof(AnswerEvent) + token.piece.size() + token.top.size() * sizeof(TokenLogprob);
  add(TokenEvent{std::move(token), Clock::now()}, bytes);
}

void AnswerInbox::on_finish(FinishReason reason, EngineUsage usage, EngineTimes times) {
  add(FinishEvent{reason, std::move(usage), times}, 0);
}

void AnswerInbox::on_error(Error error, EngineUsage) { add(ErrorEvent{std::move(error)}, 0); }

}  // namespace baton::adapters
