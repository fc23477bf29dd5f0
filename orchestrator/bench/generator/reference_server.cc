#include "orchestrator/bench/generator/reference_server.h"

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <cerrno>
#include <csignal>
#include <thread>
#include <utility>

#include "adapters/http/connection.h"
#include "adapters/http/server.h"
#include "core/json_fields.h"
#include "orchestrator/bench/generator/reference_texts.h"
#include "orchestrator/bench/generator/sleepers.h"

namespace baton::orchestrator::bench {
namespace {

namespace asio = boost::asio;
namespace http = adapters::http;
using http::Exchange;
using http::Task;
using Fault = ReferenceFault;

constexpr std::string_view kDone = "data: [DONE]\n\n";
constexpr std::string_view kPage = "<!DOCTYPE html>\n<html><body>Welcome</body></html>\n";

// Answers on one io_context. Owned by whoever runs that.
class Service {
 public:
  Service(asio::io_context& io, ReferenceOptions options)
      : options_(std::move(options)), texts_(options_.model), sleepers_(io), io_(io) {}

  Result<void> listen();
  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] int requests() const { return requests_.load(std::memory_order_relaxed); }
  // What is open ends; then io.run() returns.
  void close();
  std::vector<ServedTruth> take_truth() { return std::exchange(truth_, {}); }

 private:
  Task<void> handle(Exchange& exchange);
  Task<void> complete(Exchange& exchange, bool chat);
  Task<void> answer_whole(Exchange& exchange, const ReferenceAsk& ask, Fault fault,
                          Sleepers::SleeperPtr sleeper, std::size_t truth);
  Task<void> answer_stream(Exchange& exchange, const ReferenceAsk& ask, Fault fault,
                           Sleepers::SleeperPtr sleeper, std::size_t truth);
  Task<bool> send_tokens(Exchange& exchange, const ReferenceAsk& ask, int tokens,
                         Sleepers::SleeperPtr sleeper, std::size_t truth);
  Task<bool> failed_at_once(Exchange& exchange, Fault fault, Sleepers::SleeperPtr sleeper);
  Task<void> refuse(Exchange& exchange);
  [[nodiscard]] std::string tail_of(const ReferenceAsk& ask, Fault fault) const;
  [[nodiscard]] static Task<void> send_json(Exchange& exchange, unsigned status, std::string body);
  [[nodiscard]] http::Fields fields(std::string_view content_type) const;
  [[nodiscard]] Fault next_fault();
  [[nodiscard]] std::size_t note_request(TimePoint received, std::int64_t id);
  void note_tokens(std::size_t truth, int count);
  void note_end(std::size_t truth, bool sent);

  ReferenceOptions options_;
  ReferenceTexts texts_;
  Sleepers sleepers_;
  asio::io_context& io_;
  std::unique_ptr<http::Server> server_;
  std::uint16_t port_ = 0;
  std::atomic<int> requests_ = 0;
  std::vector<ServedTruth> truth_;
};

Result<void> Service::listen() {
  http::ServerLimits limits;
  limits.idle_time = std::chrono::hours(1);
  limits.write_time = std::chrono::hours(1);
  limits.body = Bytes(256LL << 20);
  auto server = http::Server::listen(io_, options_.host, options_.port, limits,
                                     [this](Exchange& exchange) { return handle(exchange); });
  if (!server) return std::unexpected(server.error());
  server_ = std::move(*server);
  port_ = server_->port();
  return {};
}

void Service::close() {
  sleepers_.stop();
  server_.reset();
}

Task<void> Service::send_json(Exchange& exchange, unsigned status, std::string body) {
  http::Fields fields;
  fields.emplace_back("content-type", "application/json");
  (void)co_await exchange.send(status, std::move(fields), std::move(body));
}

Task<void> Service::handle(Exchange& exchange) {
  const std::string_view path = exchange.request().path();
  if (path == "/v1/chat/completions") {
    co_await complete(exchange, true);
  } else if (path == "/v1/completions") {
    co_await complete(exchange, false);
  } else if (path == "/v1/models") {
    co_await send_json(exchange, 200, texts_.models());
  } else if (path == "/health") {
    co_await send_json(exchange, 200, "{}");
  } else if (path == "/tokenize") {
    auto tokens = ReferenceTexts::tokenized(exchange.request().body);
    const unsigned status = tokens ? 200 : 400;
    co_await send_json(exchange, status, tokens ? std::move(*tokens) : R"({"error":{}})");
  } else {
    co_await send_json(exchange, 404, R"({"error":{"code":"not_found"}})");
  }
}

Fault Service::next_fault() {
  const int count = requests_.fetch_add(1, std::memory_order_relaxed) + 1;
  return count % std::max(options_.fault_every, 1) == 0 ? options_.fault : Fault::kNone;
}

std::size_t Service::note_request(TimePoint received, std::int64_t id) {
  if (options_.keep_truth) truth_.push_back({id, received, {}, {}, false});
  return truth_.size() - 1;
}

void Service::note_tokens(std::size_t truth, int count) {
  if (!options_.keep_truth) return;
  std::vector<TimePoint>& tokens = truth_[truth].tokens;
  tokens.insert(tokens.end(), static_cast<std::size_t>(count), Clock::now());
}

void Service::note_end(std::size_t truth, bool sent) {
  if (!options_.keep_truth) return;
  if (truth_[truth].ended == TimePoint{}) truth_[truth].ended = Clock::now();
  truth_[truth].whole = sent;
}

http::Fields Service::fields(std::string_view content_type) const {
  http::Fields fields;
  fields.emplace_back("content-type", content_type);
  fields.emplace_back("x-request-id", "reference-" + std::to_string(requests()));
  fields.insert(fields.end(), options_.fields.begin(), options_.fields.end());
  return fields;
}

Task<void> Service::refuse(Exchange& exchange) {
  co_await send_json(exchange, options_.fault_status,
                     R"({"error":{"message":"No.","type":"too_many","param":null,)"
                     R"("code":"rate_limit_exceeded"}})");
}

// True: that was the answer.
Task<bool> Service::failed_at_once(Exchange& exchange, Fault fault, Sleepers::SleeperPtr sleeper) {
  switch (fault) {
    case Fault::kStatus: co_await refuse(exchange); co_return true;
    case Fault::kHtml: {
      http::Fields page = fields("text/html");
      (void)co_await exchange.send(200, std::move(page), std::string(kPage));
      co_return true;
    }
    case Fault::kReset: {
      auto& connection = static_cast<http::Connection&>(exchange);
      connection.reset_on_close();
      connection.close();
      co_return true;
    }
    case Fault::kHang:
      co_await Sleepers::forever(std::move(sleeper));
      exchange.abandon();
      co_return true;
    default: co_return false;
  }
}

Task<void> Service::complete(Exchange& exchange, bool chat) {
  const TimePoint received = Clock::now();
  auto ask = read_reference_ask(exchange.request().body, chat, options_.timing);
  if (!ask) {
    co_await send_json(exchange, 400,
                       R"({"error":{"message":)" + json_quote(ask.error().message) +
                           R"(,"type":"invalid_request_error","code":"bad_request"}})");
    co_return;
  }
  ask->received = received;
  const Fault fault = next_fault();
  const std::size_t truth = note_request(received, ask->id);
  const Sleepers::SleeperPtr sleeper = sleepers_.make();
  exchange.on_client_gone([sleeper] { sleeper->leave(); });
  if (co_await failed_at_once(exchange, fault, sleeper)) co_return;
  if (ask->stream) {
    co_await answer_stream(exchange, *ask, fault, sleeper, truth);
  } else {
    co_await answer_whole(exchange, *ask, fault, sleeper, truth);
  }
}

Task<void> Service::answer_whole(Exchange& exchange, const ReferenceAsk& ask, Fault fault,
                                 Sleepers::SleeperPtr sleeper, std::size_t truth) {
  const Duration work = ask.timing.ttft + ask.timing.gap * std::max(ask.timing.tokens - 1, 0);
  if (!co_await sleepers_.until(std::move(sleeper), ask.received + work)) co_return;
  std::string body = texts_.whole_answer(ask);
  if (fault == Fault::kOtherJson) body = R"({"object":"list","data":[]})";
  if (fault == Fault::kEmptyStream) body.clear();
  http::Fields head = fields("application/json");
  note_tokens(truth, 1);
  const auto sent = co_await exchange.send(200, std::move(head), std::move(body));
  note_end(truth, sent.has_value());
}

Task<void> Service::answer_stream(Exchange& exchange, const ReferenceAsk& ask, Fault fault,
                                  Sleepers::SleeperPtr sleeper, std::size_t truth) {
  http::Fields head = fields("text/event-stream");
  if (!co_await exchange.start(200, std::move(head))) co_return;
  if (fault == Fault::kEmptyStream) {
    (void)co_await exchange.finish();
    co_return;
  }
  if (ask.timing.role_first && !co_await exchange.write(texts_.role_event())) co_return;
  const bool half = fault == Fault::kErrorEvent || fault == Fault::kCut || fault == Fault::kStall;
  const int tokens = half ? (ask.timing.tokens + 1) / 2 : ask.timing.tokens;
  if (!co_await send_tokens(exchange, ask, tokens, sleeper, truth)) co_return;
  if (fault == Fault::kStall) co_await Sleepers::forever(sleeper);
  if (fault == Fault::kStall || fault == Fault::kCut) {
    exchange.abandon();
    co_return;
  }
  const std::string tail = tail_of(ask, fault);
  const bool written = (co_await exchange.write(tail)).has_value();
  note_end(truth, written);
  if (fault == Fault::kOpenEnd) co_await Sleepers::forever(sleeper);
  if (written) (void)co_await exchange.finish();
}

std::string Service::tail_of(const ReferenceAsk& ask, Fault fault) const {
  switch (fault) {
    case Fault::kErrorEvent:
      return "data: {\"error\":{\"message\":\"No.\",\"code\":\"engine_died\"}}\n\n";
    case Fault::kOtherJson: return "data: {\"hello\":1}\n\n";
    default: break;
  }
  std::string tail;
  if (ask.timing.usage || fault == Fault::kUsageTwice) tail += texts_.usage_event(ask);
  if (fault == Fault::kUsageTwice) tail += texts_.usage_event(ask);
  if (fault != Fault::kNoDone) tail += kDone;
  return tail;
}

// False: the client left.
Task<bool> Service::send_tokens(Exchange& exchange, const ReferenceAsk& ask, int tokens,
                                Sleepers::SleeperPtr sleeper, std::size_t truth) {
  const std::string& event = texts_.token_event(ask.chat);
  TimePoint due = ask.received + ask.timing.ttft;
  if (ask.timing.gap == Duration::zero()) {
    if (!co_await sleepers_.until(sleeper, due)) co_return false;
    std::string all;
    for (int i = 0; i < tokens; ++i) all += event;
    note_tokens(truth, tokens);
    co_return (co_await exchange.write(all)).has_value();
  }
  for (int i = 0; i < tokens; ++i, due += ask.timing.gap) {
    if (!co_await sleepers_.until(sleeper, due)) co_return false;
    note_tokens(truth, 1);
    if (!co_await exchange.write(event)) co_return false;
  }
  co_return true;
}

// Runs a service on a thread of its own.
class ThreadedServer final : public ReferenceServer {
 public:
  explicit ThreadedServer(ReferenceOptions options) : service_(io_, std::move(options)) {}
  ThreadedServer(const ThreadedServer&) = delete;
  ThreadedServer& operator=(const ThreadedServer&) = delete;
  ~ThreadedServer() override { end(); }

  Result<void> begin() {
    auto listening = service_.listen();
    if (!listening) return listening;
    thread_ = std::thread([this] { io_.run(); });
    return {};
  }
  [[nodiscard]] std::uint16_t port() const override { return service_.port(); }
  [[nodiscard]] int requests() const override { return service_.requests(); }
  std::vector<ServedTruth> stop() override {
    end();
    return service_.take_truth();
  }

 private:
  void end() {
    if (!thread_.joinable()) return;
    asio::post(io_, [this] { service_.close(); });
    thread_.join();
  }

  asio::io_context io_{1};
  Service service_;
  std::thread thread_;
};

}  // namespace

Result<std::unique_ptr<ReferenceServer>> ReferenceServer::start(ReferenceOptions options) {
  auto server = std::make_unique<ThreadedServer>(std::move(options));
  if (const auto begun = server->begin(); !begun) return std::unexpected(begun.error());
  return server;
}

namespace {

// The child of a fork(): no signal handling, whose state in Asio is shared with the parent.
[[noreturn]] void serve_as_child(const ReferenceOptions& options, int ready) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  sigset_t all;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, nullptr);
  asio::io_context io(1);
  Service service(io, options);
  if (!service.listen()) ::_exit(1);
  const std::uint16_t port = service.port();
  if (::write(ready, &port, sizeof port) != sizeof port) ::_exit(1);
  ::close(ready);
  io.run();
  ::_exit(0);
}

}  // namespace

Result<std::unique_ptr<ReferenceChild>> ReferenceChild::start(const ReferenceOptions& options) {
  int ready[2];
  if (::pipe2(ready, O_CLOEXEC) != 0) {
    return fail(ErrorCode::kUnavailable, Stage::kRouter, "cannot make a pipe");
  }
  const int pid = ::fork();
  if (pid == 0) {
    ::close(ready[0]);
    serve_as_child(options, ready[1]);
  }
  ::close(ready[1]);
  std::uint16_t port = 0;
  ssize_t got = -1;
  if (pid > 0) {
    do {
      got = ::read(ready[0], &port, sizeof port);
    } while (got < 0 && errno == EINTR);
  }
  ::close(ready[0]);
  auto child = std::make_unique<ReferenceChild>(pid, port);
  if (got != sizeof port) {
    return fail(ErrorCode::kUnavailable, Stage::kRouter,
                "cannot start the reference server in a process of its own");
  }
  return child;
}

ReferenceChild::~ReferenceChild() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
}

Result<void> run_reference_server(const ReferenceOptions& options,
                                  const std::function<void(std::uint16_t)>& on_ready) {
  asio::io_context io(1);
  Service service(io, options);
  if (const auto listening = service.listen(); !listening) return listening;
  asio::signal_set signals(io, SIGTERM, SIGINT);
  signals.async_wait([&](boost::system::error_code, int) { service.close(); });
  on_ready(service.port());
  io.run();
  return {};
}

}  // namespace baton::orchestrator::bench
