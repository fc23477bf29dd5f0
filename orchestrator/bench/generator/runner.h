#pragma once

#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "adapters/http/server.h"
#include "core/error.h"
#include "core/units.h"
#include "orchestrator/bench/generator/request_record.h"
#include "orchestrator/bench/workload/workload.h"

namespace baton::orchestrator::bench {

// An OpenAI endpoint under test.
struct Target {
  std::string host;
  std::uint16_t port = 0;
  std::string base_path = "/v1";
  std::string model;
  bool chat = true;               // /chat/completions; else /completions
  adapters::http::Fields fields;  // SLO headers, authorization
};

struct RunOptions {
  bool stream = true;
  bool ignore_eos = false;
  std::optional<double> temperature;
  std::string extra_body;  // JSON object whose members are added to each body; empty: none
  std::size_t requests = 0;
  std::vector<Duration> schedule;  // open loop: when each request is due. Empty: a closed loop
  int concurrency = 0;             // closed loop: requests in flight. Open: at most; 0: no limit
  std::optional<Duration> stop_sending_after;
  Duration request_timeout = std::chrono::seconds(600);
  bool keep_text = false;  // of the answers, for --save-detailed; sessions keep theirs anyhow
};

// What is known while a run goes on; for the live view and for the timeline.
struct RunProgress {
  Duration now{};
  std::size_t offered = 0;
  std::size_t total = 0;  // 0: unknown
  std::size_t completed = 0;
  std::size_t failed = 0;
  std::size_t running = 0;
  std::int64_t output_tokens = 0;
  // Of the requests that had their first token, or ended, since the last call.
  std::vector<double> ttft_ms;
  std::vector<double> tpot_ms;
};

// How well the generator itself did.
struct GeneratorStats {
  std::vector<float> send_lag_ms;  // sent minus scheduled, of each open-loop request
  double loop_lag_max_ms = 0;      // the longest that a timer of the generator's loop ran late
  double cpu_seconds = 0;          // of the generator's thread
  double wall_seconds = 0;
};

struct RunResult {
  std::vector<RequestRecord> records;  // of offered requests, in the order of `index`
  GeneratorStats generator;
  bool stopped_early = false;  // by stop(): what is here is a part
  std::string started_at;      // UTC, ISO 8601
};

// Offers a workload to a target and records what came back. Lives on one thread, on which run()
// runs the given io_context until every request ended. Promises to send each open-loop request at
// its time whatever became of the others, and never to read an answer's body twice.
class Runner {
 public:
  using Progress = std::function<void(RunProgress)>;  // on the run's thread, about twice a second
  Runner(boost::asio::io_context& io, Target target, RunOptions options);
  ~Runner();
  Runner(const Runner&) = delete;
  Runner& operator=(const Runner&) = delete;
  void on_progress(Progress progress);
  // Errors: those of the workload, more concurrency than files may be open (kInvalidArgument). A
  // target that is not there is no error here: the records say so.
  [[nodiscard]] Result<RunResult> run(Workload& workload);
  // Stops sending and cancels what is in flight (kUnfinished); run() returns soon. Any thread, and
  // a signal handler's io_context.
  void stop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace baton::orchestrator::bench
