#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/engines/mock/faults.h"
#include "adapters/engines/mock/json.h"
#include "adapters/http/server.h"
#include "core/units.h"

namespace baton::adapters::mock {

// Seconds of Unix time, as engines tell the time.
[[nodiscard]] inline double unix_now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

// What one request was and what became of it, as GET /debug/requests shows it.
struct RequestRecord {
  std::uint64_t number = 0;  // from 1, in order of arrival
  double arrived = 0;        // Unix seconds
  std::string method;
  std::string target;
  http::Fields fields;  // those of interest: ids, ranks, traces, and what begins with x-
  Json body;            // as parsed; null: no JSON
  Leg leg = Leg::kPlain;
  std::string id;  // that the answer carries
  int prompt_tokens = 0;
  int cached_tokens = 0;
  int completion_tokens = 0;
  unsigned status = 0;              // 0: no answer yet, or none at all
  std::string outcome = "open";     // open, answered, refused, failed, left, or a fault's name
  std::vector<std::string> events;  // what happened, in order
  std::vector<std::string> violations;
  Json handoff;  // parameters that were given or followed

  void note(std::string event) { events.push_back(std::move(event)); }
  [[nodiscard]] Json json() const;
};

// The requests of one pod, the newest ones, and how often which rule was broken. Owned by the pod,
// on its thread.
class Ledger {
 public:
  static constexpr std::size_t kKept = 10000;

  [[nodiscard]] std::shared_ptr<RequestRecord> open(const http::Request& request, double now);
  // Counts a broken rule; `record` may be null where no request of this pod broke it.
  void violate(RequestRecord* record, std::string_view name);
  void clear();

  [[nodiscard]] Json requests() const;
  [[nodiscard]] const std::map<std::string, std::int64_t>& violations() const {
    return violations_;
  }

 private:
  std::uint64_t last_ = 0;
  std::deque<std::shared_ptr<RequestRecord>> records_;
  std::map<std::string, std::int64_t> violations_;
};

}  // namespace baton::adapters::mock
