#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/error.h"
#include "core/ids.h"
#include "kv_transfer/measure/block_shape.h"

// What `baton kv-perf` and its server say to one another, a line at a time over one connection:
//   client  baton-kv-perf/1 TRANSPORT BLOCKSxBYTES     make these blocks
//   server  ready HOST:PORT EPOCH                      of the Node that has them
//   client  offer TRANSFER                             open a lease of them, as often as wanted
//   server  offered TRANSFER
// In place of an answer: error CODE REASON. The end of the connection ends the blocks. Every reader
// takes any text and says what is wrong with it (kUpstream).
namespace baton::orchestrator::kv_perf {

inline constexpr std::size_t kLongestLine = 1024;

struct Request {
  std::string transport;
  kv::BlockShape shape;
  [[nodiscard]] std::string line() const;
};
struct Ready {
  std::string address;
  std::uint64_t epoch = 0;
  [[nodiscard]] std::string line() const;
};

[[nodiscard]] Result<Request> read_request(std::string_view line);
[[nodiscard]] Result<Ready> read_ready(std::string_view line);
[[nodiscard]] std::string offer_line(TransferId transfer);
[[nodiscard]] Result<TransferId> read_offer(std::string_view line);
[[nodiscard]] std::string offered_line(TransferId transfer);
// Errors: what the server says, or that it is no such answer.
[[nodiscard]] Result<void> read_offered(std::string_view line, TransferId transfer);
[[nodiscard]] std::string error_line(const Error& error);

}  // namespace baton::orchestrator::kv_perf
