#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/units.h"

namespace baton::adapters::http {

namespace asio = boost::asio;
template <class T>
using Task = asio::awaitable<T>;

struct ServerLimits {
  Bytes body{10LL << 20};
  Bytes header{16LL << 10};
  int fields = 100;
  Duration header_time = std::chrono::seconds(10);
  Duration idle_time = std::chrono::seconds(75);   // keep-alive between requests
  Duration write_time = std::chrono::seconds(60);  // no progress of a slow reader
  int connections = 15000;
};

using Fields = std::vector<std::pair<std::string, std::string>>;

// A request that passed the gate, read whole. Field names are lower-case.
struct Request {
  std::string method;
  std::string target;  // path with query, origin-form
  Fields fields;
  std::string body;
  [[nodiscard]] std::string_view path() const;
  [[nodiscard]] std::string_view field(std::string_view name) const;  // empty: absent
};

// The answering half of one exchange. Lives on its connection's thread, owned by the connection.
// Either send() once, or start() then write()* then finish(). The head of a started answer goes out
// with its first chunk. A handler that returns without having answered has its client sent a 500;
// one that returns or throws within a started answer cuts it short. Errors: kCancelled once the
// client left, kTimeout where it reads too slowly; the connection is closed then.
class Exchange {
 public:
  virtual ~Exchange() = default;
  [[nodiscard]] virtual const Request& request() const = 0;
  [[nodiscard]] virtual Request take_request() = 0;

  // True once the client has closed or reset its side.
  [[nodiscard]] virtual bool client_gone() const = 0;
  // Called once, on this thread, when the client leaves while the exchange is open; replaces an
  // earlier callback. Called at once if it already left.
  virtual void on_client_gone(std::function<void()> callback) = 0;

  virtual Task<Result<void>> send(unsigned status, Fields fields, std::string body) = 0;
  virtual Task<Result<void>> start(unsigned status, Fields fields) = 0;  // chunked
  virtual Task<Result<void>> write(std::string_view bytes) = 0;          // one chunk; back-pressure
  virtual Task<Result<void>> finish() = 0;
  // Ends a started answer so that the client sees it cut short: closes without the last chunk.
  virtual void abandon() = 0;
  [[nodiscard]] virtual bool started() const = 0;

  // How a raw answer ends: closed in order, closed for sending only (until the client closes), or
  // reset.
  enum class RawEnd : std::uint8_t { kClose, kHalfClose, kReset };
  // For a stand-in that answers badly on purpose: instead of an answer, exactly these bytes; then
  // the connection ends.
  virtual Task<void> answer_raw(std::string bytes, RawEnd end) = 0;
};

struct ServerStats;  // http_metrics.h

// An HTTP/1.1 server on one thread's io_context. Runs `handler` once for each request, one at a
// time on each connection, pipelined ones in order. Refuses ambiguous framing (request_gate.h).
class Server {
 public:
  using Handler = std::function<Task<void>(Exchange&)>;

  // Binds with SO_REUSEPORT, so that several threads can share a port. Port 0: any free one.
  // Errors: kInvalidArgument, "address already in use" and the like, naming host and port.
  [[nodiscard]] static Result<std::unique_ptr<Server>> listen(asio::io_context& io,
                                                              std::string_view host,
                                                              std::uint16_t port,
                                                              ServerLimits limits, Handler handler);
  // Closes everything. Must come before its io_context is destroyed.
  virtual ~Server() = default;
  // Fails if another process listens on this port, which listen() does not notice: SO_REUSEPORT
  // would share it silently. Call once, before the first listen() of a process.
  [[nodiscard]] static Result<void> check_port_free(std::string_view host, std::uint16_t port);
  [[nodiscard]] virtual std::uint16_t port() const = 0;
  // Stops accepting and closes idle connections; open exchanges go on. Then `drained` runs once
  // none is left, on this thread.
  virtual void drain(std::function<void()> drained) = 0;
  // Closes everything now.
  virtual void stop() = 0;
  [[nodiscard]] virtual int open_exchanges() const = 0;
  [[nodiscard]] virtual const ServerStats& stats() const = 0;  // any thread
};

}  // namespace baton::adapters::http
