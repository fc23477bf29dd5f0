#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <unordered_map>

#include "core/units.h"

namespace baton::kv {

// Rights to open one data connection, handed out in handshakes: each is good once, for 10 s. A
// token is a nonce and the HMAC-SHA256 of it, of the time at which it ends and of whom it is for,
// under a key that is drawn with this object and never leaves it. Not shared between threads.
class OneTimeTokens {
 public:
  static constexpr std::size_t kNonceBytes = 32;  // in hex, as the rest
  static constexpr std::size_t kBytes = kNonceBytes + 64;

  // `audience` is what the right is to, as "tcp 10.0.0.7:4711".
  explicit OneTimeTokens(std::string audience = {});

  // A new token; one that opens nothing while too many wait.
  [[nodiscard]] std::string issue(TimePoint now);
  // Whether it was good; it is not any more. Takes as long for a wrong one, wherever it is wrong.
  [[nodiscard]] bool redeem(std::string_view token, TimePoint now);

  [[nodiscard]] static std::string draw();  // what nobody can guess, in hex

 private:
  [[nodiscard]] std::string sign(std::string_view nonce, TimePoint end) const;

  const std::string audience_;
  std::array<unsigned char, 32> key_{};
  std::unordered_map<std::string, TimePoint> ends_;  // of their lives, by nonce
};

}  // namespace baton::kv
