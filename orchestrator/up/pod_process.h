#pragma once

#include <sys/types.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace baton::orchestrator {

// A running `baton pod`: this executable again, in a process of its own that dies with this one,
// however this one ends. Owned by the Supervisor, on the control thread. Whoever owns it waits for
// its end (on_exit of the Supervisor); destruction kills and reaps a process that still runs.
class PodProcess : public std::enable_shared_from_this<PodProcess> {
 public:
  // Each line that it writes, standard output and error together, without the newline.
  using OnLine = std::function<void(std::string_view line)>;

  // Must be called on the thread that lives longest, since the child is tied to it.
  [[nodiscard]] static Result<std::shared_ptr<PodProcess>> start(
      boost::asio::io_context& io, const std::vector<std::string>& arguments, OnLine on_line);
  ~PodProcess();
  PodProcess(const PodProcess&) = delete;
  PodProcess& operator=(const PodProcess&) = delete;

  [[nodiscard]] pid_t pid() const { return pid_; }
  void send(int signal) const;
  // True once it has ended; `status` is as waitpid() has it.
  [[nodiscard]] bool reap(int& status);
  // Hands on what it wrote and nobody has read yet.
  void read_rest();

 private:
  PodProcess(boost::asio::io_context& io, pid_t pid, int output, OnLine on_line);
  void read();
  void hand_on_lines(bool last);

  pid_t pid_;
  bool running_ = true;
  boost::asio::posix::stream_descriptor output_;
  std::string buffer_;
  std::string unread_;
  OnLine on_line_;
};

}  // namespace baton::orchestrator
