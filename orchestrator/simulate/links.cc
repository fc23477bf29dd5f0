#include "orchestrator/simulate/links.h"

#include <algorithm>

namespace baton::orchestrator::simulate {
namespace {

constexpr double kNothing = 1e-10;  // seconds that are rounding, not work

}  // namespace

double Links::slowness(const Transfer& transfer) const {
  return std::max(out_[transfer.from], in_[transfer.to]);
}

void Links::advance(TimePoint now) {
  const double passed = to_seconds(now - at_);
  at_ = now;
  if (passed <= 0) return;
  for (Transfer& transfer : active_) transfer.left_s -= passed / slowness(transfer);
}

void Links::begin(std::uint64_t transfer, std::uint32_t from, std::uint32_t to, Duration alone,
                  TimePoint now) {
  advance(now);
  ++out_[from];
  ++in_[to];
  active_.push_back({transfer, from, to, to_seconds(alone)});
}

void Links::remove(std::size_t i) {
  --out_[active_[i].from];
  --in_[active_[i].to];
  active_.erase(active_.begin() + static_cast<std::ptrdiff_t>(i));
}

std::vector<std::uint64_t> Links::cut(std::uint32_t pod, TimePoint now) {
  advance(now);
  std::vector<std::uint64_t> gone;
  for (std::size_t i = 0; i < active_.size();) {
    if (active_[i].from != pod && active_[i].to != pod) {
      ++i;
      continue;
    }
    gone.push_back(active_[i].id);
    remove(i);
  }
  return gone;
}

std::optional<Links::Arrival> Links::next() const {
  std::optional<Arrival> first;
  for (const Transfer& transfer : active_) {
    const Seconds left(std::max(0.0, transfer.left_s) * slowness(transfer));
    // Up, so that it has arrived by then.
    const TimePoint at = at_ + std::chrono::ceil<Duration>(left);
    if (!first || at < first->at) first = Arrival{transfer.id, at};
  }
  return first;
}

std::vector<std::uint64_t> Links::arrived(TimePoint now) {
  advance(now);
  std::vector<std::uint64_t> done;
  for (std::size_t i = 0; i < active_.size();) {
    if (active_[i].left_s > kNothing) {
      ++i;
      continue;
    }
    done.push_back(active_[i].id);
    remove(i);
  }
  return done;
}

}  // namespace baton::orchestrator::simulate
