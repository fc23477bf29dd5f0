#pragma once

#include <sched.h>
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

// Where a benchmark's two processes run, so that all contenders have them apart: left to itself the
// system puts them on one core or on two, and a small transfer takes ten times longer on two that
// sleep. Without a second core they stay where they are.
enum class Core : int { kOwner = 0, kReader = 1 };
inline void run_on(Core core) {
  cpu_set_t cores;
  CPU_ZERO(&cores);
  CPU_SET(static_cast<int>(core), &cores);
  (void)::sched_setaffinity(0, sizeof cores, &cores);
}

}  // namespace baton::perf
