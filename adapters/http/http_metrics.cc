#include "adapters/http/http_metrics.h"

#include <string>
#include <utility>

namespace baton::adapters::http {

HttpMetrics::HttpMetrics(Metrics& metrics, std::vector<const ServerStats*> servers)
    : servers_(std::move(servers)),
      connections_(metrics.gauge(kHttpMetrics[0])),
      exchanges_(metrics.gauge(kHttpMetrics[2])) {
  const auto carry = [&](std::size_t row, auto read) {
    counters_.push_back({&metrics.counter(kHttpMetrics[row]), read, 0});
  };
  carry(1, [](const ServerStats& s, std::size_t) { return s.connections_accepted.get(); });
  carry(3, [](const ServerStats& s, std::size_t) { return s.exchanges.get(); });
  carry(4, [](const ServerStats& s, std::size_t) { return s.bytes_received.get(); });
  carry(5, [](const ServerStats& s, std::size_t) { return s.bytes_sent.get(); });
  carry(6, [](const ServerStats& s, std::size_t) { return s.accept_failures.get(); });
  for (std::size_t i = 0; i < kRefusalReasons; ++i) {
    const std::string reason(name_of(static_cast<RefusalReason>(i)));
    counters_.push_back(
        {&metrics.counter(kHttpMetrics[7], {reason}),
         [](const ServerStats& s, std::size_t index) { return s.refused[index].get(); }, i});
  }
}

std::int64_t HttpMetrics::sum(std::int64_t (*read)(const ServerStats&, std::size_t),
                              std::size_t index) const {
  std::int64_t total = 0;
  for (const ServerStats* server : servers_) total += read(*server, index);
  return total;
}

void HttpMetrics::update() {
  const auto as_double = [](std::int64_t n) { return static_cast<double>(n); };
  connections_.Set(as_double(
      sum([](const ServerStats& s, std::size_t) { return s.connections_open.get(); }, 0)));
  exchanges_.Set(
      as_double(sum([](const ServerStats& s, std::size_t) { return s.exchanges_open.get(); }, 0)));
  for (Carried& carried : counters_) {
    const std::int64_t now = sum(carried.read, carried.index);
    carried.counter->Increment(as_double(now - carried.seen));
    carried.seen = now;
  }
}

}  // namespace baton::adapters::http
