#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace baton::kv {

// A TCP connection for small messages: reads of exact length, writes in order. Kept alive by its
// handlers; on the kv thread. Promises: neither a `then` nor the end runs after close().
class ControlStream : public std::enable_shared_from_this<ControlStream> {
 public:
  using Then = std::function<void()>;
  using OnEnd = std::function<void(const std::string& why)>;

  // `on_end` runs once, in a later turn, when the connection is lost; it is closed then.
  ControlStream(boost::asio::ip::tcp::socket socket, OnEnd on_end);

  // One read at a time. `then` keeps `into` alive.
  void read(std::span<std::byte> into, Then then);
  void write(std::vector<std::byte> bytes, Then then = nullptr);
  void close();

 private:
  struct Message {
    std::vector<std::byte> bytes;
    Then then;
  };

  void write_first();
  void end(const std::string& why);

  boost::asio::ip::tcp::socket socket_;
  OnEnd on_end_;  // null: closed
  std::deque<Message> output_;
};

}  // namespace baton::kv
