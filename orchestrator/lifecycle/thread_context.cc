#include "orchestrator/lifecycle/thread_context.h"

#include <sys/random.h>

#include <cassert>
#include <stdexcept>

#include "core/json_fields.h"

namespace baton::orchestrator {
namespace {

http::ClientLimits limits_of(const TimeoutConfig& timeouts) {
  http::ClientLimits limits;
  limits.connect_time = timeouts.connect;
  limits.header_time = timeouts.first_byte;
  limits.idle_time = timeouts.idle;
  return limits;
}

http::ClientLimits release_limits() {
  http::ClientLimits limits;
  limits.connect_time = limits.header_time = limits.idle_time = std::chrono::seconds(2);
  return limits;
}

std::shared_ptr<const Snapshot> no_pods(const std::string& pool) {
  auto snapshot = std::make_shared<Snapshot>();
  snapshot->pool = pool;
  return snapshot;
}

}  // namespace

SecureRandom::result_type SecureRandom::operator()() {
  if (next_ == words_.size()) {
    const ssize_t got = ::getrandom(words_.data(), sizeof words_, 0);
    if (got != ssize_t{sizeof words_}) throw std::runtime_error("getrandom() gave no random bytes");
    next_ = 0;
  }
  return words_[next_++];
}

PoolContext::PoolContext(asio::io_context& io, const PoolConfig& pool,
                         const adapters::Connector& speaks, const SharedTables& shared)
    : config(pool),
      connector(speaks),
      client(http::Client::create(io, limits_of(pool.timeouts))),
      release_client(http::Client::create(io, release_limits())),
      snapshot(no_pods(pool.name)),
      latency(shared.latencies.of(pool.name)),
      planner(shared.loads, shared.prefixes, latency),
      metrics(shared.metrics, pool.name),
      bindings(pool.kv_events.tokenize && publishes_kv_events(pool) ? shared.bindings : nullptr),
      text_space(chain_seed(pool.name, pool.model)),
      sizes(shared.sizes == nullptr ? nullptr : &shared.sizes->of(pool.name)) {
  const auto policy = [](const std::string& name) {
    return policy_from_name(name).value_or(Policy::kPredicted);  // the configuration was checked
  };
  planner.set_policies(policy(pool.prefill_policy), policy(pool.decode_policy));
}

void PoolContext::learn_ratio(std::size_t text_bytes, Tokens prompt) {
  constexpr double kWeight = 0.05;
  if (text_bytes == 0 || prompt.count() <= 0) return;
  const double seen = static_cast<double>(text_bytes) / static_cast<double>(prompt.count());
  bytes_per_token = ratio_known ? bytes_per_token + kWeight * (seen - bytes_per_token) : seen;
  ratio_known = true;
  if (sizes != nullptr) sizes->bytes_per_token.store(bytes_per_token, std::memory_order_relaxed);
}

void PoolContext::learn_output(std::int64_t tokens) {
  outputs.observe(tokens);
  if (sizes == nullptr) return;
  sizes->output_tokens.store(static_cast<double>(outputs.expected().count()),
                             std::memory_order_relaxed);
}

void PoolContext::adopt_sizes() {
  if (sizes == nullptr) return;
  const double ratio = sizes->bytes_per_token.load(std::memory_order_relaxed);
  if (ratio > 0) bytes_per_token = ratio;
  const double output = sizes->output_tokens.load(std::memory_order_relaxed);
  if (output > 0) outputs.start_from(output);
}

ThreadContext::ThreadContext(asio::io_context& io, std::shared_ptr<const Config> config,
                             SharedTables shared, const FindConnector& find_connector)
    : stripped_fields(shared.metrics.counter(lifecycle_metrics::kStrippedFields)),
      unrouted(shared.metrics.counter(lifecycle_metrics::kUnrouted)),
      io_(io),
      config_(std::move(config)),
      shared_(shared),
      retry_budget_(config_->retry_budget) {
  models_json_ = R"({"object":"list","data":[)";
  for (const PoolConfig& pool : config_->pools) {
    const adapters::Connector* connector = find_connector(pool.connector);
    assert(connector != nullptr);
    auto context = std::make_unique<PoolContext>(io_, pool, *connector, shared_);
    add_model(pool.model, pool, {context.get(), {}, {}});
    for (const std::string& alias : pool.aliases) {
      add_model(alias, pool, {context.get(), {}, pool.model});
    }
    for (const LoraConfig& lora : pool.loras) {
      add_model(lora.name, pool, {context.get(), lora.name, {}});
    }
    pools_.emplace(pool.name, std::move(context));
  }
  models_json_ += "]}";
}

void ThreadContext::add_model(const std::string& id, const PoolConfig& pool, ModelTarget target) {
  const bool is_lora = !target.lora.empty();
  if (!models_.emplace(id, std::move(target)).second) return;
  if (models_json_.back() == '}') models_json_ += ',';
  models_json_ += R"({"id":)" + json_quote(id) + R"(,"object":"model","created":0,)" +
                  R"("owned_by":"baton","root":)" + json_quote(is_lora ? id : pool.model) +
                  R"(,"parent":)" + (is_lora ? json_quote(pool.model) : "null") + "}";
}

void ThreadContext::set_snapshot(std::shared_ptr<const Snapshot> snapshot) {
  const auto found = pools_.find(snapshot->pool);
  if (found == pools_.end()) return;
  PoolContext& pool = *found->second;
  pool.snapshot = std::move(snapshot);
  for (const auto& wake : pool.waiting_for_pods) wake();
}

const ModelTarget* ThreadContext::find_model(std::string_view model) const {
  const auto found = models_.find(model);
  return found == models_.end() ? nullptr : &found->second;
}

}  // namespace baton::orchestrator
