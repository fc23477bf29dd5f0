#pragma once

#include <cstddef>
#include <optional>
#include <queue>
#include <unordered_map>
#include <vector>

#include "core/units.h"
#include "orchestrator/bench/workload/workload.h"

namespace baton::orchestrator::bench {

struct SendRules {
  std::vector<Duration> schedule;    // open loop; empty: closed
  std::size_t in_flight = 0;         // at most; 0: no limit
  std::optional<std::size_t> total;  // nullopt: as many as time allows
  std::optional<Duration> stop_after;
};

// Decides which request of a workload is sent when. Owned by a run; does no I/O and reads no clock.
// Holds nothing for requests whose turn has not come, however many there are.
class SendQueue {
 public:
  SendQueue(Workload& workload, SendRules rules);

  struct Next {
    std::size_t index = 0;
    Duration due{};  // in a closed loop: when a place became free, or the pause was over
  };
  // A request to be sent now, in flight from here on; nullopt: none at present.
  [[nodiscard]] std::optional<Next> take(Duration now);
  // It was answered, or failed.
  void ended(std::size_t index, Duration now);
  // The next time at which take() may have something without another ended(); nullopt: none.
  [[nodiscard]] std::optional<Duration> next_due(Duration now);
  // Nothing will be sent any more.
  [[nodiscard]] bool exhausted(Duration now) const;
  void stop() { stopped_ = true; }

  [[nodiscard]] bool open_loop() const { return !rules_.schedule.empty(); }
  [[nodiscard]] std::size_t in_flight() const { return in_flight_; }
  [[nodiscard]] std::size_t taken() const { return taken_; }
  // The request that is next by its place in the workload, if it waits for its time alone.
  [[nodiscard]] std::optional<std::size_t> upcoming();

 private:
  struct Later {
    Duration due;
    std::size_t index;
    bool operator>(const Later& other) const { return due > other.due; }
  };
  [[nodiscard]] bool fresh_left(Duration now) const;
  [[nodiscard]] bool full() const { return rules_.in_flight > 0 && in_flight_ >= rules_.in_flight; }
  [[nodiscard]] bool may_send(Duration due, Duration now) const;
  [[nodiscard]] Duration own_due(std::size_t index) const;
  [[nodiscard]] std::optional<Next> take_later(Duration now);
  [[nodiscard]] std::optional<Next> take_fresh(Duration now);
  [[nodiscard]] Next send(std::size_t index, Duration due);

  Workload& workload_;
  SendRules rules_;
  std::size_t cursor_ = 0;  // the first that was never looked at
  std::size_t in_flight_ = 0;
  std::size_t taken_ = 0;
  bool stopped_ = false;
  std::vector<Duration> ended_at_;  // by index
  std::priority_queue<Later, std::vector<Later>, std::greater<>> later_;
  struct Follower {
    std::size_t index;
    Duration pause;
  };
  std::unordered_map<std::size_t, std::vector<Follower>> blocked_;  // by predecessor
};

}  // namespace baton::orchestrator::bench
