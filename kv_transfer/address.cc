#include "kv_transfer/address.h"

#include <fmt/format.h>
#include <ifaddrs.h>
#include <netinet/in.h>

#include <cstring>

namespace baton::kv {
namespace {

using boost::asio::ip::tcp;

std::string without_brackets(std::string_view host) {
  const bool bracketed = host.starts_with('[') && host.ends_with(']');
  return std::string(bracketed ? host.substr(1, host.size() - 2) : host);
}

}  // namespace

std::optional<HostAndPort> split_address(std::string_view address) {
  const std::size_t colon = address.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  return HostAndPort{without_brackets(address.substr(0, colon)),
                     std::string(address.substr(colon + 1))};
}

Result<tcp::endpoint> endpoint_on(const Loop& loop, std::string_view host,
                                  std::string_view transport) {
  boost::system::error_code error;
  tcp::resolver resolver(*loop);
  const auto found = resolver.resolve(without_brackets(host), "0", error);
  if (!error && !found.empty()) return found.begin()->endpoint();
  return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
              fmt::format("host \"{}\" of the {} transport: {}", host, transport, error.message()));
}

std::string interface_with(std::string_view host) {
  boost::system::error_code error;
  const auto wanted = boost::asio::ip::make_address(without_brackets(host), error);
  if (error || wanted.is_unspecified() || wanted.is_loopback()) return {};
  ifaddrs* all = nullptr;
  if (::getifaddrs(&all) != 0) return {};
  std::string name;
  for (const ifaddrs* one = all; one != nullptr && name.empty(); one = one->ifa_next) {
    if (one->ifa_addr == nullptr) continue;
    tcp::endpoint endpoint;
    if (one->ifa_addr->sa_family == AF_INET) {
      std::memcpy(endpoint.data(), one->ifa_addr, sizeof(sockaddr_in));
    } else if (one->ifa_addr->sa_family == AF_INET6) {
      endpoint = tcp::endpoint(tcp::v6(), 0);
      std::memcpy(endpoint.data(), one->ifa_addr, sizeof(sockaddr_in6));
    }
    if (endpoint.address() == wanted) name = one->ifa_name;
  }
  ::freeifaddrs(all);
  return name;
}

}  // namespace baton::kv
