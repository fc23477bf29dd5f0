#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/intrusive/list.hpp>
#include <boost/smart_ptr/intrusive_ptr.hpp>
#include <boost/smart_ptr/intrusive_ref_counter.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "adapters/http/server.h"
#include "adapters/http/wakeup.h"

namespace baton::adapters::http {

using Socket = asio::basic_stream_socket<asio::ip::tcp, asio::io_context::executor_type>;
using IoTimer =
    asio::basic_waitable_timer<Clock, asio::wait_traits<Clock>, asio::io_context::executor_type>;

using ListHook =
    boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>>;

// One TCP connection, of either side, on one thread. A read is pending whenever there is room, so
// that the peer's leaving is seen while nobody reads, and so that a kept connection costs no extra
// call for its next message. Writes go to the socket at once and suspend only where it is full.
// Owned by its coroutine and by its pending operations, counted without atomics. One coroutine
// waits on it at a time.
class Stream : public ListHook,
               public boost::intrusive_ref_counter<Stream, boost::thread_unsafe_counter> {
 public:
  enum class End : std::uint8_t { kOpen, kPeer, kTimeout, kCancelled, kClosed };

  Stream(asio::io_context& io, Socket socket, std::size_t first_buffer, std::size_t max_buffer);
  virtual ~Stream() = default;
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  [[nodiscard]] std::span<char> unread();
  [[nodiscard]] std::string_view unread_text() { return {buffer_.get() + begin_, end_ - begin_}; }
  void consume(std::size_t bytes) { begin_ += bytes; }
  // Makes sure that a read is pending, if there is room; more room is made if `grow`.
  void watch(bool grow);
  // Waits for bytes behind the unread ones. False: there will be none; end() says why.
  Task<bool> more();
  // From now on each read notes when the kernel got its bytes, at the cost of a system call. Once
  // connected, before the first read.
  void note_arrivals();
  // When the last of the newest bytes came: at this machine, where arrivals are noted; else now.
  [[nodiscard]] TimePoint received_at() const { return arrivals_ ? received_at_ : Clock::now(); }
  // How long ago this machine got the newest bytes, however late they were read.
  [[nodiscard]] Duration since_last_data();
  // Receives what is in the socket already. Only while no read is pending. 0: nothing, or ended.
  std::size_t receive_now(std::span<char> into);
  [[nodiscard]] bool reading() const { return reading_; }

  // Sends what the socket takes without waiting; `pieces` is advanced. False: the peer is gone.
  bool send_now(std::span<asio::const_buffer> pieces);
  // Sends the rest, waiting at most `patience` each time for the peer to take something. False: it
  // stays unsent.
  Task<bool> send_rest(std::span<asio::const_buffer> pieces, Duration patience);

  // Opens a connection; within the deadline, if one is set. False: end() or connect_error() says
  // why.
  Task<bool> connect(asio::ip::tcp::endpoint endpoint);
  [[nodiscard]] boost::system::error_code connect_error() const { return ready_ec_; }

  [[nodiscard]] End end() const { return end_reason_; }
  [[nodiscard]] bool open() const { return end_reason_ == End::kOpen; }
  [[nodiscard]] bool was_reset() const { return was_reset_; }  // by the peer
  void close(End reason = End::kClosed);
  void shut_down_sending();
  void reset_on_close();  // the peer sees a reset, not an orderly end

  // A point in time at which expire() is called, by the owner's sweep; TimePoint::max(): never.
  void set_deadline(TimePoint deadline) { deadline_ = deadline; }
  void clear_deadline() { deadline_ = TimePoint::max(); }
  [[nodiscard]] TimePoint deadline() const { return deadline_; }
  void expire();
  // Called where the peer left, or the stream was closed by a deadline, and nobody waited.
  virtual void on_end() {}

 protected:
  enum class Waiting : std::uint8_t { kNothing, kInput, kReady };
  // An Asio handler that keeps the stream alive. Destroyed without being called, which happens
  // when its io_context is destroyed, it takes the waiting coroutine with it.
  template <void (Stream::*Done)(boost::system::error_code, std::size_t)>
  struct Handler {
    boost::intrusive_ptr<Stream> stream;
    explicit Handler(Stream* owner) : stream(owner) {}
    Handler(Handler&&) noexcept = default;
    Handler(const Handler&) = delete;
    Handler& operator=(Handler&&) = delete;
    ~Handler() {
      if (stream) stream->wakeup_.drop();
    }
    void operator()(boost::system::error_code ec, std::size_t bytes = 0) {
      const boost::intrusive_ptr<Stream> self = std::move(stream);
      ((*self).*Done)(ec, bytes);
    }
  };

  // An answer that comes before the whole request was sent ends the sending.
  void stop_sending_on_input() { input_stops_sending_ = true; }
  Task<bool> wait_for(Waiting what);  // false: cancelled, and closed therefore
  void wake();
  void drop_waiter() { wakeup_.drop(); }
  [[nodiscard]] Socket& socket() { return socket_; }
  [[nodiscard]] asio::io_context& io() { return io_; }

 private:
  void on_read(boost::system::error_code ec, std::size_t bytes);
  void on_readable(boost::system::error_code ec, std::size_t bytes);
  void on_ready(boost::system::error_code ec, std::size_t bytes);
  void close_by_peer(boost::system::error_code ec);
  bool make_room(bool grow);

  asio::io_context& io_;
  Socket socket_;
  Wakeup wakeup_;
  Waiting waiting_ = Waiting::kNothing;
  boost::system::error_code ready_ec_;
  bool reading_ = false;
  bool arrivals_ = false;
  TimePoint received_at_;
  bool was_reset_ = false;
  bool input_stops_sending_ = false;
  End end_reason_ = End::kOpen;
  TimePoint deadline_ = TimePoint::max();
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t capacity_;
  std::size_t max_capacity_;
  std::unique_ptr<char[]> buffer_;
};

// The deadlines of all streams of one server or client: one timer that ticks while there are any,
// so that setting a deadline is a store. Deadlines are kept to within one tick.
class DeadlineSweep : public std::enable_shared_from_this<DeadlineSweep> {
 public:
  // `shortest`: the shortest limit that deadlines are made of.
  DeadlineSweep(asio::io_context& io, Duration shortest);
  void add(Stream& stream);
  [[nodiscard]] std::vector<boost::intrusive_ptr<Stream>> streams();

 private:
  void tick();
  Duration interval_;
  IoTimer timer_;
  bool ticking_ = false;
  boost::intrusive::list<Stream, boost::intrusive::base_hook<ListHook>,
                         boost::intrusive::constant_time_size<false>>
      streams_;
};

}  // namespace baton::adapters::http
