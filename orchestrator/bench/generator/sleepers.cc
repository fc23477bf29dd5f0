#include "orchestrator/bench/generator/sleepers.h"

#include <algorithm>
#include <functional>

namespace baton::orchestrator::bench {

using adapters::http::Task;

namespace {

// So many wake up before the loop looks at its sockets.
constexpr int kBatch = 256;

}  // namespace

Task<bool> Sleepers::until(SleeperPtr sleeper, TimePoint at) {
  if (sleeper->left) co_return false;
  if (at <= Clock::now()) co_return true;
  heap_.push_back({at, sleeper});
  std::ranges::push_heap(heap_, std::greater<>());
  if (at < armed_for_) arm();
  co_await sleeper->wakeup.wait();
  co_return !sleeper->left;
}

Task<void> Sleepers::forever(SleeperPtr sleeper) {
  if (!sleeper->left) co_await sleeper->wakeup.wait();
}

void Sleepers::arm() {
  armed_for_ = heap_.empty() || stopped_ ? TimePoint::max() : heap_.front().at;
  if (armed_for_ == TimePoint::max()) return;
  timer_.expires_at(armed_for_);
  timer_.async_wait([this](boost::system::error_code ec) {
    if (!ec) wake_due();
  });
}

void Sleepers::wake_due() {
  armed_for_ = TimePoint::min();  // what is pushed meanwhile is armed for below
  for (int woken = 0; woken < kBatch && !heap_.empty() && heap_.front().at <= Clock::now();
       ++woken) {
    std::ranges::pop_heap(heap_, std::greater<>());
    const SleeperPtr sleeper = std::move(heap_.back().sleeper);
    heap_.pop_back();
    if (sleeper->wakeup.waiting()) sleeper->wakeup.wake();
  }
  arm();
}

void Sleepers::stop() {
  stopped_ = true;
  timer_.cancel();
}

}  // namespace baton::orchestrator::bench
