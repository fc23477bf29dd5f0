#pragma once

#include <cstdint>
#include <functional>
#include <queue>
#include <vector>

#include "core/units.h"

namespace baton::orchestrator::simulate {

enum class EventKind : std::uint8_t { kPod, kArrivedKv, kLease, kLoss, kStart, kScrape, kArrival };

// Something that happens in a simulation at a time.
struct Event {
  TimePoint at;
  EventKind kind;
  std::uint64_t id = 0;  // pod, sequence, loss or request

  // Of one time: what pods finished first, then what comes in.
  [[nodiscard]] bool operator>(const Event& other) const {
    if (at != other.at) return at > other.at;
    if (kind != other.kind) return kind > other.kind;
    return id > other.id;
  }
};

// The next one is on top.
using EventQueue = std::priority_queue<Event, std::vector<Event>, std::greater<>>;

}  // namespace baton::orchestrator::simulate
