#pragma once

#include <cstdint>
#include <exception>
#include <optional>
#include <string>
#include <string_view>

#include "adapters/engines/mock/dress.h"

namespace baton::adapters::mock {

// What dresses have in common on their side channels.

inline constexpr std::uint64_t kOtherContent = 0x9e3779b97f4a7c15ULL;  // of a scripted wrong KV

[[nodiscard]] Answer json_answer(unsigned status, const Json& body);
// 409: a peer broke a rule, by its name in the ledger.
[[nodiscard]] Answer violation(std::string_view name, const std::string& message);
struct Peer {
  std::string host;
  std::uint16_t port = 0;
};
struct PeerAnswer {
  unsigned status = 0;
  Json body;
};
// What a peer's side channel answers; nothing: nothing came, or no JSON. A null body is not sent.
http::Task<std::optional<PeerAnswer>> ask(http::Client* client, Peer peer, std::string method,
                                          std::string target, Json body);
// For background tasks: only the first error of a detached coroutine would be lost; it is logged.
void report(const std::exception_ptr& failure);

}  // namespace baton::adapters::mock
