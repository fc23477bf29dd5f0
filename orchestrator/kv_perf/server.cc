#include "orchestrator/kv_perf/server.h"

#include <fmt/format.h>
#include <unistd.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <functional>
#include <optional>
#include <random>
#include <string_view>
#include <utility>

#include "core/log.h"
#include "kv_transfer/address.h"
#include "kv_transfer/measure/sample_hand_off.h"
#include "orchestrator/kv_perf/words.h"

namespace baton::orchestrator::kv_perf {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr auto kGreetingLimit = std::chrono::seconds(10);
constexpr auto kSilenceLimit = std::chrono::minutes(3);  // longer than any fetch

std::string text_of(asio::ip::address address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    address = asio::ip::make_address_v4(asio::ip::v4_mapped, address.to_v6());
  }
  return address.is_v6() ? "[" + address.to_string() + "]" : address.to_string();
}

std::uint64_t draw() {
  std::random_device random;
  return Id128::draw(random).low();
}

// One client's connection, and the blocks that it asked for. Kept by its own handlers; `ended` runs
// when it has gone.
class Session : public std::enable_shared_from_this<Session> {
 public:
  Session(tcp::socket socket, std::function<void()> ended)
      : socket_(std::move(socket)), timer_(socket_.get_executor()), ended_(std::move(ended)) {}
  ~Session() { ended_(); }
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  void begin() { read(kGreetingLimit); }

 private:
  void read(Duration limit) {
    timer_.expires_after(limit);
    timer_.async_wait([self = weak_from_this()](error_code error) {
      const auto session = self.lock();
      if (error || session == nullptr) return;
      error_code ignored;
      session->socket_.close(ignored);
    });
    asio::async_read_until(socket_, asio::dynamic_buffer(input_, kLongestLine), '\n',
                           [self = shared_from_this()](error_code error, std::size_t size) {
                             self->timer_.cancel();
                             if (error) return;
                             const std::string line = self->input_.substr(0, size - 1);
                             self->input_.erase(0, size);
                             self->answer(line);
                           });
  }

  void answer(std::string_view line) {
    auto said = producer_ ? offer(line) : make(line);
    const bool good = said.has_value();
    output_ = good ? std::move(*said) : error_line(said.error());
    if (!good) {
      log(LogLevel::kWarn, "kv-perf client refused", {{"reason", said.error().message}});
    }
    asio::async_write(socket_, asio::buffer(output_),
                      [self = shared_from_this(), good](error_code error, std::size_t) {
                        if (!error && good) self->read(kSilenceLimit);
                      });
  }

  Result<std::string> make(std::string_view line) {
    const auto request = read_request(line);
    if (!request) return std::unexpected(request.error());
    if (static_cast<std::uint64_t>(request->shape.total().count()) > memory_limit()) {
      return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
                  request->shape.str() + " takes more than half of this host's memory");
    }
    const std::uint64_t epoch = draw();
    error_code error;
    const tcp::endpoint here = socket_.local_endpoint(error);
    if (error) return fail(ErrorCode::kUnavailable, Stage::kHandoff, error.message());
    auto producer = kv::SampleProducer::start(
        {.listen = text_of(here.address()) + ":0", .transport = request->transport, .epoch = epoch},
        request->shape);
    if (!producer) return std::unexpected(producer.error());
    producer_.emplace(std::move(*producer));
    return Ready{producer_->address(), epoch}.line();
  }

  Result<std::string> offer(std::string_view line) {
    const auto transfer = read_offer(line);
    if (!transfer) return std::unexpected(transfer.error());
    producer_->offer(*transfer);
    return offered_line(*transfer);
  }

  tcp::socket socket_;
  asio::steady_timer timer_;
  std::function<void()> ended_;
  std::string input_;
  std::string output_;
  std::optional<kv::SampleProducer> producer_;
};

}  // namespace

std::uint64_t memory_limit() {
  const long pages = ::sysconf(_SC_PHYS_PAGES);
  const long page = ::sysconf(_SC_PAGESIZE);
  return static_cast<std::uint64_t>(pages) * static_cast<std::uint64_t>(page) / 2;
}

Result<std::shared_ptr<Server>> Server::start(asio::io_context& io, const std::string& listen) {
  const auto refuse = [&](ErrorCode code, const std::string& why) {
    return fail(code, Stage::kConfig, fmt::format("--listen {}: {}", listen, why));
  };
  const auto address = kv::split_address(listen);
  if (!address || address->host.empty()) {
    return refuse(ErrorCode::kInvalidArgument, "must be HOST:PORT, as 127.0.0.1:7700");
  }
  error_code error;
  tcp::resolver resolver(io);
  const auto found = resolver.resolve(address->host, address->port, error);
  if (error || found.empty()) {
    return refuse(ErrorCode::kInvalidArgument,
                  "must be HOST:PORT of this host: " + error.message());
  }
  std::shared_ptr<Server> server(new Server(io));
  tcp::acceptor& acceptor = server->acceptor_;
  const tcp::endpoint endpoint = found.begin()->endpoint();
  acceptor.open(endpoint.protocol(), error);
  if (!error) acceptor.set_option(tcp::acceptor::reuse_address(true), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(asio::socket_base::max_listen_connections, error);
  if (error) return refuse(ErrorCode::kUnavailable, "cannot be bound: " + error.message());
  const tcp::endpoint bound = acceptor.local_endpoint(error);
  server->address_ = fmt::format("{}:{}", text_of(bound.address()), bound.port());
  server->accept();
  return server;
}

void Server::accept() {
  acceptor_.async_accept([this](error_code error, tcp::socket socket) {
    if (error == asio::error::operation_aborted) return;
    if (error) return accept_later();
    std::make_shared<Session>(std::move(socket), [server = weak_from_this()] {
      if (const auto still_there = server.lock()) still_there->accept();
    })->begin();
  });
}

// Out of descriptors, say: trying again at once would spin.
void Server::accept_later() {
  pause_.expires_after(std::chrono::milliseconds(100));
  pause_.async_wait([server = weak_from_this()](error_code error) {
    const auto still_there = server.lock();
    if (still_there && !error) still_there->accept();
  });
}

}  // namespace baton::orchestrator::kv_perf
