#include "adapters/engines/mock/pod.h"

#include <fmt/format.h>

#include <utility>

#include "core/ids.h"
#include "core/log.h"

namespace baton::adapters::mock {
namespace {

Result<void> check(const MockOptions& options) {
  const auto& engine = options.model_options;
  const auto refuse = [](std::string message) {
    return fail(ErrorCode::kInvalidArgument, Stage::kConfig, std::move(message));
  };
  if (engine.blocks <= 0 || engine.block_tokens.count() <= 0) {
    return refuse("a mock needs at least one KV block of at least one token");
  }
  if (options.max_model_len.count() > engine.blocks * engine.block_tokens.count()) {
    return refuse(fmt::format(
        "a context of {} tokens needs more than {} KV blocks of {} tokens: raise --kv-blocks or "
        "lower --max-model-len",
        options.max_model_len.count(), engine.blocks, engine.block_tokens.count()));
  }
  if (options.data_parallel_size < 1) return refuse("a mock has at least one data-parallel rank");
  return {};
}

}  // namespace

std::optional<Api> Dress::api_of(std::string_view path) const {
  if (path == "/v1/chat/completions") return Api::kChat;
  if (path == "/v1/completions") return Api::kCompletions;
  return std::nullopt;
}

http::Task<Answer> Dress::side_channel(const http::Request&) {
  co_return Answer{404, R"({"error":"this engine has no side channel"})"};
}

MockPod::MockPod(MockCommons& commons, MockOptions options)
    : commons_(commons),
      parts_(commons.io, std::move(options), commons.tokenizer, *commons.client) {
  MockOptions& made = parts_.options;
  if (made.engine_id.empty()) made.engine_id = Id128::draw(parts_.rng).str();
  auto& vocabulary = made.model_options.vocabulary;
  vocabulary.first = commons.tokenizer.answer_first();
  vocabulary.last = commons.tokenizer.answer_last();
  vocabulary.end_of_text = MockTokenizer::kEnd;
  parts_.faults.set(made.faults);
  parts_.started_at = unix_now();
  parts_.ready_at = Clock::now() + made.slow_start;
}

MockPod::~MockPod() { stop(); }

Result<std::shared_ptr<MockPod>> MockPod::start(MockCommons& commons, MockOptions options) {
  if (auto good = check(options); !good) return std::unexpected(good.error());
  std::shared_ptr<MockPod> pod(new MockPod(commons, std::move(options)));
  if (auto begun = pod->begin(); !begun) return std::unexpected(begun.error());
  return pod;
}

Result<void> MockPod::begin() {
  MockOptions& options = parts_.options;
  for (int rank = 0; rank < options.data_parallel_size; ++rank) {
    if (auto added = add_rank(rank); !added) return added;
  }
  auto server = listen(options.host, options.port, &MockPod::handle);
  if (!server) return std::unexpected(server.error());
  server_ = std::move(*server);
  options.port = server_->port();
  auto side =
      listen(options.side_channel_host, options.side_channel_port, &MockPod::handle_side_channel);
  if (!side) return std::unexpected(side.error());
  side_channel_ = std::move(*side);
  options.side_channel_port = side_channel_->port();
  if (options.name.empty()) options.name = fmt::format("{}:{}", options.host, options.port);
  auto dress = make_dress(parts_);
  if (!dress) return std::unexpected(dress.error());
  dress_ = std::move(*dress);
  parts_.on_death = [this] {
    for (Work* work : std::set<Work*>(open_)) work->fail(dress_->internal_failure());
  };
  return {};
}

Result<void> MockPod::add_rank(int rank) {
  const MockOptions& options = parts_.options;
  engine_model::BlockEvents* sink = nullptr;
  if (options.kv_events_port != 0) {
    KvEventPublisher::Options told;
    told.host = options.host;
    told.port = static_cast<std::uint16_t>(options.kv_events_port + rank);
    told.has_replay = options.kv_replay_port != 0;
    told.replay_port = static_cast<std::uint16_t>(options.kv_replay_port + rank);
    told.replay_has_topic = options.kv_events_encoding != KvEventEncoding::kSglang;
    told.rank = rank;
    told.encoding = options.kv_events_encoding;
    auto publisher = KvEventPublisher::bind(std::move(told));
    if (!publisher) return std::unexpected(publisher.error());
    sink = kv_events_.emplace_back(std::make_unique<KvEventSink>(std::move(*publisher))).get();
  }
  parts_.ranks.push_back(std::make_shared<Rank>(commons_.io, options.model_options, sink));
  return {};
}

Result<std::unique_ptr<http::Server>> MockPod::listen(
    const std::string& host, std::uint16_t port,
    http::Task<void> (*handler)(std::shared_ptr<MockPod>, http::Exchange&)) {
  if (auto free = http::Server::check_port_free(host, port); !free) {
    return std::unexpected(free.error());
  }
  http::ServerLimits limits;
  limits.body = Bytes(64LL << 20);
  return http::Server::listen(
      commons_.io, host, port, limits,
      [this, handler](http::Exchange& exchange) { return handler(shared_from_this(), exchange); });
}

void MockPod::stop() {
  if (server_) server_->stop();
  if (side_channel_) side_channel_->stop();
}

http::Task<void> MockPod::handle(std::shared_ptr<MockPod> self, http::Exchange& exchange) {
  MockPod& pod = *self;
  const http::Request request = exchange.take_request();
  const std::string_view path = request.path();
  Answer answer;
  if (path.starts_with("/debug/")) {
    answer = pod.debug(request);
  } else if (const auto api = pod.dress_->api_of(path); api && request.method == "POST") {
    co_await generate(pod, exchange, *api, request);
    co_return;
  } else {
    answer = co_await pod.dress_->other(request);
  }
  (void)co_await exchange.send(answer.status, answer.fields, std::move(answer.body));
}

http::Task<void> MockPod::handle_side_channel(std::shared_ptr<MockPod> pod,
                                              http::Exchange& exchange) {
  const http::Request request = exchange.take_request();
  Answer answer = co_await pod->dress_->side_channel(request);
  (void)co_await exchange.send(answer.status, answer.fields, std::move(answer.body));
}

Json MockPod::ledger_json() const {
  Json all = dress_->handoffs();
  all["violations"] = parts_.ledger.violations();
  all["open_requests"] = parts_.open_requests;
  Json ranks = Json::array();
  for (const auto& rank : parts_.ranks) {
    const auto& pool = rank->engine().pool();
    ranks.push_back({{"used_blocks", pool.used_blocks()},
                     {"cached_blocks", pool.cached_blocks()},
                     {"live_sequences", rank->engine().live()}});
  }
  all["ranks"] = std::move(ranks);
  all["dead"] = parts_.dead;
  return all;
}

Answer MockPod::debug(const http::Request& request) {
  const std::string_view path = request.path();
  if (path == "/debug/requests" && request.method == "GET") {
    return {200, dump(parts_.ledger.requests())};
  }
  if (path == "/debug/requests" && request.method == "DELETE") {
    parts_.ledger.clear();
    return {204, "", {}};
  }
  if (path == "/debug/ledger" && request.method == "GET") return {200, dump(ledger_json())};
  if (path == "/debug/faults" && request.method == "GET") {
    return {200, dump({{"faults", parts_.faults.json()}})};
  }
  if (path == "/debug/faults" && request.method == "POST") {
    const Json body = Json::parse(request.body, nullptr, false);
    const Json* list = member(body, "faults");
    auto faults = read_faults(list == nullptr ? Json() : *list);
    if (!faults) return {400, dump({{"error", faults.error().message}})};
    parts_.faults.set(std::move(*faults));
    return {200, dump({{"faults", parts_.faults.json()}})};
  }
  return {404,
          R"({"error":"known: GET and DELETE /debug/requests, GET /debug/ledger, GET and POST )"
          R"(/debug/faults"})"};
}

}  // namespace baton::adapters::mock
