#pragma once

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "adapters/http/http_metrics.h"
#include "orchestrator/lifecycle/leg_policy.h"
#include "orchestrator/lifecycle/request_life.h"

namespace baton::orchestrator::testing {

// Something that happens once and that coroutines of one thread wait for.
class Happening {
 public:
  explicit Happening(asio::io_context& io) : timer_(io, TimePoint::max()) {}
  void happen() {
    happened_ = true;
    timer_.cancel();
  }
  [[nodiscard]] bool happened() const { return happened_; }
  Task<void> wait();

 private:
  asio::steady_timer timer_;
  bool happened_ = false;
};

// What a pod does with one completion request.
struct Script {
  enum class Kind {
    kAnswer,       // well: an event stream or a body, as the request asks
    kStatus,       // `status` with `body`
    kHang,         // no answer until the router leaves
    kDie,          // the whole pod stops, without an answer
    kCutStream,    // begins the stream, then closes the connection in the middle of an event
    kEndEarly,     // ends the stream in order but without [DONE]
    kErrorEvent,   // an error event of the engine's own, then closes
    kErrorInside,  // the same, but ends the stream in order
    kErrorFirst,   // nothing but such an event (`body`, if any) and [DONE], as vLLM ends a stream
    kDropStream,   // begins a stream and closes the connection before its first event
    kCutBody,      // a body of unknown length, cut short
    kFlood,        // a stream of `flood_bytes`, counted in TestPod::flooded as they are taken
  };
  Kind kind = Kind::kAnswer;
  unsigned status = 0;
  std::string body{};
  std::function<std::string(const http::Request&)> answer{};  // makes `body`, if set
  std::shared_ptr<Happening> gate{};                          // awaited before anything is answered
  std::size_t flood_bytes = 0;
};

// A model server on a real socket, on the test's thread, that follows scripts in order and then
// answers well.
class TestPod {
 public:
  TestPod(asio::io_context& io, std::string name, Role role, std::uint32_t index);

  [[nodiscard]] std::shared_ptr<const PodEntry> entry() const;
  void move_to(std::uint16_t port) { port_ = port; }  // of somebody else
  [[nodiscard]] const std::string& name() const { return name_; }
  void will(Script script) { scripts_.push_back(std::move(script)); }
  void will(Script::Kind kind) { will(Script{.kind = kind}); }
  void will_refuse(unsigned status, std::string body) {
    will(Script{.kind = Script::Kind::kStatus, .status = status, .body = std::move(body)});
  }
  void stop() { server_->stop(); }
  [[nodiscard]] std::int64_t connections() const {  // that the router has opened
    return server_->stats().connections_accepted.get();
  }

  std::vector<http::Request> requests;  // completions
  std::vector<std::string> released;    // targets of DELETE
  std::vector<std::string> tokenized;   // bodies of POST /tokenize
  std::string ids_answer;               // to these; empty: 404
  int left = 0;                         // requests that the router gave up
  int open = 0;
  std::size_t flooded = 0;
  int max_running = 64;
  int waiting = 0;  // that its metrics tell
  std::string answer_text = "hello";
  std::string timing = R"({"queue_ms":0.5,"exposed_transfer_ms":0.25,"kv_bytes":2048,)"
                       R"("transport":"shm"})";

 private:
  static Task<void> serve(TestPod* pod, http::Exchange* exchange);
  static Task<void> play(TestPod* pod, http::Exchange* exchange, Script script);
  static Task<void> answer_well(TestPod* pod, http::Exchange* exchange);
  static Task<void> flood(TestPod* pod, http::Exchange* exchange, std::size_t bytes);
  [[nodiscard]] http::Fields stream_fields() const;

  asio::io_context& io_;
  std::string name_;
  Role role_;
  std::uint32_t index_;
  std::uint16_t port_ = 0;
  std::deque<Script> scripts_;
  std::unique_ptr<http::Server> server_;
};

// Answers every connection with the same bytes and closes it, as a pod that dies while it sends.
class BrokenPod {
 public:
  BrokenPod(asio::io_context& io, std::string bytes);
  [[nodiscard]] std::uint16_t port() const { return acceptor_.local_endpoint().port(); }
  [[nodiscard]] int connections() const { return connections_; }

 private:
  static Task<void> serve(BrokenPod* pod);

  asio::ip::tcp::acceptor acceptor_;
  std::string bytes_;
  int connections_ = 0;
};

// What TestPod streams for its text, byte for byte; and what it answers without a stream.
[[nodiscard]] std::string expected_stream(const std::string& text);
[[nodiscard]] std::string expected_body(const std::string& text);

// One request of a client and what it has of the answer so far.
struct Call {
  unsigned status = 0;  // 0: no head yet
  http::Fields fields;
  std::string body;
  bool ended = false;
  bool cut = false;     // ended, but not in order
  bool paused = false;  // set: reads no more until resumed
  std::shared_ptr<Happening> resume;
  asio::cancellation_signal leave;
  [[nodiscard]] std::string field(std::string_view name) const;
};

// A router's data port, its pods and a client, all on one thread and over real sockets.
class Router {
 public:
  explicit Router(PoolConfig pool = default_pool(), bool expose_plan = true,
                  const adapters::Connector* connector = nullptr);
  ~Router();

  static PoolConfig default_pool();
  TestPod& add_pod(const std::string& name, Role role);
  void publish();  // a snapshot of all pods

  [[nodiscard]] std::shared_ptr<Call> call(std::string method, std::string target, std::string body,
                                           http::Fields fields = {}, bool paused = false);
  [[nodiscard]] std::shared_ptr<Call> chat(bool stream = true, http::Fields fields = {});
  // Runs the thread until `done`, at most 10 s; false: it did not come.
  [[nodiscard]] bool run_until(const std::function<bool()>& done);
  // The call is over, the router has settled it and given back what there was to give back.
  [[nodiscard]] bool finish(Call& call);
  [[nodiscard]] bool settled();

  [[nodiscard]] PodLoad& load(const TestPod& pod) { return loads_.of(pod.entry()->index); }
  [[nodiscard]] double metric(std::string_view line) const;  // the value after this series
  [[nodiscard]] PrefixIndex& prefixes() { return prefixes_; }
  [[nodiscard]] LatencyModel& latency() { return latencies_.of(config_->pools.front().name); }

  [[nodiscard]] LearnedSizes& sizes() { return sizes_.of(config_->pools.front().name); }
  [[nodiscard]] ThreadContext& context() { return *context_; }

  asio::io_context io;

 private:
  Metrics metrics_;
  LoadTable loads_;
  PrefixIndex prefixes_{Bytes(1 << 20)};
  LatencyModels latencies_;
  ChainBindings bindings_{Bytes(1 << 20)};
  LearnedSizesOfPools sizes_;
  std::shared_ptr<Config> config_;
  std::unique_ptr<ThreadContext> context_;
  std::unique_ptr<http::Server> server_;
  std::unique_ptr<http::Client> client_;
  std::vector<std::unique_ptr<TestPod>> pods_;
  std::vector<std::shared_ptr<Call>> calls_;
  std::uint64_t version_ = 0;
};

}  // namespace baton::orchestrator::testing
