#include "tests/unit/lifecycle/router_harness.h"

#include <gtest/gtest.h>

#include <boost/asio/as_tuple.hpp>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <charconv>
#include <nlohmann/json.hpp>
#include <utility>

namespace baton::orchestrator::testing {
namespace {

using nlohmann::json;

// A token a character.
std::string usage_of(const std::string& text) {
  return R"("usage":{"prompt_tokens":20,"completion_tokens":)" + std::to_string(text.size()) +
         R"(,"total_tokens":)" + std::to_string(20 + text.size()) +
         R"(,"prompt_tokens_details":{"cached_tokens":8}})";
}

std::string event(const std::string& piece) {
  return R"(data: {"choices":[{"index":0,"delta":{"content":")" + piece + "\"}}]}\n\n";
}

Task<void> fetch(http::Client* client, std::uint16_t port, http::ClientRequest request,
                 std::shared_ptr<Call> call) {
  auto answer = co_await client->send("127.0.0.1", port, std::move(request));
  if (!answer) {
    call->cut = true;
    co_return;
  }
  http::ClientExchange& exchange = **answer;
  call->status = exchange.status();
  for (const std::string name :
       {"x-request-id", "content-type", "content-length", "retry-after", "allow", "cache-control",
        "x-baton-prefill", "x-baton-decode", "x-baton-timing", "x-baton-plan"}) {
    if (const std::string_view value = exchange.field(name); !value.empty()) {
      call->fields.emplace_back(name, value);
    }
  }
  if (call->paused) co_await call->resume->wait();
  for (;;) {
    auto piece = co_await exchange.read_some();
    if (!piece) {
      call->cut = true;
      break;
    }
    if (piece->empty()) break;
    call->body += *piece;
  }
}

}  // namespace

Task<void> Happening::wait() {
  while (!happened_) co_await timer_.async_wait(asio::as_tuple(asio::use_awaitable));
}

std::string expected_stream(const std::string& text) {
  std::string stream;
  for (const char c : text) stream += event(std::string(1, c));
  return stream + "data: {\"choices\":[]," + usage_of(text) + "}\n\ndata: [DONE]\n\n";
}

std::string expected_body(const std::string& text) {
  return R"({"choices":[{"index":0,"message":{"content":")" + text + "\"}}]," + usage_of(text) +
         "}";
}

TestPod::TestPod(asio::io_context& io, std::string name, Role role, std::uint32_t index)
    : io_(io), name_(std::move(name)), role_(role), index_(index) {
  auto server = http::Server::listen(
      io, "127.0.0.1", 0, {}, [this](http::Exchange& exchange) { return serve(this, &exchange); });
  EXPECT_TRUE(server.has_value());
  server_ = std::move(*server);
  port_ = server_->port();
}

std::shared_ptr<const PodEntry> TestPod::entry() const {
  auto entry = std::make_shared<PodEntry>();
  entry->pod.name = name_;
  entry->pod.host = "127.0.0.1";
  entry->pod.port = port_;
  entry->pod.url = "http://127.0.0.1:" + std::to_string(port_);
  entry->pod.role = role_;
  entry->pod.max_running = max_running;
  EngineFacts& facts = entry->pod.facts;
  facts.engine_id = "engine-" + name_;
  facts.epoch = 7;
  facts.engine_version = "test 1";
  facts.model_hash = "m";
  facts.layout_hash = 1;
  facts.kv_address = "127.0.0.1:1";
  facts.block_tokens = Tokens(64);
  facts.max_context = Tokens(1 << 20);
  facts.bytes_per_token = Bytes(1024);
  entry->state.health = Health::kHealthy;
  entry->state.waiting = waiting;
  entry->index = index_;
  return entry;
}

http::Fields TestPod::stream_fields() const {
  return {{"content-type", "text/event-stream"}, {"x-baton-timing", timing}};
}

Task<void> TestPod::serve(TestPod* pod, http::Exchange* exchange) {
  http::Request request = exchange->take_request();
  if (request.method == "DELETE") {
    pod->released.push_back(request.target);
    (void)co_await exchange->send(204, {}, {});
    co_return;
  }
  if (request.target == "/tokenize") {
    pod->tokenized.push_back(std::move(request.body));
    (void)co_await exchange->send(pod->ids_answer.empty() ? 404 : 200, {}, pod->ids_answer);
    co_return;
  }
  pod->requests.push_back(std::move(request));
  Script script;
  if (!pod->scripts_.empty()) {
    script = std::move(pod->scripts_.front());
    pod->scripts_.pop_front();
  }
  if (script.answer) script.body = script.answer(pod->requests.back());
  ++pod->open;
  co_await play(pod, exchange, std::move(script));
  --pod->open;
}

Task<void> TestPod::play(TestPod* pod, http::Exchange* exchange, Script script) {
  auto router_left = std::make_shared<Happening>(pod->io_);
  auto gate = script.gate;
  exchange->on_client_gone([pod, router_left, gate] {
    ++pod->left;
    router_left->happen();
    if (gate) gate->happen();
  });
  if (gate) co_await gate->wait();
  if (router_left->happened()) co_return;
  switch (script.kind) {
    case Script::Kind::kAnswer: co_await answer_well(pod, exchange); break;
    case Script::Kind::kStatus: {
      http::Fields fields = {{"content-type", "application/json"}};
      (void)co_await exchange->send(script.status, std::move(fields), script.body);
      break;
    }
    case Script::Kind::kHang: co_await router_left->wait(); break;
    case Script::Kind::kDie:
      asio::post(pod->io_, [pod] { pod->stop(); });
      co_await router_left->wait();
      break;
    case Script::Kind::kCutStream: {
      (void)co_await exchange->start(200, pod->stream_fields());
      (void)co_await exchange->write(event("h"));
      (void)co_await exchange->write("data: {\"choi");
      exchange->abandon();
      break;
    }
    case Script::Kind::kEndEarly: {
      (void)co_await exchange->start(200, pod->stream_fields());
      (void)co_await exchange->write(event("h"));
      (void)co_await exchange->finish();
      break;
    }
    case Script::Kind::kErrorEvent:
    case Script::Kind::kErrorInside: {
      (void)co_await exchange->start(200, pod->stream_fields());
      (void)co_await exchange->write(event("h"));
      (void)co_await exchange->write("data: {\"error\":{\"message\":\"engine\"}}\n\n");
      if (script.kind == Script::Kind::kErrorEvent) {
        exchange->abandon();
        break;
      }
      (void)co_await exchange->write("data: [DONE]\n\n");
      (void)co_await exchange->finish();
      break;
    }
    case Script::Kind::kErrorFirst: {
      const std::string said =
          script.body.empty() ? R"({"error":{"message":"engine"}})" : script.body;
      const std::string events = "data: " + said + "\n\n";
      (void)co_await exchange->start(200, pod->stream_fields());
      (void)co_await exchange->write(events);
      (void)co_await exchange->write("data: [DONE]\n\n");
      (void)co_await exchange->finish();
      break;
    }
    case Script::Kind::kDropStream: {
      (void)co_await exchange->start(200, pod->stream_fields());
      exchange->abandon();
      break;
    }
    case Script::Kind::kCutBody: {
      (void)co_await exchange->start(200, {{"content-type", "application/json"}});
      (void)co_await exchange->write("{\"choices\":[");
      exchange->abandon();
      break;
    }
    case Script::Kind::kFlood: co_await flood(pod, exchange, script.flood_bytes); break;
  }
  // Whoever is writing learns of it by the write's failure.
  if (exchange->client_gone() && !router_left->happened()) ++pod->left;
}

Task<void> TestPod::answer_well(TestPod* pod, http::Exchange* exchange) {
  const json body = json::parse(pod->requests.back().body);
  if (!body.value("stream", false)) {
    http::Fields fields = {{"content-type", "application/json"}, {"x-baton-timing", pod->timing}};
    (void)co_await exchange->send(200, std::move(fields), expected_body(pod->answer_text));
    co_return;
  }
  (void)co_await exchange->start(200, pod->stream_fields());
  for (const char c : pod->answer_text) {
    const std::string piece = event(std::string(1, c));
    (void)co_await exchange->write(piece);
  }
  const std::string last =
      expected_stream(pod->answer_text).substr(pod->answer_text.size() * event("x").size());
  (void)co_await exchange->write(last);
  (void)co_await exchange->finish();
}

Task<void> TestPod::flood(TestPod* pod, http::Exchange* exchange, std::size_t bytes) {
  (void)co_await exchange->start(200, pod->stream_fields());
  const std::string piece = event(std::string(16000, 'x'));
  while (pod->flooded < bytes) {
    const auto written = co_await exchange->write(piece);
    if (!written) co_return;
    pod->flooded += piece.size();
  }
  (void)co_await exchange->write("data: [DONE]\n\n");
  (void)co_await exchange->finish();
}

BrokenPod::BrokenPod(asio::io_context& io, std::string bytes)
    : acceptor_(io, {asio::ip::make_address("127.0.0.1"), 0}), bytes_(std::move(bytes)) {
  asio::co_spawn(io, serve(this), [](const std::exception_ptr&) {});
}

Task<void> BrokenPod::serve(BrokenPod* pod) {
  for (;;) {
    auto [failed, socket] =
        co_await pod->acceptor_.async_accept(asio::as_tuple(asio::use_awaitable));
    if (failed) co_return;
    ++pod->connections_;
    std::string request;
    auto until = asio::dynamic_buffer(request);
    (void)co_await asio::async_read_until(socket, until, "\r\n\r\n",
                                          asio::as_tuple(asio::use_awaitable));
    (void)co_await asio::async_write(socket, asio::buffer(pod->bytes_),
                                     asio::as_tuple(asio::use_awaitable));
    socket.shutdown(asio::ip::tcp::socket::shutdown_send);
    while (true) {  // what still comes would otherwise reset the connection
      char rest[4096];
      const auto [end, size] =
          co_await socket.async_read_some(asio::buffer(rest), asio::as_tuple(asio::use_awaitable));
      if (end) break;
    }
  }
}

std::string Call::field(std::string_view name) const {
  for (const auto& [key, value] : fields) {
    if (key == name) return value;
  }
  return {};
}

PoolConfig Router::default_pool() {
  PoolConfig pool;
  pool.name = "chat";
  pool.model = "m";
  pool.aliases = {"alias"};
  pool.loras = {{"sql", "/sql"}};
  pool.split = Split::kAlways;
  return pool;
}

Router::Router(PoolConfig pool, bool expose_plan, const adapters::Connector* connector)
    : config_(std::make_shared<Config>()) {
  config_->expose_plan = expose_plan;
  config_->pools = {std::move(pool)};
  context_ = std::make_unique<ThreadContext>(
      io, config_, SharedTables{loads_, prefixes_, latencies_, metrics_, &bindings_, &sizes_},
      [connector](std::string_view name) {
        return connector != nullptr ? connector : adapters::find_connector(name);
      });
  ThreadContext* context = context_.get();
  auto server = http::Server::listen(io, "127.0.0.1", 0, {}, [context](http::Exchange& exchange) {
    return handle(*context, exchange);
  });
  EXPECT_TRUE(server.has_value());
  server_ = std::move(*server);
  client_ = http::Client::create(io, {});
}

Router::~Router() {
  for (const auto& call : calls_) {
    if (!call->ended) call->leave.emit(asio::cancellation_type::terminal);
  }
  EXPECT_TRUE(run_until([this] {
    return context_->open_requests == 0 && context_->open_releases == 0 &&
           context_->open_lookups == 0;
  })) << "a request did not end";
  client_.reset();
  server_.reset();
  context_.reset();
  pods_.clear();
}

TestPod& Router::add_pod(const std::string& name, Role role) {
  pods_.push_back(
      std::make_unique<TestPod>(io, name, role, static_cast<std::uint32_t>(pods_.size())));
  return *pods_.back();
}

void Router::publish() {
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->version = ++version_;
  snapshot->pool = "chat";
  for (const auto& pod : pods_) snapshot->pods.push_back(pod->entry());
  context_->set_snapshot(std::move(snapshot));
}

std::shared_ptr<Call> Router::call(std::string method, std::string target, std::string body,
                                   http::Fields fields, bool paused) {
  auto call = std::make_shared<Call>();
  call->paused = paused;
  call->resume = std::make_shared<Happening>(io);
  calls_.push_back(call);
  http::ClientRequest request{std::move(method), std::move(target), std::move(fields),
                              std::move(body)};
  asio::co_spawn(
      io, fetch(client_.get(), server_->port(), std::move(request), call),
      asio::bind_cancellation_slot(call->leave.slot(), [call](const std::exception_ptr& failure) {
        call->cut = call->cut || failure != nullptr;
        call->ended = true;
      }));
  return call;
}

std::shared_ptr<Call> Router::chat(bool stream, http::Fields fields) {
  const std::string body = std::string(R"({"model":"m","messages":[{"role":"user",)") +
                           R"("content":"Tell me."}],"max_tokens":8,"stream":)" +
                           (stream ? "true}" : "false}");
  return call("POST", "/v1/chat/completions", body, std::move(fields));
}

bool Router::run_until(const std::function<bool()>& done) {
  const TimePoint deadline = Clock::now() + std::chrono::seconds(10);
  while (!done()) {
    if (io.stopped()) io.restart();
    if (io.run_one_until(deadline) == 0 && Clock::now() >= deadline) return done();
  }
  return true;
}

bool Router::finish(Call& call) {
  return run_until([this, &call] { return call.ended && settled(); });
}

bool Router::settled() {
  if (context_->open_requests > 0 || context_->open_releases > 0) return false;
  if (context_->open_lookups > 0) return false;
  for (const auto& pod : pods_) {
    PodLoad& pod_load = load(*pod);
    EXPECT_EQ(pod_load.in_flight, 0) << pod->name();
    EXPECT_EQ(pod_load.uncached_prefill_tokens, 0) << pod->name();
    EXPECT_EQ(pod_load.running_decodes, 0) << pod->name();
    EXPECT_EQ(pod_load.reserved_kv_tokens, 0) << pod->name();
  }
  return true;
}

double Router::metric(std::string_view series) const {
  const std::string text = metrics_.expose();
  const std::size_t at = text.find("\n" + std::string(series) + " ");
  if (at == std::string::npos) return -1;
  const char* begin = text.data() + at + series.size() + 2;
  double value = -1;
  std::from_chars(begin, text.data() + text.size(), value);
  return value;
}

}  // namespace baton::orchestrator::testing
