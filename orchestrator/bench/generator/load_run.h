#pragma once

#include <cstddef>
#include <exception>
#include <list>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "adapters/http/client.h"
#include "adapters/http/stream.h"
#include "orchestrator/bench/generator/flight.h"
#include "orchestrator/bench/generator/openai_body.h"
#include "orchestrator/bench/generator/runner.h"
#include "orchestrator/bench/generator/send_queue.h"

namespace baton::orchestrator::bench {

// Raises the limit on open files as far as it goes; returns how many connections fit in it.
[[nodiscard]] std::size_t room_for_connections();

// One run of a Runner, from its start to the end of its last request. On the run's thread.
class LoadRun {
 public:
  LoadRun(boost::asio::io_context& io, const Target& target, const RunOptions& options,
          OpenAiBody body, Workload& workload, const Runner::Progress& progress);
  LoadRun(const LoadRun&) = delete;
  LoadRun& operator=(const LoadRun&) = delete;

  [[nodiscard]] Result<RunResult> run();
  void stop();

 private:
  using Flights = std::list<Flight>;
  struct Prepared {
    std::size_t index = 0;
    WorkloadRequest request;
    std::string body;
  };

  void pump();        // sends what is due, then waits for the next time
  void pump_later();  // at the latest after what the loop has to do already
  void wait_for(Duration due);
  void launch(const SendQueue::Next& next);
  [[nodiscard]] Result<Prepared> prepare(std::size_t index);
  void prepare_ahead();
  void landed(Flights::iterator flight, const std::exception_ptr& failure);
  void count_end(const RequestRecord& record);
  void give_up(Error error);
  void tick();
  void report_progress();
  void cancel_late_ones(TimePoint now);
  void cancel_later(Flight& flight, Flight::Cancel why, Duration delay);
  static void cancel(Flight& flight, Flight::Cancel why);
  void finish_if_over();
  [[nodiscard]] RunResult result(double cpu_seconds) const;
  [[nodiscard]] Duration now() const { return context_.now(); }

  boost::asio::io_context& io_;
  const Target& target_;
  const RunOptions& options_;
  OpenAiBody body_;
  Workload& workload_;
  const Runner::Progress& on_progress_;
  SendQueue queue_;
  std::unique_ptr<adapters::http::Client> client_;
  FlightContext context_;
  std::string path_;
  Flights flights_;
  std::vector<RequestRecord> records_;
  std::optional<Prepared> ahead_;
  std::optional<Error> error_;
  RunProgress progress_;

  adapters::http::IoTimer send_timer_;
  std::optional<Duration> waiting_for_;
  bool pumping_later_ = false;
  adapters::http::IoTimer ticker_;
  TimePoint tick_at_;
  int ticks_ = 0;
  Duration worst_lag_{};
  // Flights to be cancelled, by time: those that stay open after [DONE], and those meant to leave.
  std::set<std::pair<TimePoint, Flight*>> late_;
  bool stopped_ = false;
  bool finished_ = false;
};

}  // namespace baton::orchestrator::bench
