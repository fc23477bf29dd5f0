#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "adapters/http/server.h"

namespace baton::adapters::http {

struct ClientRequest {
  std::string method;
  std::string target;
  Fields fields;  // added to host, content-length, and so on; names and values already checked
  std::string body;
};

struct ClientLimits {
  Duration connect_time = std::chrono::seconds(2);
  Duration header_time = std::chrono::seconds(300);  // until the answer's head
  Duration idle_time = std::chrono::seconds(60);     // between pieces of the body
  Duration keep_time = std::chrono::seconds(60);     // unused connections
  Bytes header{64LL << 10};
  bool note_arrivals = false;  // see ClientExchange::received_at()
};

// One exchange with a pod. Destroying it gives the connection back to the pool; before the body was
// read whole, it closes the connection, which is how a leg is cancelled.
class ClientExchange {
 public:
  virtual ~ClientExchange() = default;
  [[nodiscard]] virtual unsigned status() const = 0;
  [[nodiscard]] virtual std::string_view field(std::string_view name) const = 0;
  // Next piece of the body as it came (views a buffer valid until the next call); empty: the end.
  // Errors: kUpstream when it ends early, kTimeout when nothing comes for idle_time.
  virtual Task<Result<std::string_view>> read_some() = 0;
  // The rest of the body, at most `limit`.
  virtual Task<Result<std::string>> read_all(Bytes limit) = 0;
  // When the last piece came. With ClientLimits::note_arrivals, and where the system tells, that is
  // when the kernel got it, however late this thread read it.
  [[nodiscard]] virtual TimePoint received_at() const = 0;
  // How long ago this machine got the newest bytes of the answer, however late this thread read
  // them.
  [[nodiscard]] virtual Duration since_last_data() const = 0;
  // Whether more came than the whole answer: the pod sends what nobody asked for.
  [[nodiscard]] virtual bool has_surplus() const = 0;
  // The answer was none: nothing else is asked for over its connection.
  virtual void do_not_keep() = 0;
};

// Keep-alive connections from one thread to the pods, by address. Not shared between threads. Kept
// connections have a read pending, so io.run() does not return before the client is destroyed.
class Client {
 public:
  [[nodiscard]] static std::unique_ptr<Client> create(asio::io_context& io, ClientLimits limits);
  virtual ~Client() = default;
  // Sends the request and reads the head of the answer. A kept connection that the pod closed
  // before any byte of the answer is replaced by a new one once. Errors: kUnavailable (refused,
  // unreachable, reset; retryable), kTimeout, kUpstream (not HTTP). Honours the caller's
  // cancellation slot (any type that the caller's coroutine lets through; terminal by default): the
  // connection is closed and kCancelled returned. As with any awaitable, the caller's
  // next co_await throws after that, unless it set throw_if_cancelled(false).
  virtual Task<Result<std::unique_ptr<ClientExchange>>> send(std::string host, std::uint16_t port,
                                                             ClientRequest request) = 0;
  [[nodiscard]] virtual int open_connections() const = 0;
};

}  // namespace baton::adapters::http
