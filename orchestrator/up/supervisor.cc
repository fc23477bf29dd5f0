#include "orchestrator/up/supervisor.h"

#include <fmt/format.h>
#include <sys/wait.h>

#include <algorithm>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <utility>

namespace baton::orchestrator {
namespace {

constexpr std::size_t kKeptLines = 100;
constexpr Duration kLongRun = std::chrono::seconds(30);

std::string describe_exit(int status) {
  if (WIFSIGNALED(status)) {
    return fmt::format("ended by signal {} ({})", WTERMSIG(status), ::strsignal(WTERMSIG(status)));
  }
  return fmt::format("exited with status {}", WEXITSTATUS(status));
}

}  // namespace

Supervisor::Supervisor(boost::asio::io_context& io, Hooks hooks)
    : io_(io), hooks_(std::move(hooks)), child_ended_(io, SIGCHLD), stop_timer_(io) {
  wait_for_children();
}

Result<void> Supervisor::start(std::vector<PodPlan> pods) {
  for (PodPlan& plan : pods) {
    auto& child = children_.emplace_back(std::make_unique<Child>());
    child->plan = std::move(plan);
    child->restart = std::make_unique<boost::asio::steady_timer>(io_);
  }
  for (const auto& child : children_) {
    if (auto launched = launch(*child); !launched) return launched;
  }
  return {};
}

Result<void> Supervisor::launch(Child& child) {
  std::vector<std::string> arguments = {"pod",
                                        "--name",
                                        child.plan.name,
                                        "--role",
                                        std::string(name_of(child.plan.role)),
                                        "--listen",
                                        "127.0.0.1:" + std::to_string(child.port)};
  arguments.insert(arguments.end(), child.plan.arguments.begin(), child.plan.arguments.end());
  child.ready = false;
  child.started_at = Clock::now();
  auto process = PodProcess::start(io_, arguments,
                                   [this, &child](std::string_view line) { on_line(child, line); });
  if (!process) return std::unexpected(process.error());
  child.process = std::move(*process);
  return {};
}

std::uint16_t Supervisor::port_of(const std::string& name) const {
  for (const auto& child : children_) {
    if (child->plan.name == name) return child->port;
  }
  return 0;
}

void Supervisor::on_line(Child& child, std::string_view line) {
  const std::string ready = "baton pod " + child.plan.name + " ready: http://";
  if (line.starts_with(ready)) {
    on_ready(child, line.substr(ready.size()));
  } else if (child.port != 0) {
    say(child, line);
  } else {
    child.first_lines.emplace_back(line);
    if (child.first_lines.size() > kKeptLines) child.first_lines.pop_front();
  }
}

// `address`: "HOST:PORT role …". The line itself is not shown: the router says when it sees the
// pod.
void Supervisor::on_ready(Child& child, std::string_view address) {
  address = address.substr(0, address.find(' '));
  address.remove_prefix(address.rfind(':') + 1);
  std::from_chars(address.data(), address.data() + address.size(), child.port);
  child.ready = child.port != 0;
  for (const std::string& line : child.first_lines) say(child, line);
  child.first_lines.clear();
  const bool all = std::ranges::all_of(children_, [](const auto& other) { return other->ready; });
  if (all && !std::exchange(was_ready_, true)) hooks_.all_ready();
}

void Supervisor::say(const Child& child, std::string_view line) const {
  std::fprintf(stderr, "[%s] %.*s\n", child.plan.name.c_str(), static_cast<int>(line.size()),
               line.data());
}

void Supervisor::wait_for_children() {
  child_ended_.async_wait([this](boost::system::error_code cancelled, int) {
    if (cancelled) return;
    wait_for_children();
    reap();
  });
}

void Supervisor::reap() {
  for (const auto& child : children_) {
    int status = 0;
    if (child->process && child->process->reap(status)) on_exit(*child, status);
  }
}

void Supervisor::on_exit(Child& child, int status) {
  child.process->read_rest();
  child.process.reset();
  if (stopping_) {
    if (any_running()) return;
    stop_timer_.cancel();
    hooks_.all_stopped();
  } else if (child.port == 0) {
    hooks_.refused(child.plan.name + " " + describe_exit(status) + ": " +
                   (child.first_lines.empty() ? "it said nothing" : child.first_lines.back()));
  } else {
    say(child, describe_exit(status) + "; it is started again");
    restart_later(child);
  }
}

void Supervisor::restart_later(Child& child) {
  if (Clock::now() - child.started_at >= kLongRun) child.backoff = kFirstBackoff;
  child.restart->expires_after(child.backoff);
  child.backoff = std::min(2 * child.backoff, kLongestBackoff);
  child.restart->async_wait([this, &child](boost::system::error_code cancelled) {
    if (cancelled || stopping_) return;
    if (auto launched = launch(child); !launched) {
      say(child, launched.error().message);
      restart_later(child);
    }
  });
}

void Supervisor::stop() {
  const bool again = std::exchange(stopping_, true);
  for (const auto& child : children_) {
    child->restart->cancel();
    if (child->process) child->process->send(again ? SIGKILL : SIGTERM);
  }
  if (!any_running()) {
    hooks_.all_stopped();
    return;
  }
  stop_timer_.expires_after(kStopPatience);
  stop_timer_.async_wait([this](boost::system::error_code cancelled) {
    if (!cancelled) stop();
  });
}

bool Supervisor::any_running() const {
  return std::ranges::any_of(children_,
                             [](const auto& child) { return child->process != nullptr; });
}

}  // namespace baton::orchestrator
