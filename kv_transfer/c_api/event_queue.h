#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>

#include "core/ids.h"
#include "core/units.h"
#include "kv_transfer/baton_kv.h"
#include "kv_transfer/c_api/guard.h"
#include "kv_transfer/node.h"

namespace baton::kv::c_api {

// One thing to tell the program.
struct Event {
  std::int32_t kind = 0;
  baton_kv_status status = BATON_KV_OK;
  std::uint64_t receive = 0;
  std::uint64_t user_data = 0;
  TransferId transfer{};
  BlockDescriptor block{};
  ReceiveSummary summary{};
  std::uint32_t slots = 0;
  bool retryable = false;
  std::string message{};

  [[nodiscard]] baton_kv_event to_c() const;
};

// What the kv thread has to tell and the program has not asked for yet, with a descriptor that is
// readable while there is something. Owned by a baton_kv_node; any thread.
class EventQueue {
 public:
  EventQueue() = default;
  ~EventQueue();
  EventQueue(const EventQueue&) = delete;
  EventQueue& operator=(const EventQueue&) = delete;

  [[nodiscard]] Outcome<void> open();  // before anything else
  void push(Event event);
  // A shortage is told once until it is taken.
  void push_shortage(std::uint32_t slots);
  // No more will come; who waits is woken.
  void close();
  // The oldest, waited for; below zero: without end. Errors: NO_EVENT, STOPPED.
  [[nodiscard]] Outcome<Event> take(std::chrono::milliseconds limit);
  [[nodiscard]] int fd() const { return fd_; }

 private:
  void signal() const;  // lock held

  int fd_ = -1;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Event> events_;
  bool shortage_is_queued_ = false;
  bool closed_ = false;
};

}  // namespace baton::kv::c_api
