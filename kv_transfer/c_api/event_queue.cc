#include "kv_transfer/c_api/event_queue.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <string_view>
#include <utility>

#include "core/utf8.h"
#include "kv_transfer/c_api/block.h"

namespace baton::kv::c_api {
namespace {

void copy_text(std::string_view text, std::span<char> into) {
  const std::string fitting = well_formed_utf8(text, into.size() - 1);
  *std::ranges::copy(fitting, into.begin()).out = '\0';
}

}  // namespace

baton_kv_event Event::to_c() const {
  baton_kv_event event{};
  event.struct_size = sizeof event;
  event.kind = kind;
  event.status = status;
  event.receive = receive;
  event.user_data = user_data;
  event.transfer = {.high = transfer.high(), .low = transfer.low()};
  event.block = block_to_c(block);
  event.bytes = static_cast<std::uint64_t>(summary.bytes.count());
  event.blocks = static_cast<std::uint32_t>(summary.blocks);
  event.held_blocks = static_cast<std::uint32_t>(summary.held_blocks);
  event.seconds = to_seconds(summary.total);
  event.exposed_seconds = to_seconds(summary.exposed);
  event.prompt_tokens = summary.prompt_tokens;
  event.cached_tokens = summary.cached_tokens;
  event.slots = slots;
  event.retryable = retryable ? 1 : 0;
  copy_text(summary.transport, event.transport);
  copy_text(message, event.message);
  return event;
}

EventQueue::~EventQueue() {
  if (fd_ >= 0) ::close(fd_);
}

Outcome<void> EventQueue::open() {
  fd_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (fd_ >= 0) return {};
  return failed(BATON_KV_UNAVAILABLE, std::string("no file descriptor for the node's events (") +
                                          std::strerror(errno) + "): raise `ulimit -n`");
}

void EventQueue::push(Event event) {
  {
    std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
    if (events_.size() == 1) signal();
  }
  changed_.notify_one();
}

void EventQueue::push_shortage(std::uint32_t slots) {
  {
    std::lock_guard lock(mutex_);
    if (std::exchange(shortage_is_queued_, true)) return;
  }
  push({.kind = BATON_KV_EVENT_SHORTAGE, .slots = slots});
}

void EventQueue::close() {
  {
    std::lock_guard lock(mutex_);
    closed_ = true;
    signal();  // and stays so: who polls finds that it has stopped
  }
  changed_.notify_all();
}

Outcome<Event> EventQueue::take(std::chrono::milliseconds limit) {
  std::unique_lock lock(mutex_);
  const auto something = [this] { return !events_.empty() || closed_; };
  if (limit < std::chrono::milliseconds::zero()) {
    changed_.wait(lock, something);
  } else {
    changed_.wait_for(lock, limit, something);
  }
  if (events_.empty()) {
    if (closed_) return failed(BATON_KV_STOPPED, "the node was stopped: no more events come");
    return failed(BATON_KV_NO_EVENT,
                  "no event came in time: wait longer, or for the node's file "
                  "descriptor");
  }
  Event event = std::move(events_.front());
  events_.pop_front();
  if (event.kind == BATON_KV_EVENT_SHORTAGE) shortage_is_queued_ = false;
  if (events_.empty() && !closed_) {
    std::uint64_t count = 0;
    (void)!::read(fd_, &count, sizeof count);
  }
  return event;
}

void EventQueue::signal() const {
  const std::uint64_t one = 1;
  (void)!::write(fd_, &one, sizeof one);
}

}  // namespace baton::kv::c_api
