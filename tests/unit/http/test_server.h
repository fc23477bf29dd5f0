#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/connect.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <future>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "adapters/http/http_metrics.h"
#include "adapters/http/server.h"

namespace baton::adapters::http {

// A server on a thread of its own, for tests that talk to it over blocking sockets.
class TestServer {
 public:
  explicit TestServer(Server::Handler handler, ServerLimits limits = {}) {
    Result<std::unique_ptr<Server>> server =
        Server::listen(io_, "127.0.0.1", 0, limits, std::move(handler));
    if (!server) throw std::runtime_error(server.error().message);
    server_ = std::move(*server);
    thread_ = std::thread([this] { io_.run(); });
  }
  ~TestServer() {
    on_thread([this] { server_.reset(); });
    work_.reset();
    thread_.join();
  }
  template <class F>
  void on_thread(F action) {
    std::promise<void> done;
    asio::post(io_, [&] {
      action();
      done.set_value();
    });
    done.get_future().wait();
  }
  [[nodiscard]] Server& server() { return *server_; }
  [[nodiscard]] asio::io_context& io() { return io_; }
  [[nodiscard]] std::uint16_t port() const { return server_->port(); }
  [[nodiscard]] std::int64_t refused(RefusalReason reason) const {
    return server_->stats().refused[static_cast<std::size_t>(reason)].get();
  }

 private:
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  std::unique_ptr<Server> server_;
  std::thread thread_;
};

// One end of a connection that sends exact bytes and blocks. Reads give up after 10 seconds.
class RawPeer {
 public:
  explicit RawPeer(asio::ip::tcp::socket socket) : socket_(std::move(socket)) {
    socket_.set_option(asio::ip::tcp::no_delay(true));
    const timeval limit{10, 0};
    ::setsockopt(socket_.native_handle(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  void send(std::string_view bytes) { asio::write(socket_, asio::buffer(bytes)); }
  // Sends what it can; the server may have closed already.
  void try_send(std::string_view bytes) {
    boost::system::error_code ignored;
    asio::write(socket_, asio::buffer(bytes), ignored);
  }
  // Until the text holds `mark`, or the connection ends.
  std::string read_until(std::string_view mark) {
    std::string text = std::exchange(rest_, {});
    for (;;) {
      if (const std::size_t at = text.find(mark); at != std::string::npos) {
        rest_ = text.substr(at + mark.size());
        text.resize(at + mark.size());
        return text;
      }
      if (!receive(text)) return text;
    }
  }
  std::string read_to_end() {
    std::string text = std::exchange(rest_, {});
    while (receive(text)) {
    }
    return text;
  }
  // One answer with Content-Length: its head and body.
  std::string read_answer() {
    std::string answer = read_until("\r\n\r\n");
    const std::size_t at = answer.find("content-length: ");
    if (at == std::string::npos) return answer;
    std::size_t left = std::stoul(answer.substr(at + 16));
    while (rest_.size() < left && receive(rest_)) {
    }
    left = std::min(left, rest_.size());
    answer += rest_.substr(0, left);
    rest_.erase(0, left);
    return answer;
  }
  // Closes so that the other side sees a reset.
  void reset() {
    socket_.set_option(asio::socket_base::linger(true, 0));
    socket_.close();
  }
  [[nodiscard]] asio::ip::tcp::socket& socket() { return socket_; }
  [[nodiscard]] bool ended_by_reset() const { return reset_; }

 private:
  bool receive(std::string& into) {
    char buffer[4096];
    const ssize_t bytes = ::recv(socket_.native_handle(), buffer, sizeof buffer, 0);
    if (bytes < 0) {
      reset_ = errno == ECONNRESET;
      EXPECT_NE(errno, EAGAIN) << "nothing came for 10 s";
    }
    if (bytes <= 0) return false;
    into.append(buffer, static_cast<std::size_t>(bytes));
    return true;
  }
  asio::ip::tcp::socket socket_;
  std::string rest_;
  bool reset_ = false;
};

struct BlockingIo {
  asio::io_context io;
};

class RawClient : private BlockingIo, public RawPeer {
 public:
  explicit RawClient(std::uint16_t port) : RawPeer(connected(io, port)) {}

 private:
  static asio::ip::tcp::socket connected(asio::io_context& io, std::uint16_t port) {
    asio::ip::tcp::socket socket(io);
    socket.connect({asio::ip::address_v4::loopback(), port});
    return socket;
  }
};

// Listens, and answers by the test's own hand.
class RawServer : private BlockingIo {
 public:
  RawServer() : acceptor_(io, {asio::ip::address_v4::loopback(), 0}) {}
  [[nodiscard]] RawPeer accept() { return RawPeer(acceptor_.accept()); }
  [[nodiscard]] std::uint16_t port() const { return acceptor_.local_endpoint().port(); }

 private:
  asio::ip::tcp::acceptor acceptor_;
};

inline int status_of(std::string_view answer) {
  return answer.starts_with("HTTP/1.1 ") ? std::stoi(std::string(answer.substr(9, 3))) : 0;
}

// Handlers: one answers with the request, one streams.
inline Task<void> echo(Exchange& exchange) {
  const Request& request = exchange.request();
  std::string body = request.method + " " + request.target + " " + request.body;
  (void)co_await exchange.send(200, {{"content-type", "text/plain"}}, std::move(body));
}

inline Task<void> stream_three(Exchange& exchange) {
  (void)co_await exchange.start(200, {{"content-type", "text/event-stream"}});
  for (const std::string_view piece : {"one ", "two ", "three"}) {
    (void)co_await exchange.write(piece);
  }
  (void)co_await exchange.finish();
}

}  // namespace baton::adapters::http
