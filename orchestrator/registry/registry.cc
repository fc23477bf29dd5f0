#include "orchestrator/registry/registry.h"

#include <algorithm>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <exception>
#include <set>
#include <utility>

#include "core/log.h"
#include "core/pairing.h"
#include "orchestrator/registry/registry_metrics.h"

namespace baton::orchestrator {

namespace asio = boost::asio;
namespace http = adapters::http;
using http::Task;

namespace {

constexpr std::size_t kToldApart = 8;  // reasons a pool

void log_if_failed(std::exception_ptr failure) {
  if (!failure) return;
  try {
    std::rethrow_exception(failure);
  } catch (const std::exception& error) {
    log(LogLevel::kError, "watching of pods failed", {{"error", error.what()}});
  }
}

}  // namespace

// One pod under watch; shared with the coroutine that watches it.
struct PodRegistry::Watch {
  Watch(asio::io_context& io, Metrics& metrics, const PoolConfig& settings, const Pod& watched,
        const adapters::Connector* speaks)
      : pool(settings.name),
        model(settings.model),
        connector(speaks),
        pod(watched),
        health(settings.health, Clock::now()),
        identity(speaks),
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
            metrics.counter(registry_metrics::kScrapeFailures, {pool, pod.name, "facts"})),
        probe_failures(
            metrics.counter(registry_metrics::kScrapeFailures, {pool, pod.name, "probe"})) {}

  [[nodiscard]] bool takes_requests() const {
    return health.usable() && identity.known() && identity.unusable_because().empty();
  }
  [[nodiscard]] PodDoor door() const { return {client, pod, model, connector, timeout}; }

  const std::string pool;
  const std::string model;
  const adapters::Connector* const connector;
  Pod pod;
  std::uint32_t index = 0;
  PodHealth health;
  PodIdentity identity;
  std::uint64_t started_at = 0;  // of the process, as its metrics last told
  PodState state;                // as last observed; what publish() fills in is not
  std::string logged_misfit;
  bool changed = true;  // since `entry` was made
  std::shared_ptr<const PodEntry> entry;

  Duration timeout{};
  std::shared_ptr<http::Client> client;
  std::shared_ptr<http::Client> probe_client;
  std::string probe_answer;  // of a good probe: what it pinned was not given back yet
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
  prometheus::Counter& probe_failures;
};

struct PodRegistry::Pool {
  std::string name;
  std::set<std::string> told_apart;  // what keeps pods from pairing, as far as it was logged
  std::vector<WatchPtr> watches;
  std::shared_ptr<const Snapshot> snapshot;
};

PodRegistry::PodRegistry(asio::io_context& io, LoadTable& loads, PrefixIndex& prefixes,
                         LatencyModels& latencies, Metrics& metrics, FindConnector find_connector)
    : io_(io),
      loads_(loads),
      prefixes_(prefixes),
      latencies_(latencies),
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
    limits.header_time = kProbeLimit;
    limits.idle_time = kProbeLimit;
    const std::shared_ptr<http::Client> probe_client = http::Client::create(io_, limits);
    for (const Pod& pod : settings.pods()) {
      pool.watches.push_back(take_or_add(before, settings, pod));
      pool.watches.back()->client = client;
      pool.watches.back()->probe_client = probe_client;
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
           watch->pod.port == pod.port && watch->pod.bootstrap_port == pod.bootstrap_port &&
           watch->connector == connector && watch->model == pool.model;
  });
  if (same != before.end()) {
    WatchPtr watch = std::exchange(*same, nullptr);
    watch->pod.url = pod.url;
    watch->pod.labels = pod.labels;
    watch->pod.max_running = pod.max_running;
    watch->pod.health_path = pod.health_path;
    watch->pod.metrics_path = pod.metrics_path;
    watch->timeout = pool.health.timeout;
    watch->health.set_config(pool.health);
    watch->changed = true;
    return watch;
  }
  auto watch = std::make_shared<Watch>(io_, metrics_, pool, pod, connector);
  watch->index = free_index();
  watch->timeout = pool.health.timeout;
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
  latencies_.of(watch.pool).forget_pod(watch.index);
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
    const bool ask = watch->identity.facts_due(Clock::now()) ||
                     loads_.of(watch->index).consecutive_errors.load() > 0;
    PodLook look =
        co_await look_at_pod(watch->door(), ask ? std::nullopt : std::optional(watch->started_at));
    if (watch->removed) co_return;
    const bool good = take_look(*watch, std::move(look));
    (good ? watch->checks_ok : watch->checks_failed).Increment();
    settle(*watch, watch->health.on_check(good, Clock::now()));
    if (good) begin_probe(watch);
    give_probe_back(*watch);
  }
}

bool PodRegistry::take_look(Watch& watch, PodLook look) {
  if (!look.health) {
    watch.identity.on_failed_check();
    return false;
  }
  if (look.metrics) {
    watch.started_at = look.metrics->started_at;
    watch.state = std::move(look.metrics->state);
    watch.state.observed_at = Clock::now();
    watch.changed = true;
  } else {
    watch.metrics_failures.Increment();
  }
  if (look.facts) {
    if (!*look.facts) watch.facts_failures.Increment();
    if (look.served) {
      auto serves = check_served(*look.served, watch.model);
      if (!serves) look.facts = std::unexpected(std::move(serves.error()));
    }
    take_identity(watch, watch.identity.on_facts(watch.pod, *look.facts, Clock::now()));
  }
  // A pod that never said what it is cannot be used.
  return watch.identity.known() || !watch.identity.misfit().empty();
}

void PodRegistry::take_identity(Watch& watch, IdentityEvent event) {
  if (event == IdentityEvent::kNone) return;
  if (event == IdentityEvent::kRestarted) {
    watch.restarts.Increment();
    prefixes_.forget_pod(watch.index);
    latencies_.of(watch.pool).forget_pod(watch.index);
    loads_.of(watch.index).consecutive_errors = 0;
    loads_.of(watch.index).adapters.reset();
    log(LogLevel::kWarn, "pod restarted", {{"pool", watch.pool}, {"pod", watch.pod.name}});
  }
  watch.pod.facts = watch.identity.facts();
  watch.changed = true;
  Pool& pool = pool_of(watch);
  warn_of_misfit(watch);
  warn_of_pairs(pool, watch);
  if (watch.health.usable()) publish(pool);
}

void PodRegistry::warn_of_misfit(Watch& watch) {
  const std::string& misfit = watch.identity.misfit();
  if (misfit == watch.logged_misfit) return;
  if (misfit.empty()) {
    log(LogLevel::kInfo, "pod fits", {{"pool", watch.pool}, {"pod", watch.pod.name}});
  } else {
    log(LogLevel::kError, "pod cannot be used",
        {{"pool", watch.pool}, {"pod", watch.pod.name}, {"because", misfit}});
  }
  watch.logged_misfit = misfit;
}

// Says once what keeps pods of a pool from exchanging KV, however many they are.
void PodRegistry::warn_of_pairs(Pool& pool, const Watch& watch) {
  const auto warn = [&pool](const Watch& prefill, const Watch& decode) {
    if (!can_prefill(prefill.pod.role) || !can_decode(decode.pod.role)) return;
    const std::string why = why_unpairable(prefill.pod.facts, decode.pod.facts);
    if (why.empty() || pool.told_apart.size() >= kToldApart) return;
    if (!pool.told_apart.insert(why).second) return;
    log(LogLevel::kWarn, "pods cannot exchange KV",
        {{"pool", pool.name},
         {"prefill", prefill.pod.name},
         {"decode", decode.pod.name},
         {"because", why}});
  };
  for (const WatchPtr& other : pool.watches) {
    if (other.get() == &watch) continue;
    warn(watch, *other);
    warn(*other, watch);
  }
}

// Beside the checks, which go on while a busy pod takes its time.
void PodRegistry::begin_probe(const WatchPtr& watch) {
  auto probe = watch->identity.next_probe(watch->pod, watch->model, Clock::now());
  if (probe) asio::co_spawn(io_, probe_pod(watch, std::move(*probe)), log_if_failed);
}

Task<void> PodRegistry::probe_pod(WatchPtr watch, PodIdentity::Probe probe) {
  PodDoor door = watch->door();
  door.client = watch->probe_client;
  door.limit = kProbeLimit;
  const auto answer = co_await send_probe(std::move(door), std::move(probe.request));
  if (watch->removed) co_return;
  watch->changed = true;  // a failure is shown, too
  take_identity(*watch, watch->identity.on_probe(watch->pod, probe.start, answer, Clock::now()));
  if (!watch->identity.probe_failure().empty()) {
    watch->probe_failures.Increment();
  } else if (answer && answer->status == 200) {
    watch->probe_answer = answer->body;
    give_probe_back(*watch);
  }
}

// What a probe made the pod keep is given back as a request's blocks are, through a decode pod that
// fits once there is one; the pod's own lease is the bound.
void PodRegistry::give_probe_back(Watch& watch) {
  if (watch.probe_answer.empty()) return;
  const auto& watches = pool_of(watch).watches;
  const auto decode = std::ranges::find_if(watches, [&watch](const WatchPtr& other) {
    return other.get() != &watch && can_decode(other->pod.role) && other->takes_requests() &&
           what_keeps_apart(watch.pod.facts, other->pod.facts) == Apart::kNothing;
  });
  if (decode == watches.end()) return;
  const adapters::PrefillResponse kept{200, std::exchange(watch.probe_answer, {})};
  Plan plan;
  plan.decode = (*decode)->entry;
  const auto release = watch.connector->release(plan, {}, &kept);
  if (!release || release->pod != Stage::kDecode) return;
  PodDoor door = (*decode)->door();
  door.client = watch.probe_client;
  door.limit = kProbeLimit;
  asio::co_spawn(io_, send_probe(std::move(door), release->request),
                 [](const std::exception_ptr& failure, const Result<ProbeAnswer>&) {
                   log_if_failed(failure);
                 });
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
      // Where nothing tells one start from another, who comes back may know nothing.
      if (watch.pod.facts.epoch == 0) prefixes_.forget_pod(watch.index);
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
      latencies_.of(pool->name).forget(Clock::now());
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
      entry->state.unusable_because = watch->identity.unusable_because();
      entry->index = watch->index;
      watch->entry = std::move(entry);
      watch->changed = false;
      watch->usable.Set(watch->takes_requests() ? 1 : 0);
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
      if (!watch->takes_requests()) continue;
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
