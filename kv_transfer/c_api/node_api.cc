#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <limits>
#include <mutex>
#include <random>
#include <utility>

#include "core/log.h"
#include "kv_transfer/c_api/handle.h"
#include "kv_transfer/c_api/names.h"
#include "kv_transfer/tcp_link.h"

namespace baton::kv::c_api {
namespace {

constexpr std::uint32_t kMostSlots = 1U << 24;
constexpr std::uint32_t kMostConnections = TcpLink::kMaxConnections;

// The log is the process's, and set up once.
class ProcessLog {
 public:
  Outcome<void> set_up(LogLevel level, bool again_is_wrong) {
    std::lock_guard lock(mutex_);
    if (std::exchange(done_, true)) {
      if (!again_is_wrong) return {};
      return wrong(
          "the log was set up already: call baton_kv_set_log_level() once, before the "
          "first baton_kv_node_start()");
    }
    try {
      init_log({.level = level, .format = LogFormat::kText, .prefix = {}});
    } catch (const std::exception&) {  // a Baton that the program is linked with has set it up
      if (again_is_wrong) return wrong("the log was set up by the program itself");
    }
    return {};
  }

 private:
  std::mutex mutex_;
  bool done_ = false;
};

ProcessLog& process_log() {
  static ProcessLog log;
  return log;
}

void set_duration(std::uint32_t ms, Duration& into) {
  if (ms != 0) into = std::chrono::milliseconds(ms);
}

std::uint64_t draw_epoch() {
  std::random_device random;
  const std::uint64_t epoch = Id128::draw(random).low();
  return epoch == 0 ? 1 : epoch;
}

Outcome<std::vector<std::string>> transports_of(const char* text) {
  std::vector<std::string> names;
  std::string_view rest = text;
  for (bool more = true; more;) {
    const std::size_t comma = rest.find(',');
    more = comma != std::string_view::npos;
    std::string_view name = rest.substr(0, comma);
    rest = more ? rest.substr(comma + 1) : std::string_view();
    name.remove_prefix(std::min(name.find_first_not_of(' '), name.size()));
    name = name.substr(0, name.find_last_not_of(' ') + 1);
    if (name.empty() || std::ranges::find(names, name) != names.end()) {
      return wrong(
          fmt::format("baton_kv_node_options.transports \"{}\" is no list of transports: "
                      "name each once, with commas between, as \"shm,tcp\"",
                      text));
    }
    names.emplace_back(name);
  }
  return names;
}

Outcome<NodeOptions> node_options_of(const baton_kv_node_options& given, std::uint64_t epoch) {
  NodeOptions options;
  auto engine = checked_name(given.engine_id, "baton_kv_node_options.engine_id");
  if (!engine) return std::unexpected(engine.error());
  options.engine_id = std::move(*engine);
  if (given.listen != nullptr) {
    auto listen = checked_address(given.listen, "baton_kv_node_options.listen");
    if (!listen) return std::unexpected(listen.error());
    options.listen = std::move(*listen);
  }
  options.epoch = epoch;
  options.layout_hash = given.layout_hash;
  if (given.transports != nullptr) {
    auto transports = transports_of(given.transports);
    if (!transports) return std::unexpected(transports.error());
    options.transports = std::move(*transports);
  }
  options.require_transport = text_or(given.require_transport);
  options.ucx_tls = text_or(given.ucx_tls, options.ucx_tls);
  if (given.tcp_connections != 0) {
    options.tcp_connections = static_cast<int>(given.tcp_connections);
  }
  options.tls = {.certificate = text_or(given.tls_certificate),
                 .key = text_or(given.tls_key),
                 .ca = text_or(given.tls_ca)};
  set_duration(given.lease_ttl_ms, options.lease_ttl);
  set_duration(given.wait_for_open_ms, options.wait_for_open);
  set_duration(given.quarantine_ms, options.quarantine);
  set_duration(given.heartbeat_ms, options.heartbeat);
  set_duration(given.connect_timeout_ms, options.connect_timeout);
  return options;
}

Outcome<void> check_sizes(const baton_kv_node_options& options) {
  if (options.slot_bytes < 1 || options.slot_bytes > std::numeric_limits<std::uint32_t>::max()) {
    return wrong(
        fmt::format("baton_kv_node_options.slot_bytes is {}: give the size of the largest "
                    "block, 1 byte to 4 GiB less one",
                    options.slot_bytes));
  }
  if (options.slots < 1 || options.slots > kMostSlots) {
    return wrong(
        fmt::format("baton_kv_node_options.slots is {}: give the number of blocks to have "
                    "room for, 1 to {}",
                    options.slots, kMostSlots));
  }
  if (options.tcp_connections > kMostConnections) {
    return wrong(fmt::format("baton_kv_node_options.tcp_connections is {}: 1 to {}",
                             options.tcp_connections, kMostConnections));
  }
  return {};
}

Event lease_end(TransferId transfer, LeaseState state, const Error& reason) {
  Event event{.kind = BATON_KV_EVENT_LEASE_END, .transfer = transfer};
  if (state != LeaseState::kCommitted) {
    event.status = status_of(reason.code);
    event.message = reason.message;
    event.retryable = reason.retryable;
  }
  return event;
}

Outcome<void> start(const baton_kv_node_options& given, baton_kv_node** node) {
  if (auto good = check_sizes(given); !good) return good;
  const std::uint64_t epoch = given.epoch != 0 ? given.epoch : draw_epoch();
  auto options = node_options_of(given, epoch);
  if (!options) return std::unexpected(options.error());
  if (auto log = process_log().set_up(LogLevel::kWarn, false); !log) return log;

  auto handle = std::make_unique<baton_kv_node>(given.slots, epoch);
  if (auto opened = handle->events.open(); !opened) return opened;
  options->metrics = &handle->metrics;
  EventQueue& events = handle->events;
  options->on_shortage = [&events](int slots) {
    events.push_shortage(static_cast<std::uint32_t>(slots));
  };
  if (given.lease_events != 0) {
    options->on_lease_end = [&events](TransferId id, LeaseState state, const Error& reason) {
      events.push(lease_end(id, state, reason));
    };
  }
  auto arena = BlockArena::create(Bytes(static_cast<std::int64_t>(given.slot_bytes)),
                                  static_cast<int>(given.slots));
  if (!arena) return failed(arena.error());
  auto started = Node::start(std::move(*options), std::move(*arena));
  if (!started) return failed(started.error());
  handle->node = std::move(*started);
  handle->address = handle->node->address();
  *node = handle.release();
  return {};
}

void stop(baton_kv_node& handle) {
  const std::lock_guard once(handle.stopping);  // a second one waits for the first
  std::unique_ptr<Node> ending;
  {
    std::unique_lock lock(handle.mutex);
    ending = std::move(handle.node);
  }
  if (ending == nullptr) return;
  ending.reset();  // its last events come meanwhile
  handle.events.close();
}

}  // namespace
}  // namespace baton::kv::c_api

using namespace baton;  // NOLINT: the C API lives outside the namespaces
using namespace baton::kv;
using namespace baton::kv::c_api;

extern "C" {

baton_kv_status baton_kv_set_log_level(int32_t level) {
  return guarded([&]() -> Outcome<void> {
    if (level < BATON_KV_LOG_DEBUG || level > BATON_KV_LOG_ERROR) {
      return wrong(
          fmt::format("log level {} is none: pass BATON_KV_LOG_DEBUG (0) to "
                      "BATON_KV_LOG_ERROR (3)",
                      level));
    }
    return process_log().set_up(static_cast<LogLevel>(level), true);
  });
}

baton_kv_status baton_kv_node_start(const baton_kv_node_options* options, baton_kv_node** node) {
  return guarded([&]() -> Outcome<void> {
    if (node == nullptr) return null("node");
    const auto given = read(options, "baton_kv_node_options");
    if (!given) return std::unexpected(given.error());
    return start(*given, node);
  });
}

baton_kv_status baton_kv_node_stop(baton_kv_node* node) {
  return guarded([&]() -> Outcome<void> {
    if (node == nullptr) return null("node");
    stop(*node);
    return {};
  });
}

void baton_kv_node_free(baton_kv_node* node) {
  if (node == nullptr) return;
  (void)baton_kv_node_stop(node);
  delete node;
}

baton_kv_status baton_kv_node_address(const baton_kv_node* node, const char** address,
                                      uint64_t* epoch) {
  return guarded([&]() -> Outcome<void> {
    if (node == nullptr) return null("node");
    if (address != nullptr) *address = node->address.c_str();
    if (epoch != nullptr) *epoch = node->epoch;
    return {};
  });
}

baton_kv_status baton_kv_node_metrics(baton_kv_node* node, char* text, size_t capacity,
                                      size_t* needed) {
  return with_node(node, [&](baton_kv_node& handle, Node&) -> Outcome<void> {
    if (text == nullptr && capacity != 0) return null("text");
    const std::string metrics = handle.metrics.expose();
    if (needed != nullptr) *needed = metrics.size() + 1;
    if (capacity < metrics.size() + 1) {
      return wrong(
          fmt::format("the metrics take {} bytes and there is room for {}: pass a larger "
                      "buffer",
                      metrics.size() + 1, capacity));
    }
    std::memcpy(text, metrics.c_str(), metrics.size() + 1);
    return {};
  });
}

baton_kv_status baton_kv_next_event(baton_kv_node* node, baton_kv_event* event,
                                    int32_t timeout_ms) {
  return guarded([&]() -> Outcome<void> {
    if (node == nullptr) return null("node");
    if (event == nullptr) return null("event");
    const auto good = check_struct_size(event->struct_size, sizeof *event, "baton_kv_event");
    if (!good) return good;
    const auto taken = node->events.take(std::chrono::milliseconds(timeout_ms));
    if (!taken) return std::unexpected(taken.error());
    return write(taken->to_c(), event, "baton_kv_event");
  });
}

baton_kv_status baton_kv_event_fd(baton_kv_node* node, int* fd) {
  return guarded([&]() -> Outcome<void> {
    if (node == nullptr) return null("node");
    if (fd == nullptr) return null("fd");
    *fd = node->events.fd();
    return {};
  });
}
}
