#include "kv_transfer/nccl/control_stream.h"

#include <boost/asio/buffer.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <utility>

#include "kv_transfer/tcp_loss.h"

namespace baton::kv {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

ControlStream::ControlStream(tcp::socket socket, OnEnd on_end)
    : socket_(std::move(socket)), on_end_(std::move(on_end)) {
  error_code ignored;
  socket_.set_option(tcp::no_delay(true), ignored);
  notice_loss(socket_.native_handle());
}

void ControlStream::read(std::span<std::byte> into, Then then) {
  asio::async_read(
      socket_, asio::buffer(into.data(), into.size()),
      [self = shared_from_this(), then = std::move(then)](error_code error, std::size_t) {
        if (self->on_end_ == nullptr) return;
        if (error) return self->end(error.message());
        then();
      });
}

void ControlStream::write(std::vector<std::byte> bytes, Then then) {
  if (on_end_ == nullptr) return;
  output_.push_back({std::move(bytes), std::move(then)});
  if (output_.size() == 1) write_first();
}

void ControlStream::write_first() {
  const auto& bytes = output_.front().bytes;
  asio::async_write(socket_, asio::buffer(bytes.data(), bytes.size()),
                    [self = shared_from_this()](error_code error, std::size_t) {
                      const Then then = std::move(self->output_.front().then);
                      self->output_.pop_front();
                      if (self->on_end_ == nullptr) return;
                      if (error) return self->end(error.message());
                      if (!self->output_.empty()) self->write_first();
                      if (then) then();
                    });
}

void ControlStream::end(const std::string& why) {
  const auto on_end = std::exchange(on_end_, nullptr);
  close();
  on_end(why);
}

void ControlStream::close() {
  on_end_ = nullptr;
  for (Message& message : output_) message.then = nullptr;  // it may hold whoever holds this
  error_code ignored;
  socket_.close(ignored);
}

}  // namespace baton::kv
