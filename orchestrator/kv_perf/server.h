#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "core/error.h"

namespace baton::orchestrator::kv_perf {

// Half of this host's memory: what one side of a measurement may take at most.
[[nodiscard]] std::uint64_t memory_limit();

// Makes the blocks that clients ask for, for one client at a time; the others wait. Owned by the
// command, on its thread. The blocks are of a Node at the address by which the client came.
class Server : public std::enable_shared_from_this<Server> {
 public:
  // Errors: kInvalidArgument (no HOST:PORT), kUnavailable (the port is in use).
  [[nodiscard]] static Result<std::shared_ptr<Server>> start(boost::asio::io_context& io,
                                                             const std::string& listen);
  [[nodiscard]] const std::string& address() const { return address_; }

 private:
  explicit Server(boost::asio::io_context& io) : acceptor_(io), pause_(io) {}
  void accept();
  void accept_later();

  boost::asio::ip::tcp::acceptor acceptor_;
  boost::asio::steady_timer pause_;
  std::string address_;
};

}  // namespace baton::orchestrator::kv_perf
