#include "orchestrator/bench/generator/own_core.h"

namespace baton::orchestrator::bench {
namespace {

void run_on(const cpu_set_t& cores) { ::sched_setaffinity(0, sizeof cores, &cores); }

}  // namespace

OwnCore::OwnCore() {
  if (::sched_getaffinity(0, sizeof before_, &before_) != 0 || CPU_COUNT(&before_) < 2) return;
  usable_ = true;
  int last =
      CPU_SETSIZE - 1;  // interrupts and housekeeping go to the first one, more often than not
  while (!CPU_ISSET(last, &before_)) --last;
  CPU_ZERO(&own_);
  CPU_SET(last, &own_);
  others_ = before_;
  CPU_CLR(last, &others_);
}

OwnCore::~OwnCore() {
  if (usable_) run_on(before_);
}

void OwnCore::give_others() const {
  if (usable_) run_on(others_);
}

void OwnCore::take_own() const {
  if (usable_) run_on(own_);
}

}  // namespace baton::orchestrator::bench
