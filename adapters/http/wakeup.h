#pragma once

#include <boost/asio/associated_cancellation_slot.hpp>
#include <boost/asio/async_result.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <optional>
#include <utility>

#include "adapters/http/server.h"

namespace baton::adapters::http {

// Lets one coroutine sleep until another part of the same thread wakes it, without a timer or an
// allocation. Owned by whatever is waited for, which must outlive the wait. One waiter at a time.
class Wakeup {
 public:
  explicit Wakeup(asio::io_context& io) : io_(io) {}
  Wakeup(const Wakeup&) = delete;
  Wakeup& operator=(const Wakeup&) = delete;

  // Suspends until wake(): true; or until the caller is cancelled: false.
  Task<bool> wait() {
    return asio::async_initiate<const asio::use_awaitable_t<>, void(bool)>(Start{this},
                                                                           asio::use_awaitable);
  }
  [[nodiscard]] bool waiting() const { return waiter_.has_value(); }
  // Resumes the waiter before it returns; whoever owns this object may be gone afterwards.
  void wake() { resume(true); }
  // Destroys the waiting coroutine, where its io_context is being destroyed.
  void drop() { const std::optional<Waiter> dropped = std::exchange(waiter_, std::nullopt); }

 private:
  using Waiter = asio::async_result<asio::use_awaitable_t<>, void(bool)>::handler_type;

  struct Start {
    Wakeup* self;
    void operator()(Waiter waiter) const { self->start(std::move(waiter)); }
  };
  void start(Waiter waiter) {
    waiter_.emplace(std::move(waiter));
    asio::cancellation_slot slot = asio::get_associated_cancellation_slot(*waiter_);
    if (slot.is_connected()) slot.assign(Cancel{this});
  }
  // Whoever cancels is in the middle of something, so the waiter resumes on its own.
  struct Cancel {
    Wakeup* self;
    void operator()(asio::cancellation_type) const {
      if (!self->waiter_) return;
      Waiter waiter = std::move(*self->waiter_);
      self->waiter_.reset();
      asio::post(self->io_, Resume{std::move(waiter)});
    }
  };
  struct Resume {
    Waiter waiter;
    void operator()() { waiter(false); }
  };
  void resume(bool woken) {
    Waiter waiter = std::move(*waiter_);
    waiter_.reset();
    waiter(woken);
  }

  asio::io_context& io_;
  std::optional<Waiter> waiter_;
};

}  // namespace baton::adapters::http
