#include "orchestrator/bench/generator/reference_server.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <thread>
#include <utility>

#include "orchestrator/bench/generator/reference_loop.h"

namespace baton::orchestrator::bench {
namespace {

class ThreadedServer final : public ReferenceServer {
 public:
  explicit ThreadedServer(std::unique_ptr<ReferenceLoop> loop)
      : loop_(std::move(loop)),
        stop_(::eventfd(0, EFD_CLOEXEC)),
        thread_([this] { loop_->run(stop_); }) {}
  ThreadedServer(const ThreadedServer&) = delete;
  ThreadedServer& operator=(const ThreadedServer&) = delete;
  ~ThreadedServer() override {
    end();
    ::close(stop_);
  }

  [[nodiscard]] std::uint16_t port() const override { return loop_->port(); }
  [[nodiscard]] int requests() const override { return loop_->requests(); }
  std::vector<ServedTruth> stop() override {
    end();
    return loop_->take_truth();
  }

 private:
  void end() {
    if (!thread_.joinable()) return;
    ::eventfd_write(stop_, 1);
    thread_.join();
    loop_->close_all();
  }

  std::unique_ptr<ReferenceLoop> loop_;
  int stop_;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<ReferenceServer>> ReferenceServer::start(ReferenceOptions options) {
  auto loop = ReferenceLoop::listen(options);
  if (!loop) return std::unexpected(loop.error());
  return std::make_unique<ThreadedServer>(std::move(*loop));
}

namespace {

// The child of a fork().
[[noreturn]] void serve_as_child(const ReferenceOptions& options, int ready) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  const auto loop = ReferenceLoop::listen(options);
  if (!loop) ::_exit(1);
  const std::uint16_t port = (*loop)->port();
  if (::write(ready, &port, sizeof port) != sizeof port) ::_exit(1);
  ::close(ready);
  (*loop)->run(-1);
  ::_exit(0);
}

}  // namespace

Result<std::unique_ptr<ReferenceChild>> ReferenceChild::start(const ReferenceOptions& options) {
  int ready[2];
  if (::pipe2(ready, O_CLOEXEC) != 0) {
    return fail(ErrorCode::kUnavailable, Stage::kRouter, "cannot make a pipe");
  }
  const int pid = ::fork();
  if (pid == 0) {
    ::close(ready[0]);
    serve_as_child(options, ready[1]);
  }
  ::close(ready[1]);
  std::uint16_t port = 0;
  ssize_t got = -1;
  if (pid > 0) {
    do {
      got = ::read(ready[0], &port, sizeof port);
    } while (got < 0 && errno == EINTR);
  }
  ::close(ready[0]);
  auto child = std::make_unique<ReferenceChild>(pid, port);
  if (got != sizeof port) {
    return fail(ErrorCode::kUnavailable, Stage::kRouter,
                "cannot start the reference server in a process of its own");
  }
  return child;
}

ReferenceChild::~ReferenceChild() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

Result<void> run_reference_server(const ReferenceOptions& options,
                                  const std::function<void(std::uint16_t)>& on_ready) {
  const auto loop = ReferenceLoop::listen(options);
  if (!loop) return std::unexpected(loop.error());
  sigset_t ends;
  ::sigemptyset(&ends);
  ::sigaddset(&ends, SIGTERM);
  ::sigaddset(&ends, SIGINT);
  ::sigprocmask(SIG_BLOCK, &ends, nullptr);
  const int stop = ::signalfd(-1, &ends, SFD_CLOEXEC);
  on_ready((*loop)->port());
  (*loop)->run(stop);
  ::close(stop);
  return {};
}

}  // namespace baton::orchestrator::bench
