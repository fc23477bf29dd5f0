#pragma once

#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <cstdlib>

namespace baton::perf {

// fork(), whose child ends with its parent, however that ends: a benchmark that fails leaves nobody
// behind.
[[nodiscard]] inline pid_t fork_with_me() {
  const pid_t parent = ::getpid();
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) std::_Exit(1);
  }
  return child;
}

}  // namespace baton::perf
