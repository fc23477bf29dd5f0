#pragma once

#include <sched.h>

namespace baton::orchestrator::bench {

// Keeps the calling thread on one core and what it starts meanwhile on the others, so that a server
// that the generator is measured against does not take its time. Where there is one core only,
// or no right to choose, it does nothing.
class OwnCore {
 public:
  OwnCore();
  ~OwnCore();
  OwnCore(const OwnCore&) = delete;
  OwnCore& operator=(const OwnCore&) = delete;
  // Threads and processes started from here on get the other cores,
  void give_others() const;
  // until the calling thread goes back to its own.
  void take_own() const;

 private:
  bool usable_ = false;
  cpu_set_t before_{};
  cpu_set_t own_{};
  cpu_set_t others_{};
};

}  // namespace baton::orchestrator::bench
