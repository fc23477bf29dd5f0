#include "adapters/http/client.h"

#include <algorithm>
#include <array>
#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "adapters/http/response_reader.h"
#include "adapters/http/stream.h"
#include "adapters/http/syntax.h"
#include "core/log.h"

namespace baton::adapters::http {
namespace {

using asio::ip::tcp;
using boost::system::error_code;
using Resolver = asio::ip::basic_resolver<tcp, asio::io_context::executor_type>;

constexpr std::size_t kAnswerBuffer = 8192;

struct Address {
  std::string host;
  std::uint16_t port = 0;
  bool operator==(const Address&) const = default;
  [[nodiscard]] std::string str() const {
    return (host.contains(':') ? "[" + host + "]" : host) + ":" + std::to_string(port);
  }
};
struct AddressHash {
  std::size_t operator()(const Address& address) const {
    return std::hash<std::string_view>()(address.host) ^ (std::size_t{address.port} << 1);
  }
};

class PodConnection;
using PodConnectionPtr = boost::intrusive_ptr<PodConnection>;

// What one client's connections share. Owned by the client and by its connections.
struct ClientState {
  ClientState(asio::io_context& context, const ClientLimits& client_limits)
      : io(context),
        limits(client_limits),
        sweep(std::make_shared<DeadlineSweep>(io, std::min({limits.connect_time, limits.header_time,
                                                            limits.idle_time, limits.keep_time}))) {
  }
  asio::io_context& io;
  ClientLimits limits;
  std::shared_ptr<DeadlineSweep> sweep;
  std::unordered_map<Address, std::vector<PodConnectionPtr>, AddressHash> kept;
  bool closed = false;  // the Client is gone: nothing is kept any more
};

// One connection to a pod: used by one exchange, or kept for the next one. Owned by either, and by
// its pending operations.
class PodConnection final : public Stream {
 public:
  PodConnection(std::shared_ptr<ClientState> client, Address address)
      : Stream(client->io, Socket(client->io), kAnswerBuffer,
               static_cast<std::size_t>(client->limits.header.count()) + 1),
        client_(std::move(client)),
        address_(std::move(address)) {
    stop_sending_on_input();
    client_->sweep->add(*this);
  }

  // Resolves the name, if it is one, and connects, all within the deadline.
  Task<Result<void>> open_to_pod();
  void keep();
  [[nodiscard]] const Address& address() const { return address_; }
  [[nodiscard]] ClientState& client() { return *client_; }
  // False: the pod closed it meanwhile, or sent something that nobody asked for.
  [[nodiscard]] bool take() {
    kept_ = false;
    clear_deadline();
    return open() && unread().empty();
  }

 private:
  struct OnResolved {
    PodConnectionPtr connection;
    OnResolved(PodConnection* owner) : connection(owner) {}
    OnResolved(OnResolved&&) noexcept = default;
    OnResolved(const OnResolved&) = delete;
    ~OnResolved() {
      if (connection) connection->drop_waiter();
    }
    void operator()(error_code ec, const Resolver::results_type& results) {
      const PodConnectionPtr self = std::move(connection);
      self->resolve_ec_ = ec;
      if (!ec) self->endpoints_.assign(results.begin(), results.end());
      self->resolved_ = true;
      self->wake();
    }
  };
  Task<Result<void>> resolve();
  [[nodiscard]] Error unreachable(const error_code& ec) const;
  void on_end() override;

  std::shared_ptr<ClientState> client_;
  Address address_;
  bool kept_ = false;
  bool resolved_ = false;
  error_code resolve_ec_;
  std::vector<tcp::endpoint> endpoints_;  // of the name, to be tried in this order
};

Error cancelled() { return {ErrorCode::kCancelled, Stage::kRouter, "cancelled"}; }

Error PodConnection::unreachable(const error_code& ec) const {
  if (end() == End::kCancelled) return cancelled();
  const bool late = end() == End::kTimeout;
  return {ErrorCode::kUnavailable, Stage::kRouter,
          "cannot connect to " + address_.str() + ": " + (late ? "timed out" : ec.message()), true};
}

Task<Result<void>> PodConnection::resolve() {
  error_code ec;
  const asio::ip::address literal = asio::ip::make_address(address_.host, ec);
  if (!ec) {
    endpoints_ = {tcp::endpoint(literal, address_.port)};
    co_return Result<void>();
  }
  Resolver resolver(io());
  resolver.async_resolve(address_.host, std::to_string(address_.port), OnResolved(this));
  while (!resolved_ && open()) {
    if (!co_await wait_for(Waiting::kReady)) break;
  }
  if (!resolved_ || resolve_ec_) co_return std::unexpected(unreachable(resolve_ec_));
  co_return Result<void>();
}

Task<Result<void>> PodConnection::open_to_pod() {
  set_deadline(Clock::now() + client_->limits.connect_time);
  Result<void> resolved = co_await resolve();
  if (!resolved) {
    close();
    co_return resolved;
  }
  bool connected = false;
  for (const tcp::endpoint& endpoint : endpoints_) {
    connected = co_await connect(endpoint);
    if (connected || !open()) break;
  }
  clear_deadline();
  if (!connected) {
    const Error error = unreachable(connect_error());
    close();
    co_return std::unexpected(error);
  }
  if (client_->limits.note_arrivals) note_arrivals();
  watch(false);
  co_return Result<void>();
}

void PodConnection::keep() {
  if (client_->closed || !open() || !unread().empty()) {
    close();
    return;
  }
  kept_ = true;
  set_deadline(Clock::now() + client_->limits.keep_time);
  watch(false);
  client_->kept[address_].emplace_back(this);
}

void PodConnection::on_end() {
  if (!std::exchange(kept_, false)) return;
  const auto found = client_->kept.find(address_);
  if (found == client_->kept.end()) return;  // the client is gone
  std::erase(found->second, PodConnectionPtr(this));
  if (found->second.empty()) client_->kept.erase(found);
}

PodConnectionPtr take_kept(ClientState& client, const Address& address) {
  const auto found = client.kept.find(address);
  if (found == client.kept.end()) return nullptr;
  while (!found->second.empty()) {
    PodConnectionPtr connection = std::move(found->second.back());  // the warmest
    found->second.pop_back();
    if (connection->take()) return connection;
    if (connection->open()) {
      log(LogLevel::kWarn, "pod sent what nobody asked for", {{"address", address.str()}});
    }
    connection->close();
  }
  return nullptr;
}

// The reading half of one exchange. Owned by the caller.
class PodExchange final : public ClientExchange {
 public:
  PodExchange(PodConnectionPtr connection, bool head_request)
      : connection_(std::move(connection)),
        reader_(static_cast<std::size_t>(connection_->client().limits.header.count()),
                head_request) {}
  ~PodExchange() override {
    const bool whole = reader_.state() == ResponseReader::State::kComplete;
    if (!whole || !reusable_ || !reader_.keep_alive()) {
      connection_->close();
      return;
    }
    connection_->consume(shown_);
    connection_->keep();
  }

  Task<Result<void>> read_head();
  [[nodiscard]] bool begun() const { return reader_.begun(); }
  [[nodiscard]] unsigned status() const override { return reader_.status(); }
  [[nodiscard]] std::string_view field(std::string_view name) const override {
    return find_field(reader_.fields(), name);
  }
  Task<Result<std::string_view>> read_some() override;
  Task<Result<std::string>> read_all(Bytes limit) override;
  [[nodiscard]] TimePoint received_at() const override { return connection_->received_at(); }
  [[nodiscard]] Duration since_last_data() const override { return connection_->since_last_data(); }
  [[nodiscard]] bool has_surplus() const override {
    return reader_.state() == ResponseReader::State::kComplete &&
           connection_->unread().size() > shown_;
  }
  void do_not_keep() override { reusable_ = false; }

 private:
  [[nodiscard]] Error broken(std::string_view during) const;

  PodConnectionPtr connection_;
  bool reusable_ = true;
  std::size_t shown_ = 0;  // bytes of the buffer that the last piece was in
  ResponseReader reader_;
};

Error PodExchange::broken(std::string_view during) const {
  const std::string pod = connection_->address().str();
  switch (connection_->end()) {
    case Stream::End::kCancelled: return cancelled();
    case Stream::End::kTimeout:
      return {ErrorCode::kTimeout, Stage::kRouter,
              pod + " sent nothing in time " + std::string(during), true};
    default: break;
  }
  if (!reader_.begun()) {
    return {ErrorCode::kUnavailable, Stage::kRouter,
            pod + (connection_->was_reset() ? " reset the connection" : " closed the connection"),
            true};
  }
  return {
      ErrorCode::kUpstream, Stage::kRouter,
      "bad answer from " + pod + ": " +
          (connection_->was_reset() ? "its connection was reset" : std::string(reader_.fault())),
      true};
}

Task<Result<void>> PodExchange::read_head() {
  PodConnection& connection = *connection_;
  connection.set_deadline(Clock::now() + connection.client().limits.header_time);
  for (;;) {
    connection.consume(reader_.take_head(connection.unread_text()));
    if (reader_.state() != ResponseReader::State::kHead) break;
    if (!co_await connection.more()) {
      reader_.end_of_stream();
      break;
    }
  }
  connection.clear_deadline();
  if (reader_.state() == ResponseReader::State::kBad) {
    const Error error = broken("before the head of its answer");
    connection.close();
    co_return std::unexpected(error);
  }
  co_return Result<void>();
}

Task<Result<std::string_view>> PodExchange::read_some() {
  PodConnection& connection = *connection_;
  connection.consume(std::exchange(shown_, 0));
  for (;;) {
    if (reader_.state() == ResponseReader::State::kComplete) co_return std::string_view();
    const ResponseReader::Piece piece = reader_.take_body(connection.unread());
    if (!piece.data.empty()) {
      shown_ = piece.taken;
      co_return piece.data;
    }
    connection.consume(piece.taken);
    if (reader_.state() == ResponseReader::State::kBad) break;
    if (reader_.state() == ResponseReader::State::kComplete) continue;
    connection.set_deadline(Clock::now() + connection.client().limits.idle_time);
    const bool came = co_await connection.more();
    connection.clear_deadline();
    if (!came) {
      if (connection.end() == Stream::End::kPeer) {
        reader_.end_of_stream();
        if (reader_.state() == ResponseReader::State::kComplete) continue;
      }
      break;
    }
  }
  const Error error = broken("in the body of its answer");
  connection.close();
  co_return std::unexpected(error);
}

Task<Result<std::string>> PodExchange::read_all(Bytes limit) {
  std::string body;
  for (;;) {
    const Result<std::string_view> piece = co_await read_some();
    if (!piece) co_return std::unexpected(piece.error());
    if (piece->empty()) co_return body;
    if (body.size() + piece->size() > static_cast<std::size_t>(limit.count())) {
      connection_->close();
      co_return fail(
          ErrorCode::kUpstream, Stage::kRouter,
          "the answer's body is larger than " + std::to_string(limit.count()) + " bytes");
    }
    body += *piece;
  }
}

std::string head_of(const ClientRequest& request, const Address& address) {
  std::string head;
  head.reserve(512);
  head.append(request.method).append(" ").append(request.target).append(" HTTP/1.1\r\n");
  append_field(head, "host", address.str());
  if (!request.body.empty() || request.method == "POST" || request.method == "PUT") {
    append_field(head, "content-length", std::to_string(request.body.size()));
  }
  for (const auto& [name, value] : request.fields) append_field(head, name, value);
  head += "\r\n";
  return head;
}

class PooledClient final : public Client {
 public:
  PooledClient(asio::io_context& io, const ClientLimits& limits)
      : state_(std::make_shared<ClientState>(io, limits)) {}
  ~PooledClient() override {
    state_->closed = true;
    const auto kept = std::exchange(state_->kept, {});
    for (const auto& [address, connections] : kept) {
      for (const PodConnectionPtr& connection : connections) connection->close();
    }
  }

  Task<Result<std::unique_ptr<ClientExchange>>> send(std::string host, std::uint16_t port,
                                                     ClientRequest request) override {
    return exchange(state_, Address{std::move(host), port}, std::move(request));
  }
  [[nodiscard]] int open_connections() const override {
    return static_cast<int>(std::ranges::count_if(
        state_->sweep->streams(), [](const auto& stream) { return stream->open(); }));
  }

 private:
  static Task<Result<std::unique_ptr<ClientExchange>>> exchange(std::shared_ptr<ClientState> state,
                                                                Address address,
                                                                ClientRequest request);
  std::shared_ptr<ClientState> state_;
};

Task<Result<std::unique_ptr<ClientExchange>>> PooledClient::exchange(
    std::shared_ptr<ClientState> state, Address address, ClientRequest request) {
  const std::string head = head_of(request, address);
  PodConnectionPtr connection = take_kept(*state, address);
  for (;;) {
    const bool reused = connection != nullptr;
    if (!reused) {
      connection.reset(new PodConnection(state, address));
      const Result<void> opened = co_await connection->open_to_pod();
      if (!opened) co_return std::unexpected(opened.error());
    }
    std::array pieces{asio::buffer(head), asio::buffer(std::as_const(request.body))};
    auto exchange = std::make_unique<PodExchange>(connection, request.method == "HEAD");
    if (connection->send_now(pieces) && asio::buffer_size(pieces) > 0) {
      // A pod may answer before it took the whole body, so failing to send is not yet the verdict.
      if (!co_await connection->send_rest(pieces, state->limits.idle_time)) exchange->do_not_keep();
      if (connection->end() == Stream::End::kCancelled) co_return std::unexpected(cancelled());
    }
    const Result<void> answered = co_await exchange->read_head();
    if (answered) co_return exchange;
    const bool stale =
        reused && !exchange->begun() && answered.error().code == ErrorCode::kUnavailable;
    if (!stale) co_return std::unexpected(answered.error());
    connection = nullptr;
  }
}

}  // namespace

std::unique_ptr<Client> Client::create(asio::io_context& io, ClientLimits limits) {
  return std::make_unique<PooledClient>(io, limits);
}

}  // namespace baton::adapters::http
