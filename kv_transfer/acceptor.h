#pragma once

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <utility>

#include "kv_transfer/loop.h"

namespace baton::kv {

// Takes connections in, one after the other, until it is closed. On the kv thread.
template <class Protocol>
class Acceptor {
 public:
  using Socket = typename Protocol::socket;
  using Endpoint = typename Protocol::endpoint;
  using OnConnection = std::function<void(Socket)>;

  explicit Acceptor(const Loop& loop) : acceptor_(*loop), pause_(*loop) {}

  [[nodiscard]] boost::system::error_code listen(const Endpoint& endpoint, OnConnection taken) {
    taken_ = std::move(taken);
    boost::system::error_code error;
    acceptor_.open(endpoint.protocol(), error);
    if (!error) acceptor_.bind(endpoint, error);
    if (!error) acceptor_.listen(boost::asio::socket_base::max_listen_connections, error);
    if (!error) accept_next();
    return error;
  }
  [[nodiscard]] Endpoint endpoint() const { return acceptor_.local_endpoint(); }
  void close() {
    boost::system::error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
  }

 private:
  void accept_next() {
    acceptor_.async_accept([this](boost::system::error_code error, Socket socket) {
      if (error == boost::asio::error::operation_aborted || !acceptor_.is_open()) return;
      if (error) return accept_later();
      taken_(std::move(socket));
      accept_next();
    });
  }

  // Out of descriptors, say: the socket stays readable, so trying again at once would spin.
  void accept_later() {
    pause_.expires_after(std::chrono::milliseconds(100));
    pause_.async_wait([this](boost::system::error_code error) {
      if (!error && acceptor_.is_open()) accept_next();
    });
  }

  typename Protocol::acceptor acceptor_;
  boost::asio::steady_timer pause_;
  OnConnection taken_;
};

}  // namespace baton::kv
