#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <unordered_map>

#include "core/metrics.h"
#include "kv_transfer/baton_kv.h"
#include "kv_transfer/c_api/event_queue.h"
#include "kv_transfer/c_api/guard.h"
#include "kv_transfer/c_api/slot_book.h"
#include "kv_transfer/node.h"

namespace baton::kv::c_api {

// The receives of a node that have not ended, by the number that the program knows. Any thread.
class Receives {
 public:
  // Begins one with the number that `begin` is given; it answers the Node's own.
  template <class Begin>
  std::uint64_t add(Begin begin) {
    std::lock_guard lock(mutex_);  // held, so that an end that comes at once waits for the entry
    const std::uint64_t number = ++last_;
    ids_[number] = begin(number);
    return number;
  }
  void remove(std::uint64_t number) {
    std::lock_guard lock(mutex_);
    ids_.erase(number);
  }
  enum class Known : std::uint8_t { kNever, kEnded, kRunning };
  [[nodiscard]] Known find(std::uint64_t number, ReceiveId& id) const {
    std::lock_guard lock(mutex_);
    if (number == 0 || number > last_) return Known::kNever;
    const auto it = ids_.find(number);
    if (it == ids_.end()) return Known::kEnded;
    id = it->second;
    return Known::kRunning;
  }

 private:
  mutable std::mutex mutex_;
  std::uint64_t last_ = 0;
  std::unordered_map<std::uint64_t, ReceiveId> ids_;
};

}  // namespace baton::kv::c_api

// NOLINTBEGIN(readability-identifier-naming): the C API's name
// What a program holds. `node` is null once it was stopped; calls share the lock, the stop has it
// alone. All else outlives the Node, whose thread uses it.
struct baton_kv_node {
  baton_kv_node(std::size_t slots, std::uint64_t the_epoch) : book(slots), epoch(the_epoch) {}

  baton::Metrics metrics;
  baton::kv::c_api::EventQueue events;
  baton::kv::c_api::SlotBook book;
  baton::kv::c_api::Receives receives;
  const std::uint64_t epoch;
  std::string address;
  std::mutex stopping;
  std::shared_mutex mutex;
  std::unique_ptr<baton::kv::Node> node;
};
// NOLINTEND(readability-identifier-naming)

namespace baton::kv::c_api {

// Runs what a function does with a node that has not been stopped.
template <class Body>
baton_kv_status with_node(baton_kv_node* handle, Body body) noexcept {
  return guarded([&]() -> Outcome<void> {
    if (handle == nullptr) return null("node");
    std::shared_lock lock(handle->mutex);
    if (handle->node == nullptr) {
      return failed(BATON_KV_STOPPED, "the node was stopped: start another one");
    }
    return body(*handle, *handle->node);
  });
}

}  // namespace baton::kv::c_api
