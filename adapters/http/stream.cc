#include "adapters/http/stream.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "adapters/http/arrival.h"

namespace baton::adapters::http {

using boost::system::error_code;

Stream::Stream(asio::io_context& io, Socket socket, std::size_t first_buffer,
               std::size_t max_buffer)
    : io_(io),
      socket_(std::move(socket)),
      wakeup_(io),
      capacity_(first_buffer),
      max_capacity_(max_buffer),
      buffer_(std::make_unique_for_overwrite<char[]>(first_buffer)) {}

std::span<char> Stream::unread() { return {buffer_.get() + begin_, end_ - begin_}; }

bool Stream::make_room(bool grow) {
  if (begin_ == end_) begin_ = end_ = 0;
  if (end_ < capacity_) return true;
  if (!grow) return false;
  if (begin_ > 0) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
    return true;
  }
  if (capacity_ >= max_capacity_) return false;
  capacity_ = std::min(capacity_ * 2, max_capacity_);
  auto larger = std::make_unique_for_overwrite<char[]>(capacity_);
  std::memcpy(larger.get(), buffer_.get(), end_);
  buffer_ = std::move(larger);
  return true;
}

void Stream::watch(bool grow) {
  if (reading_ || !open() || !make_room(grow)) return;
  reading_ = true;
  if (arrivals_) {
    socket_.async_wait(Socket::wait_read, Handler<&Stream::on_readable>(this));
  } else {
    socket_.async_read_some(asio::buffer(buffer_.get() + end_, capacity_ - end_),
                            Handler<&Stream::on_read>(this));
  }
}

void Stream::note_arrivals() { arrivals_ = adapters::http::note_arrivals(socket_.native_handle()); }

void Stream::on_readable(error_code ec, std::size_t) {
  if (ec || !open()) {
    on_read(ec, 0);
    return;
  }
  const ssize_t got = receive_noting_arrival(
      socket_.native_handle(), {buffer_.get() + end_, capacity_ - end_}, received_at_);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
    reading_ = false;
    watch(false);
    return;
  }
  if (got < 0) ec.assign(errno, boost::system::system_category());
  if (got == 0) ec = asio::error::eof;
  on_read(ec, got > 0 ? static_cast<std::size_t>(got) : 0);
}

void Stream::on_read(error_code ec, std::size_t bytes) {
  reading_ = false;
  end_ += bytes;
  if (ec && open()) close_by_peer(ec);
  if (ec ? waiting_ != Waiting::kNothing : waiting_ == Waiting::kInput || input_stops_sending_) {
    wake();
  } else if (ec) {
    on_end();
  } else {
    watch(false);
  }
}

Task<bool> Stream::more() {
  const std::size_t had = end_ - begin_;
  watch(true);
  while (open() && end_ - begin_ == had) {
    if (!reading_) co_return false;  // no room: the caller's limit is the buffer's
    if (!co_await wait_for(Waiting::kInput)) co_return false;
  }
  co_return end_ - begin_ > had;
}

Task<bool> Stream::wait_for(Waiting what) {
  waiting_ = what;
  const bool woken = co_await wakeup_.wait();
  waiting_ = Waiting::kNothing;
  if (!woken) close(End::kCancelled);
  co_return woken;
}

void Stream::wake() {
  if (wakeup_.waiting()) wakeup_.wake();
}

void Stream::on_ready(error_code ec, std::size_t) {
  ready_ec_ = ec;
  if (waiting_ == Waiting::kReady) wake();
}

Task<bool> Stream::connect(asio::ip::tcp::endpoint endpoint) {
  error_code ec;
  if (socket_.is_open()) socket_.close(ec);  // an earlier try
  socket_.open(endpoint.protocol(), ec);
  if (!ec) socket_.non_blocking(true, ec);
  if (!ec) socket_.set_option(asio::ip::tcp::no_delay(true), ec);
  ready_ec_ = ec;
  if (ec) co_return false;
  socket_.async_connect(endpoint, Handler<&Stream::on_ready>(this));
  const bool woken = co_await wait_for(Waiting::kReady);
  co_return woken&& open() && !ready_ec_;
}

Duration Stream::since_last_data() { return http::since_last_data(socket_.native_handle()); }

std::size_t Stream::receive_now(std::span<char> into) {
  error_code ec;
  const std::size_t bytes = socket_.read_some(asio::buffer(into.data(), into.size()), ec);
  if (ec && ec != asio::error::would_block) close_by_peer(ec);
  return bytes;
}

bool Stream::send_now(std::span<asio::const_buffer> pieces) {
  for (;;) {
    while (!pieces.empty() && pieces.front().size() == 0) pieces = pieces.subspan(1);
    if (pieces.empty()) return true;
    if (!socket_.is_open()) return false;
    error_code ec;
    std::size_t sent = socket_.write_some(pieces, ec);
    if (ec == asio::error::would_block) return true;
    if (ec) {
      close_by_peer(ec);
      return false;
    }
    for (asio::const_buffer& piece : pieces) {
      const std::size_t part = std::min(sent, piece.size());
      piece += part;
      sent -= part;
    }
  }
}

Task<bool> Stream::send_rest(std::span<asio::const_buffer> pieces, Duration patience) {
  while (asio::buffer_size(pieces) > 0) {
    if (!open() || (input_stops_sending_ && begin_ < end_)) co_return false;
    set_deadline(Clock::now() + patience);
    socket_.async_wait(Socket::wait_write, Handler<&Stream::on_ready>(this));
    const bool woken = co_await wait_for(Waiting::kReady);
    clear_deadline();
    if (!woken || !open() || !send_now(pieces)) co_return false;
  }
  co_return true;
}

void Stream::close_by_peer(error_code ec) {
  was_reset_ = ec == asio::error::connection_reset || ec == asio::error::broken_pipe;
  close(End::kPeer);
}

void Stream::close(End reason) {
  if (end_reason_ == End::kOpen) end_reason_ = reason;
  error_code ignored;
  socket_.close(ignored);
}

void Stream::shut_down_sending() {
  error_code ignored;
  socket_.shutdown(Socket::shutdown_send, ignored);
}

void Stream::reset_on_close() {
  error_code ignored;
  socket_.set_option(asio::socket_base::linger(true, 0), ignored);
}

void Stream::expire() {
  deadline_ = TimePoint::max();
  if (!open()) return;
  end_reason_ = End::kTimeout;
  if (wakeup_.waiting()) {
    wakeup_.wake();  // the waiter may have a last word to say before it closes
  } else {
    close();
    on_end();
  }
}

DeadlineSweep::DeadlineSweep(asio::io_context& io, Duration shortest)
    : interval_(std::clamp<Duration>(shortest / 8, std::chrono::milliseconds(5),
                                     std::chrono::seconds(1))),
      timer_(io) {}

void DeadlineSweep::add(Stream& stream) {
  streams_.push_back(stream);
  if (!ticking_) tick();
}

std::vector<boost::intrusive_ptr<Stream>> DeadlineSweep::streams() {
  std::vector<boost::intrusive_ptr<Stream>> all;
  for (Stream& stream : streams_) all.emplace_back(&stream);
  return all;
}

void DeadlineSweep::tick() {
  const TimePoint now = Clock::now();
  std::vector<boost::intrusive_ptr<Stream>> late;
  for (Stream& stream : streams_) {
    if (stream.deadline() <= now) late.emplace_back(&stream);
  }
  for (const auto& stream : late) stream->expire();
  ticking_ = !streams_.empty();
  if (!ticking_) return;
  timer_.expires_after(interval_);
  timer_.async_wait([weak = weak_from_this()](error_code ec) {
    if (const auto self = weak.lock(); self && !ec) self->tick();
  });
}

}  // namespace baton::adapters::http
