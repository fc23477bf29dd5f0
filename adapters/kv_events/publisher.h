#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "adapters/kv_events/event_encoder.h"
#include "adapters/kv_events/zmq_socket.h"
#include "core/error.h"
#include "core/picking/kv_event.h"

namespace baton::adapters {

// Tells the KV events of one data-parallel rank as an engine's ZmqEventPublisher does: three frames
// (topic, number, payload) to subscribers, and on request the last batches again. For stand-ins of
// engines and for tests of what reads them. Owned by the stand-in; publish() may be called on any
// thread; a thread of its own sends and answers.
class KvEventPublisher {
 public:
  struct Options {
    std::string host = "127.0.0.1";
    std::uint16_t port = 0;  // 0: chosen by the system
    bool has_replay = true;
    std::uint16_t replay_port = 0;  // 0: chosen by the system
    bool replay_has_topic = true;   // vLLM since July 2026; SGLang has none
    std::string topic{};
    int rank = 0;
    KvEventEncoding encoding = KvEventEncoding::kVllmMap;
    std::size_t buffered_batches = 10'000;
    std::shared_ptr<ZmqContext> context{};  // null: one of its own
  };

  // Errors: kUnavailable where a port is taken.
  [[nodiscard]] static Result<std::unique_ptr<KvEventPublisher>> bind(Options options);
  ~KvEventPublisher();
  KvEventPublisher(const KvEventPublisher&) = delete;
  KvEventPublisher& operator=(const KvEventPublisher&) = delete;

  [[nodiscard]] std::uint16_t port() const { return port_; }
  [[nodiscard]] std::uint16_t replay_port() const { return replay_port_; }
  [[nodiscard]] int subscribers() const { return subscribers_.load(); }
  [[nodiscard]] std::uint64_t replays() const { return replays_.load(); }

  // One batch, with the next number.
  void publish(std::vector<KvEvent> events);
  // The same, but it never leaves, as where a subscriber is too slow; a replay has it.
  void publish_lost(std::vector<KvEvent> events);
  // Any payload, with the next number.
  void publish_raw(std::string payload);

 private:
  struct Outgoing {
    std::string payload;
    bool is_lost = false;
  };

  explicit KvEventPublisher(Options options);
  [[nodiscard]] Result<void> bind();
  [[nodiscard]] std::string encode(std::vector<KvEvent> events) const;
  void push(Outgoing outgoing);
  void run();
  void send_queued();
  void read_subscriptions();
  void answer_replays();

  Options options_;
  std::shared_ptr<ZmqContext> context_;
  ZmqSocket events_;
  ZmqSocket replay_;
  int wake_fd_;
  std::uint16_t port_ = 0;
  std::uint16_t replay_port_ = 0;
  std::atomic<int> subscribers_{0};
  std::atomic<std::uint64_t> replays_{0};

  std::mutex mutex_;
  std::vector<Outgoing> queue_;
  bool is_stopped_ = false;

  std::uint64_t next_ = 0;  // of the thread alone, as what follows
  std::deque<std::pair<std::uint64_t, std::string>> buffer_;
  std::thread thread_;
};

}  // namespace baton::adapters
