#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "core/units.h"

namespace baton::orchestrator::simulate {

// KV on its way between pods. Each pod has one link out and one in of the same bandwidth, which the
// transfers on it share evenly; a transfer runs at the lesser of its two shares. Pure: time is
// passed in and never goes back. Owned by a simulation.
class Links {
 public:
  struct Arrival {
    std::uint64_t transfer = 0;
    TimePoint at;
  };

  explicit Links(std::size_t pods) : out_(pods, 0), in_(pods, 0) {}

  // Begins a transfer that takes `alone` where nothing shares its links.
  void begin(std::uint64_t transfer, std::uint32_t from, std::uint32_t to, Duration alone,
             TimePoint now);
  // Takes out all transfers that use the pod: it is gone. Returns them.
  std::vector<std::uint64_t> cut(std::uint32_t pod, TimePoint now);
  // The next transfer to arrive, if nothing begins before.
  [[nodiscard]] std::optional<Arrival> next() const;
  // Takes out the transfers that have arrived by `now`, in order.
  std::vector<std::uint64_t> arrived(TimePoint now);
  [[nodiscard]] std::size_t active() const { return active_.size(); }

 private:
  struct Transfer {
    std::uint64_t id = 0;
    std::uint32_t from = 0;
    std::uint32_t to = 0;
    double left_s = 0;  // if it were alone
  };
  void advance(TimePoint now);
  void remove(std::size_t i);
  [[nodiscard]] double slowness(const Transfer& transfer) const;

  std::vector<std::uint32_t> out_;  // transfers on each pod's link
  std::vector<std::uint32_t> in_;
  std::vector<Transfer> active_;  // in the order of their beginning
  TimePoint at_{};
};

}  // namespace baton::orchestrator::simulate
