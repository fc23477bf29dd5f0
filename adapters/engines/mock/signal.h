#pragma once

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <utility>

#include "adapters/http/server.h"
#include "core/units.h"

namespace baton::adapters::mock {

// Lets one coroutine wait until others of its thread raise it. The waiter resumes later, never
// within raise(); what is raised while nobody waits ends the next wait at once.
class Signal {
 public:
  explicit Signal(http::asio::io_context& io) : timer_(io, TimePoint::max()) {}
  void raise() {
    raised_ = true;
    timer_.cancel();
  }
  http::Task<void> wait() {
    while (!raised_) {
      co_await timer_.async_wait(http::asio::as_tuple(http::asio::use_awaitable));
    }
    raised_ = false;
  }

 private:
  http::asio::steady_timer timer_;
  bool raised_ = false;
};

}  // namespace baton::adapters::mock
