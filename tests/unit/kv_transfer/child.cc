#include "tests/unit/kv_transfer/child.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <utility>

extern char** environ;

namespace baton::kv {

Child::Child(std::vector<std::string> arguments, std::vector<std::string> before) {
  ::signal(SIGPIPE, SIG_IGN);
  before.emplace_back(KV_PEER_PATH);
  before.insert(before.end(), arguments.begin(), arguments.end());
  std::vector<char*> argv;
  for (std::string& argument : before) argv.push_back(argument.data());
  argv.push_back(nullptr);
  // Closed in every other child, so that the end of one's input is not kept away by another.
  int in[2];
  int out[2];
  EXPECT_EQ(::pipe2(in, O_CLOEXEC), 0);
  EXPECT_EQ(::pipe2(out, O_CLOEXEC), 0);
  posix_spawn_file_actions_t actions;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  ::posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  EXPECT_EQ(::posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), environ), 0);
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(in[0]);
  ::close(out[1]);
  input_ = in[1];
  output_ = out[0];
}

Child::~Child() {
  kill();
  if (input_ >= 0) ::close(input_);
  ::close(output_);
}

void Child::say(const std::string& line) {
  const std::string text = line + "\n";
  (void)!::write(input_, text.data(), text.size());
}

std::string Child::line(Duration limit) {
  const TimePoint until = Clock::now() + limit;
  for (;;) {
    if (const auto end = pending_.find('\n'); end != std::string::npos) {
      std::string text = pending_.substr(0, end);
      pending_.erase(0, end + 1);
      return text;
    }
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(until - Clock::now()).count();
    pollfd readable{output_, POLLIN, 0};
    if (left <= 0 || ::poll(&readable, 1, static_cast<int>(left)) <= 0) return {};
    std::array<char, 4096> room;
    const ssize_t got = ::read(output_, room.data(), room.size());
    if (got <= 0) return {};
    pending_.append(room.data(), static_cast<std::size_t>(got));
  }
}

std::string Child::line_that_starts(const std::string& prefix, Duration limit) {
  const TimePoint until = Clock::now() + limit;
  for (;;) {
    std::string text = line(until - Clock::now());
    if (text.empty() || text.starts_with(prefix)) return text;
  }
}

void Child::signal(int number) const {
  if (pid_ > 0) ::kill(pid_, number);
}

void Child::kill() {
  signal(SIGKILL);
  (void)reap();
}

int Child::finish() {
  ::close(std::exchange(input_, -1));
  return reap();
}

int Child::reap() {
  if (pid_ <= 0) return 0;
  int status = 0;
  ::waitpid(std::exchange(pid_, -1), &status, 0);
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

}  // namespace baton::kv
