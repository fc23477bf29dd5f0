#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/pod.h"
#include "core/units.h"
#include "orchestrator/up/pod_process.h"

namespace baton::orchestrator {

// One pod that `baton up` runs.
struct PodPlan {
  std::string name;
  Role role = Role::kBoth;
  std::vector<std::string> arguments;  // of `baton pod`, but for name, role and address
};

// Runs pods as child processes on loopback: starts them, merges what they write into one log with
// prefixes, starts again those that end by themselves, and stops them all. Owned by `baton up`, on
// the control thread, which is the process's main thread.
class Supervisor {
 public:
  struct Hooks {
    std::function<void()> all_ready;           // once
    std::function<void(std::string)> refused;  // a pod ended before it was ever ready: its words
    std::function<void()> all_stopped;         // after stop()
  };
  Supervisor(boost::asio::io_context& io, Hooks hooks);

  // Starts the pods; the first call comes before the process has other threads.
  [[nodiscard]] Result<void> start(std::vector<PodPlan> pods);
  // SIGTERM to all, SIGKILL to those left after kStopPatience. A second call kills at once.
  void stop();

  // The pod's address, once it is ready.
  [[nodiscard]] std::uint16_t port_of(const std::string& name) const;

  static constexpr Duration kStopPatience = std::chrono::seconds(3);
  static constexpr Duration kFirstBackoff = std::chrono::milliseconds(500);
  static constexpr Duration kLongestBackoff = std::chrono::seconds(30);

 private:
  struct Child {
    PodPlan plan;
    std::shared_ptr<PodProcess> process;
    std::unique_ptr<boost::asio::steady_timer> restart;
    std::uint16_t port = 0;  // kept over restarts, so that the router finds it again
    bool ready = false;      // since it was last started
    TimePoint started_at{};
    Duration backoff = kFirstBackoff;
    std::deque<std::string> first_lines;  // until it is ready; the last one says why it is not
  };

  [[nodiscard]] Result<void> launch(Child& child);
  void on_line(Child& child, std::string_view line);
  void on_ready(Child& child, std::string_view address);
  void wait_for_children();
  void reap();
  void on_exit(Child& child, int status);
  void restart_later(Child& child);
  void say(const Child& child, std::string_view line) const;
  [[nodiscard]] bool any_running() const;

  boost::asio::io_context& io_;
  Hooks hooks_;
  std::vector<std::unique_ptr<Child>> children_;
  boost::asio::signal_set child_ended_;
  boost::asio::steady_timer stop_timer_;
  bool was_ready_ = false;
  bool stopping_ = false;
};

}  // namespace baton::orchestrator
