#pragma once

#include <boost/asio/cancellation_signal.hpp>
#include <cstdint>
#include <functional>
#include <optional>

#include "adapters/http/client.h"
#include "orchestrator/bench/generator/request_record.h"
#include "orchestrator/bench/generator/runner.h"

namespace baton::orchestrator::bench {

// One request under way. Owned by its run, until its coroutine ended.
struct Flight {
  enum class Cancel : std::uint8_t { kNone, kStopped, kLeft, kDrained };

  RequestRecord record;
  adapters::http::ClientRequest request;
  bool keep_text = false;
  std::optional<int> leave_after_tokens;
  boost::asio::cancellation_signal signal;
  Cancel cancelled = Cancel::kNone;
  std::optional<TimePoint> cancel_at;  // by the run, for this reason
  Cancel cancel_later_as = Cancel::kNone;
};

// What the flights of one run share. Owned by the run.
struct FlightContext {
  adapters::http::Client* client = nullptr;
  std::string host;
  std::uint16_t port = 0;
  TimePoint start;
  Duration timeout{};
  RunProgress* progress = nullptr;
  // Asks for the flight's cancellation, for this reason, after a delay.
  std::function<void(Flight&, Flight::Cancel, Duration)> cancel_later;

  [[nodiscard]] Duration now() const { return Clock::now() - start; }
};

// Sends the request, reads its answer, and leaves everything in flight->record. Both outlive it.
[[nodiscard]] adapters::http::Task<void> fly(const FlightContext* context, Flight* flight);

}  // namespace baton::orchestrator::bench
