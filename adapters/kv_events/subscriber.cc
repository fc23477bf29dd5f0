#include "adapters/kv_events/subscriber.h"

#include <sys/eventfd.h>
#include <unistd.h>
#include <zmq.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "adapters/kv_events/pod_feed.h"
#include "core/log.h"

namespace baton::adapters {

bool KvEventFeed::same_source(KvEventFeed other) const {
  other.epoch = epoch;
  return *this == other;
}

// What the thread has: feeds and sockets are its own, the rest is shared under the lock.
class KvEventSubscriber::Loop {
 public:
  Loop(PrefixIndex& prefixes, Metrics& metrics)
      : prefixes_(prefixes), metrics_(metrics), wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (wake_fd_ < 0) throw std::runtime_error("eventfd() failed");
  }
  ~Loop() { ::close(wake_fd_); }
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void set_wanted(std::vector<KvEventFeed> feeds) {
    {
      const std::scoped_lock lock(mutex_);
      wanted_ = std::move(feeds);
    }
    ::eventfd_write(wake_fd_, 1);
  }

  void stop() {
    {
      const std::scoped_lock lock(mutex_);
      is_stopped_ = true;
    }
    ::eventfd_write(wake_fd_, 1);
  }

  void run() {
    while (take_orders()) {
      wait();
      const TimePoint now = Clock::now();
      for (const auto& feed : feeds_) {
        feed->read(now);
        feed->on_time(now);
      }
    }
    feeds_.clear();
  }

 private:
  // False: to stop.
  bool take_orders() {
    std::optional<std::vector<KvEventFeed>> wanted;
    {
      const std::scoped_lock lock(mutex_);
      if (is_stopped_) return false;
      wanted = std::exchange(wanted_, std::nullopt);
    }
    if (wanted) use(std::move(*wanted));
    return true;
  }

  void use(std::vector<KvEventFeed> wanted) {
    const TimePoint now = Clock::now();
    std::vector<std::unique_ptr<PodFeed>> before = std::exchange(feeds_, {});
    std::vector<KvEventFeed> added;
    for (KvEventFeed& feed : wanted) {
      const auto known = std::ranges::find_if(
          before, [&](const auto& held) { return held && held->feed().same_source(feed); });
      if (known == before.end()) {
        added.push_back(std::move(feed));
      } else {
        (*known)->set_epoch(feed.epoch, now);
        feeds_.push_back(std::move(*known));
      }
    }
    before.clear();  // retracts, before a changed feed of the same pod tells anew
    for (KvEventFeed& feed : added) {
      log(LogLevel::kInfo, "following KV events",
          {{"pool", feed.pool}, {"pod", feed.pod}, {"port", feed.port}, {"ranks", feed.ranks}});
      feeds_.push_back(
          std::make_unique<PodFeed>(context_, std::move(feed), prefixes_, metrics_, now));
    }
  }

  void wait() {
    items_.clear();
    items_.push_back({nullptr, wake_fd_, ZMQ_POLLIN, 0});
    TimePoint deadline = TimePoint::max();
    for (const auto& feed : feeds_) {
      feed->add_poll_items(items_);
      deadline = std::min(deadline, feed->deadline());
    }
    long timeout = -1;
    if (deadline != TimePoint::max()) {
      const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
      timeout = static_cast<long>(std::max<std::int64_t>(left.count(), 0));
    }
    zmq_poll(items_.data(), static_cast<int>(items_.size()), timeout);
    eventfd_t wakes = 0;
    ::eventfd_read(wake_fd_, &wakes);
  }

  PrefixIndex& prefixes_;
  Metrics& metrics_;
  int wake_fd_;
  ZmqContext context_;
  std::vector<std::unique_ptr<PodFeed>> feeds_;  // of the thread alone, as is `items_`
  std::vector<zmq_pollitem_t> items_;

  std::mutex mutex_;
  std::optional<std::vector<KvEventFeed>> wanted_;
  bool is_stopped_ = false;
};

KvEventSubscriber::KvEventSubscriber(PrefixIndex& prefixes, Metrics& metrics)
    : prefixes_(prefixes), metrics_(metrics) {}

KvEventSubscriber::~KvEventSubscriber() {
  if (!loop_) return;
  loop_->stop();
  thread_.join();
}

void KvEventSubscriber::set_feeds(std::vector<KvEventFeed> feeds) {
  if (!loop_) {
    if (feeds.empty()) return;
    loop_ = std::make_unique<Loop>(prefixes_, metrics_);
    thread_ = std::thread([loop = loop_.get()] { loop->run(); });
  }
  loop_->set_wanted(std::move(feeds));
}

}  // namespace baton::adapters
