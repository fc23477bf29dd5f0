#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "adapters/http/request_gate.h"
#include "core/metrics.h"

namespace baton::adapters::http {

// A count with one writing thread and any readers.
class Tally {
 public:
  void add(std::int64_t n) {
    value_.store(value_.load(std::memory_order_relaxed) + n, std::memory_order_relaxed);
  }
  [[nodiscard]] std::int64_t get() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::int64_t> value_{0};
};

// What one server did so far. Written on its thread, read by any.
struct ServerStats {
  Tally connections_open;
  Tally connections_accepted;
  Tally exchanges_open;
  Tally exchanges;
  Tally bytes_received;  // bodies
  Tally bytes_sent;      // bodies
  Tally accept_failures;
  std::array<Tally, kRefusalReasons> refused;
};

inline constexpr MetricSpec kHttpMetrics[] = {
    {"baton_http_connections", MetricType::kGauge, "Client connections that are open.", "", {}},
    {"baton_http_connections_total", MetricType::kCounter, "Client connections accepted.", "", {}},
    {"baton_http_exchanges", MetricType::kGauge, "Requests being answered.", "", {}},
    {"baton_http_exchanges_total", MetricType::kCounter, "Requests given to a handler.", "", {}},
    {"baton_http_received_bytes_total", MetricType::kCounter, "Bytes of request bodies.", "", {}},
    {"baton_http_sent_bytes_total", MetricType::kCounter, "Bytes of response bodies.", "", {}},
    {"baton_http_accept_failures_total",
     MetricType::kCounter,
     "Failures to accept a connection, such as too many open files.",
     "",
     {}},
    {"baton_http_rejected_total",
     MetricType::kCounter,
     "Requests and connections refused before any handler saw them.",
     "reason",
     {}},
};

// Carries the counts of some servers into the process's metrics. On the thread that scrapes; the
// servers must outlive it.
class HttpMetrics {
 public:
  HttpMetrics(Metrics& metrics, std::vector<const ServerStats*> servers);
  void update();

 private:
  struct Carried {
    prometheus::Counter* counter;
    std::int64_t (*read)(const ServerStats&, std::size_t);
    std::size_t index;
    std::int64_t seen = 0;
  };
  [[nodiscard]] std::int64_t sum(std::int64_t (*read)(const ServerStats&, std::size_t),
                                 std::size_t index) const;

  std::vector<const ServerStats*> servers_;
  prometheus::Gauge& connections_;
  prometheus::Gauge& exchanges_;
  std::vector<Carried> counters_;
};

}  // namespace baton::adapters::http
