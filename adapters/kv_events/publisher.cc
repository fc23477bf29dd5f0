#include "adapters/kv_events/publisher.h"

#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include <array>
#include <chrono>
#include <limits>
#include <stdexcept>

namespace baton::adapters {

Result<std::unique_ptr<KvEventPublisher>> KvEventPublisher::bind(Options options) {
  std::unique_ptr<KvEventPublisher> made(new KvEventPublisher(std::move(options)));
  if (auto bound = made->bind(); !bound) return std::unexpected(bound.error());
  made->thread_ = std::thread([publisher = made.get()] { publisher->run(); });
  return made;
}

// XPUB is PUB that says who subscribes.
KvEventPublisher::KvEventPublisher(Options options)
    : options_(std::move(options)),
      context_(options_.context ? options_.context : std::make_shared<ZmqContext>()),
      events_(*context_, ZMQ_XPUB),
      replay_(*context_, ZMQ_ROUTER),
      wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (wake_fd_ < 0) throw std::runtime_error("eventfd() failed");
  events_.set(ZMQ_XPUB_VERBOSER, 1);
}

Result<void> KvEventPublisher::bind() {
  if (auto bound = events_.bind(options_.host, options_.port); !bound) return bound;
  port_ = events_.port();
  if (!options_.has_replay) return {};
  if (auto bound = replay_.bind(options_.host, options_.replay_port); !bound) return bound;
  replay_port_ = replay_.port();
  return {};
}

KvEventPublisher::~KvEventPublisher() {
  if (thread_.joinable()) {
    {
      const std::scoped_lock lock(mutex_);
      is_stopped_ = true;
    }
    ::eventfd_write(wake_fd_, 1);
    thread_.join();
  }
  ::close(wake_fd_);
}

std::string KvEventPublisher::encode(std::vector<KvEvent> events) const {
  const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
  return encode_kv_events(events, now.count(), options_.rank, options_.encoding);
}

void KvEventPublisher::publish(std::vector<KvEvent> events) {
  push({encode(std::move(events)), false});
}

void KvEventPublisher::publish_lost(std::vector<KvEvent> events) {
  push({encode(std::move(events)), true});
}

void KvEventPublisher::publish_raw(std::string payload) { push({std::move(payload), false}); }

void KvEventPublisher::push(Outgoing outgoing) {
  {
    const std::scoped_lock lock(mutex_);
    queue_.push_back(std::move(outgoing));
  }
  ::eventfd_write(wake_fd_, 1);
}

void KvEventPublisher::run() {
  for (;;) {
    std::array<zmq_pollitem_t, 3> items = {{{nullptr, wake_fd_, ZMQ_POLLIN, 0},
                                            {events_.get(), 0, ZMQ_POLLIN, 0},
                                            {replay_.get(), 0, ZMQ_POLLIN, 0}}};
    zmq_poll(items.data(), static_cast<int>(items.size()), -1);
    eventfd_t wakes = 0;
    ::eventfd_read(wake_fd_, &wakes);
    read_subscriptions();
    answer_replays();  // before what is newer, as vLLM's does
    send_queued();
    const std::scoped_lock lock(mutex_);
    if (is_stopped_) return;
  }
}

void KvEventPublisher::read_subscriptions() {
  std::vector<std::string> frames;
  while (events_.receive(frames)) {
    if (frames.front().empty()) continue;
    subscribers_ += frames.front().front() == 1 ? 1 : -1;
  }
}

void KvEventPublisher::send_queued() {
  std::vector<Outgoing> queued;
  {
    const std::scoped_lock lock(mutex_);
    queued.swap(queue_);
  }
  for (Outgoing& outgoing : queued) {
    const std::uint64_t number = next_++;
    if (!outgoing.is_lost) {
      events_.send({options_.topic, big_endian_64(number), outgoing.payload});
    }
    buffer_.emplace_back(number, std::move(outgoing.payload));
    if (buffer_.size() > options_.buffered_batches) buffer_.pop_front();
  }
}

void KvEventPublisher::answer_replays() {
  constexpr std::uint64_t kEnd = std::numeric_limits<std::uint64_t>::max();  // −1
  std::vector<std::string> frames;
  while (replay_.receive(frames)) {
    if (frames.size() != 3 || frames[2].size() != 8) continue;
    const std::uint64_t from = from_big_endian_64(frames[2]);
    const auto reply = [&](std::string_view topic, std::uint64_t number, std::string_view payload) {
      if (options_.replay_has_topic) {
        replay_.send({frames[0], "", topic, big_endian_64(number), payload});
      } else {
        replay_.send({frames[0], "", big_endian_64(number), payload});
      }
    };
    for (const auto& [number, payload] : buffer_) {
      if (number >= from) reply(options_.topic, number, payload);
    }
    reply("", kEnd, "");
    ++replays_;
  }
}

}  // namespace baton::adapters
