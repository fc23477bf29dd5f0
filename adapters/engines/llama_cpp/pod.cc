#include "adapters/engines/llama_cpp/pod.h"

#include <fmt/format.h>

#include <filesystem>
#include <random>
#include <utility>

#include "adapters/engines/llama_cpp/llama_handles.h"
#include "core/log.h"
#include "kv_transfer/arena.h"

namespace baton::adapters {
namespace asio = http::asio;
namespace {

constexpr Duration kDrainPoll = std::chrono::milliseconds(20);

std::string default_name(const PodOptions& options) {
  if (options.port != 0) return fmt::format("{}:{}", options.host, options.port);
  std::random_device device;
  return fmt::format("pod-{:08x}", device());
}

Result<std::optional<ChatTemplate>> load_template(const GgufTokenizer& tokenizer) {
  const auto source = tokenizer.chat_template();
  if (!source) return std::nullopt;
  auto parsed = ChatTemplate::parse(*source, tokenizer.bos_text(), tokenizer.eos_text());
  if (parsed) return std::optional<ChatTemplate>(std::move(*parsed));
  // Completions still work; chat requests are told that there is no template.
  log(LogLevel::kWarn, "chat template not usable", {{"error", parsed.error().message}});
  return std::nullopt;
}

}  // namespace

Pod::Pod(asio::io_context& io, PodOptions options)
    : io_(io), options_(std::move(options)), drain_poll_(io) {}

Pod::~Pod() = default;

Result<std::unique_ptr<Pod>> Pod::start(asio::io_context& io, PodOptions options) {
  if (options.name.empty()) options.name = default_name(options);
  if (options.engine.engine_id.empty()) options.engine.engine_id = options.name;
  if (options.served_model_names.empty()) {
    options.served_model_names = {std::filesystem::path(options.engine.model_path).stem()};
  }
  std::unique_ptr<Pod> pod(new Pod(io, std::move(options)));
  if (auto loaded = pod->load(); !loaded) return std::unexpected(loaded.error());
  return pod;
}

Result<void> Pod::load() {
  init_llama();
  if (auto free = http::Server::check_port_free(options_.host, options_.port); !free) return free;
  auto tokenizer = GgufTokenizer::load(options_.engine.model_path);
  if (!tokenizer) return std::unexpected(tokenizer.error());

  PodParts parts;
  parts.tokenizer = *tokenizer;
  auto chat_template = load_template(**tokenizer);
  if (!chat_template) return std::unexpected(chat_template.error());
  parts.chat_template = std::move(*chat_template);
  parts.models.base = options_.served_model_names;
  for (const LoraFile& lora : options_.engine.loras) parts.models.loras.push_back(lora.name);

  auto engine =
      Engine::start(options_.engine, [this](const NodeNeeds& needs) { return start_node(needs); });
  if (!engine) return std::unexpected(engine.error());
  engine_ = std::move(*engine);
  pod_metrics_ = std::make_unique<PodMetrics>(metrics_, options_.served_model_names.front());
  parts.engine = engine_;
  parts.facts = engine_->facts();
  parts.facts.kv_address = kv_address_;
  parts.metrics = pod_metrics_.get();
  parts.node = node_.get();
  api_ = std::make_unique<PodApi>(std::move(parts), engine_->options());

  auto server = http::Server::listen(
      io_, options_.host, options_.port, options_.limits,
      [api = api_.get()](http::Exchange& exchange) { return api->handle(exchange); });
  if (!server) return std::unexpected(server.error());
  server_ = std::move(*server);
  pod_metrics_->watch(server_->stats());
  return {};
}

Result<kv::Node*> Pod::start_node(const NodeNeeds& needs) {
  auto arena = kv::BlockArena::create(needs.slot_bytes, needs.slots);
  if (!arena) return std::unexpected(arena.error());
  kv::NodeOptions node;
  node.listen = options_.kv_listen.empty() ? options_.host + ":0" : options_.kv_listen;
  node.engine_id = needs.facts.engine_id;
  node.epoch = needs.facts.epoch;
  node.layout_hash = needs.facts.layout_hash;
  node.on_shortage = needs.on_shortage;
  node.metrics = &metrics_;
  node.tls = options_.kv_tls;
  node.tcp_connections = options_.kv_connections;
  if (options_.transport != "auto") {
    node.transports = {options_.transport};
    node.require_transport = options_.transport;
  }
  auto started = kv::Node::start(std::move(node), std::move(*arena));
  if (!started) return std::unexpected(started.error());
  node_ = std::move(*started);
  kv_address_ = options_.kv_advertise.empty() ? node_->address() : options_.kv_advertise;
  return node_.get();
}

void Pod::drain(std::function<void()> drained) {
  api_->start_draining();
  server_->drain([this, drained = std::move(drained)]() mutable {
    wait_for_leases(Clock::now() + kv::NodeOptions().lease_ttl, std::move(drained));
  });
}

void Pod::wait_for_leases(TimePoint until, std::function<void()> drained) {
  if (engine_->stats().blocks_pinned == 0 || Clock::now() >= until) return drained();
  drain_poll_.expires_after(kDrainPoll);
  drain_poll_.async_wait(
      [this, until, drained = std::move(drained)](boost::system::error_code stopped) mutable {
        if (!stopped) wait_for_leases(until, std::move(drained));
      });
}

}  // namespace baton::adapters
