#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"
#include "kv_transfer/loop.h"

namespace baton::kv {

struct HostAndPort {
  std::string host;  // without brackets
  std::string port;
};

// Of HOST:PORT, where an IPv6 host may stand in brackets; none: there is no port.
[[nodiscard]] std::optional<HostAndPort> split_address(std::string_view address);

// Where a transport of this name listens on a host (in brackets or not), at a port that the system
// chooses. Errors: kInvalidArgument (no such host).
[[nodiscard]] Result<boost::asio::ip::tcp::endpoint> endpoint_on(const Loop& loop,
                                                                 std::string_view host,
                                                                 std::string_view transport);

// The network interface that has this address; empty: none, or the host is everywhere (0.0.0.0) or
// here only (127.0.0.1).
[[nodiscard]] std::string interface_with(std::string_view host);

}  // namespace baton::kv
