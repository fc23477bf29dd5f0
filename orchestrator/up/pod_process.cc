#include "orchestrator/up/pod_process.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/buffer.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

namespace baton::orchestrator {
namespace {

constexpr std::size_t kReadBytes = 4096;
constexpr std::size_t kLongestLine = 64 << 10;

// Runs in the child, between fork() and exec(): async-signal-safe calls only.
[[noreturn]] void become(char* const* arguments, int output, pid_t parent) {
  constexpr int kExecFailed = 127;
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(kExecFailed);  // it died before prctl()
  ::setpgid(0, 0);  // Ctrl-C in the terminal is for the parent, which stops this one in order
  const int nothing = ::open("/dev/null", O_RDONLY);
  ::dup2(nothing, STDIN_FILENO);
  ::dup2(output, STDOUT_FILENO);
  ::dup2(output, STDERR_FILENO);
  ::close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);
  ::execv("/proc/self/exe", arguments);
  ::_exit(kExecFailed);
}

}  // namespace

Result<std::shared_ptr<PodProcess>> PodProcess::start(boost::asio::io_context& io,
                                                      const std::vector<std::string>& arguments,
                                                      OnLine on_line) {
  std::array<int, 2> pipe{};
  if (::pipe2(pipe.data(), O_CLOEXEC) != 0) {
    return fail(ErrorCode::kInternal, Stage::kConfig,
                std::string("cannot make a pipe: ") + std::strerror(errno));
  }
  std::vector<std::string> copies = arguments;
  copies.insert(copies.begin(), "baton");
  std::vector<char*> argv;
  for (std::string& argument : copies) argv.push_back(argument.data());
  argv.push_back(nullptr);

  const pid_t parent = ::getpid();
  const pid_t pid = ::fork();
  if (pid == 0) become(argv.data(), pipe[1], parent);
  const int failure = errno;
  ::close(pipe[1]);
  if (pid < 0) {
    ::close(pipe[0]);
    return fail(ErrorCode::kInternal, Stage::kConfig,
                std::string("cannot start a process: ") + std::strerror(failure));
  }
  std::shared_ptr<PodProcess> process(new PodProcess(io, pid, pipe[0], std::move(on_line)));
  process->read();
  return process;
}

PodProcess::PodProcess(boost::asio::io_context& io, pid_t pid, int output, OnLine on_line)
    : pid_(pid), output_(io, output), on_line_(std::move(on_line)) {}

PodProcess::~PodProcess() {
  if (!running_) return;
  send(SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

void PodProcess::send(int signal) const {
  if (running_) ::kill(pid_, signal);
}

bool PodProcess::reap(int& status) {
  if (running_ && ::waitpid(pid_, &status, WNOHANG) == pid_) {
    running_ = false;
    return true;
  }
  return false;
}

void PodProcess::read() {
  buffer_.resize(kReadBytes);
  output_.async_read_some(
      boost::asio::buffer(buffer_),
      [self = weak_from_this()](boost::system::error_code ended, std::size_t size) {
        const auto process = self.lock();
        if (!process) return;
        process->unread_.append(process->buffer_, 0, size);
        process->hand_on_lines(static_cast<bool>(ended));
        if (!ended) process->read();
      });
}

void PodProcess::read_rest() {
  output_.cancel();
  std::array<char, kReadBytes> piece;
  output_.non_blocking(true);
  for (;;) {
    boost::system::error_code ended;
    const std::size_t size = output_.read_some(boost::asio::buffer(piece), ended);
    unread_.append(piece.data(), size);
    if (ended) break;
  }
  hand_on_lines(true);
}

void PodProcess::hand_on_lines(bool last) {
  std::size_t begin = 0;
  for (;;) {
    std::size_t end = unread_.find('\n', begin);
    if (end == std::string::npos) {
      const std::size_t left = unread_.size() - begin;
      if (left == 0 || (!last && left < kLongestLine)) break;
      end = unread_.size();
    }
    if (on_line_) on_line_(std::string_view(unread_).substr(begin, end - begin));
    begin = std::min(end + 1, unread_.size());
  }
  unread_.erase(0, begin);
}

}  // namespace baton::orchestrator
