#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>

#include "core/units.h"

namespace baton::kv {

// Rights to open one data connection, handed out in handshakes: each is good once, for 10 s. Not
// shared between threads.
class OneTimeTokens {
 public:
  static constexpr std::size_t kBytes = 32;

  // A new token; one that opens nothing while too many wait.
  [[nodiscard]] std::string issue(TimePoint now);
  // Whether it was good; it is not any more.
  [[nodiscard]] bool redeem(std::string_view token, TimePoint now);

  [[nodiscard]] static std::string draw();  // what nobody can guess, in hex

 private:
  std::unordered_map<std::string, TimePoint> ends_;  // of their lives
};

}  // namespace baton::kv
