#pragma once

#include <ctime>

namespace baton::orchestrator::bench {

// CPU time of the calling thread so far, user and system.
[[nodiscard]] inline double thread_cpu_seconds() {
  timespec spent{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &spent);
  return static_cast<double>(spent.tv_sec) + static_cast<double>(spent.tv_nsec) / 1e9;
}

}  // namespace baton::orchestrator::bench
