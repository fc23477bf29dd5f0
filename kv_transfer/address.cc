#include "kv_transfer/address.h"

#include <fmt/format.h>

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

}  // namespace baton::kv
