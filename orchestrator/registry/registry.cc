#include "orchestrator/registry/registry.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <utility>

#include "core/log.h"
#include "orchestrator/registry/engine_metrics.h"
#include "orchestrator/registry/registry_metrics.h"

namespace baton::orchestrator {

namespace asio = boost::asio;
namespace http = adapters::http;
using http::Task;

namespace {

constexpr Bytes kAnswerLimit{4LL << 20};

void log_if_failed(std::exception_ptr failure) {
  if (!failure) return;
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& error) {
    log(LogLevel::kError, "watching of pods failed", {{"error", error.what()}});
  }
}

Task<Result<std::string>> get(std::shared_ptr<http::Client> client, std::string host,
                              std::uint16_t port, std::string target) {
  http::ClientRequest request;
  request.method = "GET";
  request.target = target;
  auto exchange = co_await client->send(std::move(host), port, std::move(request));
  if (!exchange) co_return std::unexpected(exchange.error());
  auto body = co_await (*exchange)->read_all(kAnswerLimit);
  if (body && (*exchange)->status() != 200) {
    co_return fail(ErrorCode::kUpstream, Stage::kRouter,
                   target + " answered " + std::to_string((*exchange)->status()), true);
  }
  co_return std::move(body);
}

Task<Result<std::string>> get_within(Duration limit, std::shared_ptr<http::Client> client,
                                     std::string host, std::uint16_t port, std::string target) {
  using asio::experimental::awaitable_operators::operator||;
  asio::steady_timer timer(co_await asio::this_coro::executor, limit);
  auto first = co_await (get(std::move(client), std::move(host), port, target) ||
                         timer.async_wait(asio::use_awaitable));
  if (first.index() == 0) co_return std::get<0>(std::move(first));
  co_return fail(ErrorCode::kTimeout, Stage::kRouter, target + " took too long", true);
}

// What engines say in their metrics alone. A look that brought none changes nothing.
void add_facts_of_metrics(EngineFacts& facts, const std::optional<EngineMetrics>& metrics,
                          const EngineFacts& before) {
  if (facts.epoch == 0) facts.epoch = metrics ? metrics->started_at : before.epoch;
  if (facts.block_tokens.count() == 0) {
    facts.block_tokens = metrics ? metrics->block_tokens : before.block_tokens;
  }
}

}  // namespace

// One pod under watch; shared with the coroutine that watches it.
struct PodRegistry::Watch {
  Watch(asio::io_context& io, Metrics& metrics, const std::string& pool_name, const Pod& watched,
        const HealthConfig& config)
      : pool(pool_name),
        pod(watched),
        health(config, Clock::now()),
        timer(io),
        usable(metrics.gauge(registry_metrics::kPodUsable,
                             {pool, pod.name, std::string(name_of(pod.role))})),
        checks_ok(metrics.counter(registry_metrics::kChecks, {pool, pod.name, "ok"})),
        checks_failed(metrics.counter(registry_metrics::kChecks, {pool, pod.name, "failed"})),
        ejections_by_checks(
            metrics.counter(registry_metrics::kEjections, {pool, pod.name, "checks"})),
        ejections_by_requests(
            metrics.counter(registry_metrics::kEjections, {pool, pod.name, "requests"})),
        restarts(metrics.counter(registry_metrics::kRestarts, {pool, pod.name})),
        metrics_failures(
            metrics.counter(registry_metrics::kScrapeFailures, {pool, pod.name, "metrics"})),
        facts_failures(
            metrics.counter(registry_metrics::kScrapeFailures, {pool, pod.name, "facts"})) {}

  const std::string pool;
  Pod pod;
  std::uint32_t index = 0;
  PodHealth health;
  PodState state;  // as last observed; `health` of it is filled in by publish()
  bool facts_known = false;
  bool changed = true;  // since `entry` was made
  std::shared_ptr<const PodEntry> entry;

  Duration timeout{};
  const adapters::Connector* connector = nullptr;
  std::shared_ptr<http::Client> client;
  asio::steady_timer timer;
  bool removed = false;  // no longer known to the registry, which may be gone

  prometheus::Gauge& usable;
  prometheus::Counter& checks_ok;
  prometheus::Counter& checks_failed;
  prometheus::Counter& ejections_by_checks;
  prometheus::Counter& ejections_by_requests;
  prometheus::Counter& restarts;
  prometheus::Counter& metrics_failures;
  prometheus::Counter& facts_failures;
};

struct PodRegistry::Pool {
  std::string name;
  std::vector<WatchPtr> watches;
  std::shared_ptr<const Snapshot> snapshot;
};

PodRegistry::PodRegistry(asio::io_context& io, LoadTable& loads, PrefixIndex& prefixes,
                         Metrics& metrics, FindConnector find_connector)
    : io_(io),
      loads_(loads),
      prefixes_(prefixes),
      metrics_(metrics),
      find_connector_(std::move(find_connector)),
      alive_(std::make_shared<bool>(true)) {
  asio::co_spawn(io_, tick(alive_), log_if_failed);
}

PodRegistry::~PodRegistry() {
  *alive_ = false;
  for (const auto& pool : pools_) {
    for (const WatchPtr& watch : pool->watches) {
      watch->removed = true;
      watch->timer.cancel();
    }
  }
}

void PodRegistry::apply(std::shared_ptr<const Config> config) {
  std::vector<WatchPtr> before;
  for (const auto& pool : pools_) {
    before.insert(before.end(), pool->watches.begin(), pool->watches.end());
  }
  pools_.clear();
  for (const PoolConfig& settings : config->pools) {
    Pool& pool = *pools_.emplace_back(std::make_unique<Pool>());
    pool.name = settings.name;
    http::ClientLimits limits;
    limits.connect_time = settings.health.timeout;
    limits.header_time = settings.health.timeout;
    limits.idle_time = settings.health.timeout;
    const std::shared_ptr<http::Client> client = http::Client::create(io_, limits);
    for (const Pod& pod : settings.pods()) {
      pool.watches.push_back(take_or_add(before, settings, pod));
      pool.watches.back()->client = client;
    }
  }
  for (const WatchPtr& watch : before) {
    if (watch) forget(*watch);
  }
  for (const auto& pool : pools_) publish(*pool);
}

PodRegistry::WatchPtr PodRegistry::take_or_add(std::vector<WatchPtr>& before,
                                               const PoolConfig& pool, const Pod& pod) {
  const adapters::Connector* connector = find_connector_(pool.connector);
  const auto same = std::ranges::find_if(before, [&](const WatchPtr& watch) {
    return watch && watch->pool == pool.name && watch->pod.name == pod.name &&
           watch->pod.role == pod.role && watch->pod.host == pod.host &&
           watch->pod.port == pod.port && watch->connector == connector;
  });
  if (same != before.end()) {
    WatchPtr watch = std::exchange(*same, nullptr);
    watch->pod.url = pod.url;
    watch->pod.labels = pod.labels;
    watch->pod.max_running = pod.max_running;
    watch->timeout = pool.health.timeout;
    watch->health.set_config(pool.health);
    watch->changed = true;
    return watch;
  }
  auto watch = std::make_shared<Watch>(io_, metrics_, pool.name, pod, pool.health);
  watch->index = free_index();
  watch->timeout = pool.health.timeout;
  watch->connector = connector;
  asio::co_spawn(io_, watch_pod(watch), log_if_failed);
  return watch;
}

std::uint32_t PodRegistry::free_index() {
  if (next_index_ < LoadTable::kMaxPods / 2 || freed_indexes_.empty()) return next_index_++;
  const std::uint32_t index = freed_indexes_.front();
  freed_indexes_.pop_front();
  return index;
}

void PodRegistry::forget(Watch& watch) {
  watch.removed = true;
  watch.timer.cancel();
  watch.usable.Set(0);
  prefixes_.forget_pod(watch.index);
  loads_.reset(watch.index);
  freed_indexes_.push_back(watch.index);
  log(LogLevel::kInfo, "pod removed", {{"pool", watch.pool}, {"pod", watch.pod.name}});
}

Task<void> PodRegistry::watch_pod(WatchPtr watch) {
  while (!watch->removed) {
    watch->timer.expires_at(watch->health.next_check());
    co_await watch->timer.async_wait(asio::as_tuple(asio::use_awaitable));
    if (watch->removed) co_return;
    if (Clock::now() < watch->health.next_check()) continue;
    const bool good = co_await check_pod(watch);
    if (watch->removed) co_return;
    (good ? watch->checks_ok : watch->checks_failed).Increment();
    settle(*watch, watch->health.on_check(good, Clock::now()));
  }
}

// Health, facts and metrics of a pod. A pod whose facts were never read cannot be used.
Task<bool> PodRegistry::check_pod(WatchPtr watch) {
  const auto answer = co_await get_within(watch->timeout, watch->client, watch->pod.host,
                                          watch->pod.port, "/health");
  if (!answer || watch->removed) co_return false;

  const auto text = co_await get_within(watch->timeout, watch->client, watch->pod.host,
                                        watch->pod.port, "/metrics");
  if (watch->removed) co_return false;
  auto metrics = text ? read_engine_metrics(*text) : std::nullopt;

  Result<EngineFacts> facts = co_await read_facts(watch);
  if (watch->removed) co_return false;
  if (facts) {
    add_facts_of_metrics(*facts, metrics, watch->pod.facts);
    take_facts(*watch, std::move(*facts));
  } else {
    watch->facts_failures.Increment();
    if (!watch->facts_known) co_return false;
  }

  if (metrics) {
    watch->state = std::move(metrics->state);
    watch->state.observed_at = Clock::now();
    watch->changed = true;
  } else {
    watch->metrics_failures.Increment();
  }
  co_return true;
}

Task<Result<EngineFacts>> PodRegistry::read_facts(WatchPtr watch) {
  if (watch->connector == nullptr) co_return EngineFacts();
  std::vector<std::string> bodies;
  for (const adapters::FactsTarget& wanted : watch->connector->facts_targets(watch->pod)) {
    const std::uint16_t port = wanted.port == 0 ? watch->pod.port : wanted.port;
    auto body =
        co_await get_within(watch->timeout, watch->client, watch->pod.host, port, wanted.target);
    if (!body) co_return std::unexpected(body.error());
    bodies.push_back(std::move(*body));
  }
  if (bodies.empty()) co_return EngineFacts();
  co_return watch->connector->read_facts(watch->pod, bodies);
}

void PodRegistry::take_facts(Watch& watch, EngineFacts facts) {
  if (watch.facts_known && watch.pod.facts == facts) return;
  if (watch.facts_known && watch.pod.facts.epoch != facts.epoch) {
    watch.restarts.Increment();
    prefixes_.forget_pod(watch.index);
    loads_.of(watch.index).consecutive_errors = 0;
    log(LogLevel::kWarn, "pod restarted", {{"pool", watch.pool}, {"pod", watch.pod.name}});
  }
  watch.pod.facts = std::move(facts);
  watch.facts_known = true;
  watch.changed = true;
  if (watch.health.usable()) publish(pool_of(watch));
}

void PodRegistry::settle(Watch& watch, HealthEvent event) {
  if (event == HealthEvent::kNone) return;
  watch.changed = true;
  switch (event) {
    case HealthEvent::kNone: return;
    case HealthEvent::kFirstSeen:
      log(LogLevel::kInfo, "pod seen",
          {{"pool", watch.pool},
           {"pod", watch.pod.name},
           {"role", name_of(watch.pod.role)},
           {"engine", watch.pod.facts.engine_version}});
      break;
    case HealthEvent::kTakenBack:
      loads_.of(watch.index).consecutive_errors = 0;
      log(LogLevel::kInfo, "pod taken back", {{"pool", watch.pool}, {"pod", watch.pod.name}});
      break;
    case HealthEvent::kEjected:
      watch.ejections_by_checks.Increment();
      log(LogLevel::kWarn, "pod ejected",
          {{"pool", watch.pool},
           {"pod", watch.pod.name},
           {"failed_checks", watch.health.failed_checks()}});
      break;
    case HealthEvent::kEjectedByErrors:
      watch.ejections_by_requests.Increment();
      watch.timer.cancel();  // the next check comes sooner
      log(LogLevel::kWarn, "pod ejected",
          {{"pool", watch.pool},
           {"pod", watch.pod.name},
           {"failed_requests", loads_.of(watch.index).consecutive_errors.load()}});
      break;
  }
  publish(pool_of(watch));
}

// Looks at the pods' request errors and tells new load figures.
Task<void> PodRegistry::tick(std::shared_ptr<const bool> alive) {
  asio::steady_timer timer(co_await asio::this_coro::executor);
  for (;;) {
    timer.expires_after(kTick);
    co_await timer.async_wait(asio::use_awaitable);
    if (!*alive) co_return;
    for (const auto& pool : pools_) {
      bool changed = false;
      for (const WatchPtr& watch : pool->watches) {
        const int errors = loads_.of(watch->index).consecutive_errors;
        settle(*watch, watch->health.on_request_errors(errors, Clock::now()));
        changed = changed || watch->changed;
      }
      if (changed) publish(*pool);
    }
  }
}

void PodRegistry::publish(Pool& pool) {
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->version = next_version_++;
  snapshot->pool = pool.name;
  for (const WatchPtr& watch : pool.watches) {
    if (watch->changed || !watch->entry) {
      auto entry = std::make_shared<PodEntry>();
      entry->pod = watch->pod;
      entry->state = watch->state;
      entry->state.health = watch->health.health();
      entry->index = watch->index;
      watch->entry = std::move(entry);
      watch->changed = false;
      watch->usable.Set(watch->health.usable() ? 1 : 0);
    }
    snapshot->pods.push_back(watch->entry);
  }
  pool.snapshot = std::move(snapshot);
  for (const Subscriber& subscriber : subscribers_) subscriber(pool.snapshot);
}

PodRegistry::Pool& PodRegistry::pool_of(const Watch& watch) {
  return **std::ranges::find_if(pools_, [&](const auto& pool) { return pool->name == watch.pool; });
}

void PodRegistry::subscribe(Subscriber subscriber) {
  for (const auto& pool : pools_) subscriber(pool->snapshot);
  subscribers_.push_back(std::move(subscriber));
}

bool PodRegistry::drain(std::string_view pod) { return set_draining(pod, true); }
bool PodRegistry::undrain(std::string_view pod) { return set_draining(pod, false); }

bool PodRegistry::set_draining(std::string_view pod, bool draining) {
  for (const auto& pool : pools_) {
    for (const WatchPtr& watch : pool->watches) {
      if (watch->pod.name != pod) continue;
      watch->health.set_draining(draining);
      watch->changed = true;
      loads_.of(watch->index).draining = draining;
      log(LogLevel::kInfo, draining ? "pod draining" : "pod no longer draining",
          {{"pool", watch->pool}, {"pod", watch->pod.name}});
      publish(*pool);
      return true;
    }
  }
  return false;
}

bool PodRegistry::ready() const {
  return std::ranges::all_of(pools_, [](const auto& pool) {
    bool wants_prefill = false;
    bool prefill = false;
    bool decode = false;
    for (const WatchPtr& watch : pool->watches) {
      const Role role = watch->pod.role;
      wants_prefill = wants_prefill || can_prefill(role);
      if (!watch->health.usable()) continue;
      prefill = prefill || can_prefill(role);
      decode = decode || can_decode(role);
    }
    return decode && (prefill || !wants_prefill);
  });
}

std::vector<std::shared_ptr<const Snapshot>> PodRegistry::snapshots() const {
  std::vector<std::shared_ptr<const Snapshot>> all;
  for (const auto& pool : pools_) all.push_back(pool->snapshot);
  return all;
}

}  // namespace baton::orchestrator
