#include "orchestrator/bench/generator/send_queue.h"

#include <algorithm>
#include <utility>

#include "orchestrator/bench/generator/request_record.h"

namespace baton::orchestrator::bench {
namespace {

constexpr Duration kNever = RequestRecord::kNever;
// What was due just before the end of sending may be taken so much after it.
constexpr Duration kGrace = std::chrono::milliseconds(50);

}  // namespace

SendQueue::SendQueue(Workload& workload, SendRules rules)
    : workload_(workload), rules_(std::move(rules)) {
  if (open_loop()) {
    rules_.total = std::min(rules_.total.value_or(rules_.schedule.size()), rules_.schedule.size());
  }
}

bool SendQueue::may_send(Duration due, Duration now) const {
  if (stopped_) return false;
  if (!rules_.stop_after) return true;
  return due < *rules_.stop_after && now < *rules_.stop_after + kGrace;
}

Duration SendQueue::own_due(std::size_t index) const {
  return open_loop() ? rules_.schedule[index] : Duration::zero();
}

bool SendQueue::fresh_left(Duration now) const {
  if (rules_.total && cursor_ >= *rules_.total) return false;
  return may_send(open_loop() ? rules_.schedule[cursor_] : now, now);
}

SendQueue::Next SendQueue::send(std::size_t index, Duration due) {
  ++in_flight_;
  ++taken_;
  return {index, due};
}

std::optional<SendQueue::Next> SendQueue::take(Duration now) {
  if (full()) return std::nullopt;
  const bool fresh_first = open_loop() && fresh_left(now) && !later_.empty() &&
                           rules_.schedule[cursor_] < later_.top().due;
  if (!fresh_first) {
    if (const auto next = take_later(now)) return next;
  }
  if (const auto next = take_fresh(now)) return next;
  return take_later(now);
}

std::optional<SendQueue::Next> SendQueue::take_later(Duration now) {
  if (later_.empty()) return std::nullopt;
  const Later first = later_.top();
  if (first.due > now || !may_send(first.due, now)) return std::nullopt;
  later_.pop();
  return send(first.index, first.due);
}

std::optional<SendQueue::Next> SendQueue::take_fresh(Duration now) {
  while (fresh_left(now)) {
    if (open_loop() && rules_.schedule[cursor_] > now) return std::nullopt;
    const std::size_t index = cursor_++;
    const Duration due = open_loop() ? rules_.schedule[index] : now;
    const auto follows = workload_.follows(index);
    if (!follows) return send(index, due);
    const auto [before, pause] = *follows;
    if (before >= ended_at_.size() || ended_at_[before] == kNever) {
      blocked_[before].push_back({index, pause});
    } else if (const Duration rested = ended_at_[before] + pause; rested > now) {
      later_.push({rested, index});
    } else {
      return send(index, std::max(due, rested));
    }
  }
  return std::nullopt;
}

void SendQueue::ended(std::size_t index, Duration now) {
  --in_flight_;
  if (index >= ended_at_.size())
    ended_at_.resize(std::max(index + 1, 2 * ended_at_.size()), kNever);
  ended_at_[index] = now;
  const auto found = blocked_.find(index);
  if (found == blocked_.end()) return;
  for (const Follower& follower : found->second) {
    later_.push({std::max(now + follower.pause, own_due(follower.index)), follower.index});
  }
  blocked_.erase(found);
}

std::optional<Duration> SendQueue::next_due(Duration now) {
  if (full() || stopped_) return std::nullopt;
  std::optional<Duration> due;
  if (fresh_left(now)) due = open_loop() ? rules_.schedule[cursor_] : now;
  if (!later_.empty() && may_send(later_.top().due, now)) {
    due = std::min(due.value_or(Duration::max()), later_.top().due);
  }
  return due;
}

bool SendQueue::exhausted(Duration now) const {
  if (stopped_) return true;
  if (fresh_left(now)) return false;
  if (!later_.empty() && may_send(later_.top().due, now)) return false;
  return blocked_.empty() || in_flight_ == 0;
}

std::optional<std::size_t> SendQueue::upcoming() {
  if (!open_loop() || stopped_ || cursor_ >= *rules_.total) return std::nullopt;
  if (workload_.follows(cursor_)) return std::nullopt;
  return cursor_;
}

}  // namespace baton::orchestrator::bench
