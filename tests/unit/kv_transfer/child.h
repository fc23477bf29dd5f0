#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "core/units.h"

namespace baton::kv {

// A kv_peer process, killed at the latest by the destructor. Used by one thread.
class Child {
 public:
  // `before` is what starts it, as {"ip", "netns", "exec", NAME}.
  explicit Child(std::vector<std::string> arguments, std::vector<std::string> before = {});
  ~Child();
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  // A line to its standard input; nothing where it has gone.
  void say(const std::string& line);
  // Its next line; empty: none came in time.
  [[nodiscard]] std::string line(Duration limit = std::chrono::seconds(20));
  // The same, but lines that do not start with `prefix` are passed over.
  [[nodiscard]] std::string line_that_starts(const std::string& prefix,
                                             Duration limit = std::chrono::seconds(20));

  void signal(int number) const;
  void kill();  // and wait until it is gone
  // Lets it end by itself, as it does when its input ends; its exit status, 128 and more: a signal.
  [[nodiscard]] int finish();

 private:
  int reap();

  pid_t pid_ = -1;
  int input_ = -1;
  int output_ = -1;
  std::string pending_;  // of its output
};

}  // namespace baton::kv
