#include "adapters/http/server.h"

#include <sys/socket.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <utility>

#include "adapters/http/connection.h"
#include "adapters/http/syntax.h"
#include "core/log.h"

namespace baton::adapters::http {
namespace {

using asio::ip::tcp;
using boost::system::error_code;
using Acceptor = asio::basic_socket_acceptor<tcp, asio::io_context::executor_type>;

constexpr Duration kAcceptPause = std::chrono::milliseconds(100);

void log_failed_connection(const std::exception_ptr& failure) {
  if (failure) log(LogLevel::kError, "connection failed");
}

bool out_of_resources(const error_code& ec) {
  return ec == asio::error::no_descriptors || ec == asio::error::no_memory ||
         ec == asio::error::no_buffer_space ||
         ec == boost::system::errc::too_many_files_open_in_system;
}

// Accepts for one Server. Owned by it and by its pending operations.
class Listener : public std::enable_shared_from_this<Listener> {
 public:
  Listener(std::shared_ptr<ServerState> state, Acceptor acceptor)
      : state_(std::move(state)), acceptor_(std::move(acceptor)), pause_(state_->io) {}

  void accept() {
    acceptor_.async_accept([self = shared_from_this()](error_code ec, Socket socket) {
      self->on_accept(ec, std::move(socket));
    });
  }
  void close() {
    error_code ignored;
    acceptor_.close(ignored);
    pause_.cancel();
  }
  [[nodiscard]] std::uint16_t port() const {
    error_code ignored;
    return acceptor_.local_endpoint(ignored).port();
  }

 private:
  void on_accept(error_code ec, Socket socket) {
    if (!acceptor_.is_open()) return;
    if (out_of_resources(ec)) {
      accept_later(ec);
      return;
    }
    if (ec) {  // the client left before it was accepted
      accept();
      return;
    }
    failing_ = false;
    if (state_->stats.connections_open.get() >= state_->limits.connections) {
      turn_away(socket);
    } else {
      serve(std::move(socket));
    }
    accept();
  }

  // Without a free file descriptor, accepting again at once would spin.
  void accept_later(error_code ec) {
    state_->stats.accept_failures.add(1);
    if (!std::exchange(failing_, true)) {
      log(LogLevel::kWarn, "cannot accept connections", {{"error", ec.message()}});
    }
    pause_.expires_after(kAcceptPause);
    pause_.async_wait([self = shared_from_this()](error_code stopped) {
      if (!stopped && self->acceptor_.is_open()) self->accept();
    });
  }

  void turn_away(Socket& socket) {
    const Refusal refusal{RefusalReason::kTooManyConnections, 503, "Too many connections."};
    state_->stats.refused[static_cast<std::size_t>(refusal.reason)].add(1);
    const std::string body = refusal_body(refusal);
    const std::string answer =
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\n"
        "connection: close\r\ncontent-length: " +
        std::to_string(body.size()) + "\r\n\r\n" + body;
    error_code ignored;
    socket.non_blocking(true, ignored);
    socket.write_some(asio::buffer(answer), ignored);
  }

  void serve(Socket socket) {
    error_code ec;
    socket.non_blocking(true, ec);
    if (!ec) socket.set_option(tcp::no_delay(true), ec);
    if (ec) return;
    boost::intrusive_ptr<Connection> connection(new Connection(state_, std::move(socket)));
    asio::co_spawn(state_->io, Connection::run(std::move(connection)), &log_failed_connection);
  }

  std::shared_ptr<ServerState> state_;
  Acceptor acceptor_;
  IoTimer pause_;
  bool failing_ = false;
};

class TcpServer final : public Server {
 public:
  TcpServer(std::shared_ptr<ServerState> state, Acceptor acceptor)
      : state_(std::move(state)),
        listener_(std::make_shared<Listener>(state_, std::move(acceptor))),
        port_(listener_->port()) {
    listener_->accept();
  }
  ~TcpServer() override {
    state_->drained = nullptr;
    stop();
  }
  [[nodiscard]] std::uint16_t port() const override { return port_; }

  void drain(std::function<void()> drained) override {
    listener_->close();
    state_->draining = true;
    if (state_->stats.connections_open.get() == 0) {
      asio::post(state_->io, std::move(drained));
      return;
    }
    state_->drained = std::move(drained);
    for (const auto& stream : state_->sweep->streams()) {
      static_cast<Connection&>(*stream).close_if_idle();
    }
  }
  void stop() override {
    listener_->close();
    for (const auto& stream : state_->sweep->streams()) {
      static_cast<Connection&>(*stream).stop();
    }
  }
  [[nodiscard]] int open_exchanges() const override {
    return static_cast<int>(state_->stats.exchanges_open.get());
  }
  [[nodiscard]] const ServerStats& stats() const override { return state_->stats; }

 private:
  std::shared_ptr<ServerState> state_;
  std::shared_ptr<Listener> listener_;
  std::uint16_t port_;
};

Error cannot_listen(std::string_view host, std::uint16_t port, const error_code& ec) {
  return {ErrorCode::kInvalidArgument, Stage::kConfig,
          "cannot listen on " + std::string(host) + ":" + std::to_string(port) + ": " +
              (ec == asio::error::address_in_use ? "address already in use" : ec.message())};
}

Result<tcp::endpoint> endpoint_of(std::string_view host, std::uint16_t port) {
  error_code ec;
  std::string name(host == "localhost" ? "127.0.0.1" : host);
  if (name.starts_with('[') && name.ends_with(']')) name = name.substr(1, name.size() - 2);
  const asio::ip::address address = asio::ip::make_address(name, ec);
  if (ec) {
    return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
                "cannot listen on '" + std::string(host) + "': not an IP address");
  }
  return tcp::endpoint(address, port);
}

error_code bind(Acceptor& acceptor, const tcp::endpoint& endpoint, bool share_port) {
  error_code ec;
  acceptor.open(endpoint.protocol(), ec);
  if (!ec) acceptor.set_option(Acceptor::reuse_address(true), ec);
  const int on = 1;
  if (!ec && share_port &&
      ::setsockopt(acceptor.native_handle(), SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) != 0) {
    ec.assign(errno, boost::system::system_category());
  }
  if (!ec) acceptor.bind(endpoint, ec);
  if (!ec) acceptor.listen(Acceptor::max_listen_connections, ec);
  return ec;
}

}  // namespace

Result<std::unique_ptr<Server>> Server::listen(asio::io_context& io, std::string_view host,
                                               std::uint16_t port, ServerLimits limits,
                                               Handler handler) {
  const Result<tcp::endpoint> endpoint = endpoint_of(host, port);
  if (!endpoint) return std::unexpected(endpoint.error());
  Acceptor acceptor(io);
  if (const error_code ec = bind(acceptor, *endpoint, true)) {
    return std::unexpected(cannot_listen(host, port, ec));
  }
  return std::make_unique<TcpServer>(std::make_shared<ServerState>(io, limits, std::move(handler)),
                                     std::move(acceptor));
}

Result<void> Server::check_port_free(std::string_view host, std::uint16_t port) {
  const Result<tcp::endpoint> endpoint = endpoint_of(host, port);
  if (!endpoint) return std::unexpected(endpoint.error());
  asio::io_context io;
  Acceptor acceptor(io);
  if (const error_code ec = bind(acceptor, *endpoint, false)) {
    return std::unexpected(cannot_listen(host, port, ec));
  }
  return {};
}

std::string_view Request::path() const {
  return std::string_view(target).substr(0, target.find('?'));
}

std::string_view Request::field(std::string_view name) const { return find_field(fields, name); }

}  // namespace baton::adapters::http
