#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "tests/unit/kv_transfer/pod.h"

// The states of a transfer in which something happens to one of its ends.
namespace baton::kv {

enum class At : std::uint8_t {
  kWaitingForOpen,
  kBeforeFirstBlock,
  kAfterFirstBlock,
  kUnderWay,  // sealed, and more blocks on their way than sockets hold
  kEnding,    // the reader has them all and says so
};
inline constexpr At kStates[] = {At::kWaitingForOpen, At::kBeforeFirstBlock, At::kAfterFirstBlock,
                                 At::kUnderWay, At::kEnding};

inline std::string name_of(At at) {
  switch (at) {
    case At::kWaitingForOpen: return "WaitingForOpen";
    case At::kBeforeFirstBlock: return "BeforeFirstBlock";
    case At::kAfterFirstBlock: return "AfterFirstBlock";
    case At::kUnderWay: return "UnderWay";
    case At::kEnding: return "Ending";
  }
  return {};
}

// More of them than this do not fit into sockets, nor into what is asked for at once.
inline constexpr int kLargeBlock = 1'000'000;
// Settings of pods that come to state `at`.
inline std::vector<std::string> room_for(At at) {
  if (at != At::kUnderWay) return {"slots=16"};
  return {"slots=32", fmt::format("slot_bytes={}", kLargeBlock), "pause_us=3000"};
}

// One transfer, whichever of its ends is in which process.
struct Ends {
  std::function<void(const std::string& command)> produce;
  std::function<void()> receive;
  std::function<bool()> has_first_block;  // waits for it
  std::function<bool()> has_ended;        // waits for it
};

// False: it did not get there.
inline bool bring_to(At at, std::uint64_t number, const Ends& ends) {
  const bool is_large = at == At::kUnderWay;
  const int blocks = is_large ? 24 : 4;
  const auto bytes = is_large ? kLargeBlock : 50'000;
  if (at != At::kWaitingForOpen) ends.produce(fmt::format("open {}", number));
  ends.receive();
  if (at <= At::kBeforeFirstBlock) return true;
  ends.produce(fmt::format("publish {} 0 {} {}", number, blocks, bytes));
  if (!ends.has_first_block()) return false;
  // Sealed not before the reader is there, which may be long on busy cores.
  if (at >= At::kUnderWay) ends.produce(fmt::format("seal {}", number));
  return at != At::kEnding || ends.has_ended();
}

}  // namespace baton::kv
