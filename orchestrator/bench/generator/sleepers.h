#pragma once

#include <boost/asio/io_context.hpp>
#include <memory>
#include <vector>

#include "adapters/http/stream.h"
#include "adapters/http/wakeup.h"
#include "core/units.h"

namespace baton::orchestrator::bench {

// Many coroutines that wait for points in time, or for their client to leave, on one timer. Lives
// on one thread; owned by the reference server.
class Sleepers {
 public:
  struct Sleeper {
    explicit Sleeper(boost::asio::io_context& io) : wakeup(io) {}
    adapters::http::Wakeup wakeup;
    bool left = false;
    // The client left: whoever sleeps wakes up.
    void leave() {
      left = true;
      if (wakeup.waiting()) wakeup.wake();
    }
  };
  using SleeperPtr = std::shared_ptr<Sleeper>;

  explicit Sleepers(boost::asio::io_context& io) : io_(io), timer_(io) {}
  [[nodiscard]] SleeperPtr make() { return std::make_shared<Sleeper>(io_); }
  // False: the client left.
  [[nodiscard]] adapters::http::Task<bool> until(SleeperPtr sleeper, TimePoint at);
  // Until the client leaves.
  [[nodiscard]] static adapters::http::Task<void> forever(SleeperPtr sleeper);
  void stop();

 private:
  struct Due {
    TimePoint at;
    SleeperPtr sleeper;
    bool operator>(const Due& other) const { return at > other.at; }
  };
  void wake_due();
  void arm();

  boost::asio::io_context& io_;
  adapters::http::IoTimer timer_;
  TimePoint armed_for_ = TimePoint::max();
  bool stopped_ = false;
  std::vector<Due> heap_;  // the earliest first
};

}  // namespace baton::orchestrator::bench
