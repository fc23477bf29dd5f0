#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>

namespace baton {

// 128 random bits, written as 32 lower-case hex digits. The randomness is the caller's, so that a
// simulation repeats.
class Id128 {
 public:
  constexpr Id128() = default;
  constexpr Id128(std::uint64_t high, std::uint64_t low) : high_(high), low_(low) {}
  template <class Rng>
  [[nodiscard]] static Id128 draw(Rng& rng) {
    std::uniform_int_distribution<std::uint64_t> any;
    const std::uint64_t high = any(rng);
    return {high, any(rng)};
  }
  [[nodiscard]] static std::optional<Id128> parse(std::string_view hex);
  [[nodiscard]] std::string str() const;
  [[nodiscard]] constexpr std::uint64_t high() const { return high_; }
  [[nodiscard]] constexpr std::uint64_t low() const { return low_; }
  [[nodiscard]] constexpr bool is_zero() const { return high_ == 0 && low_ == 0; }
  constexpr auto operator<=>(const Id128&) const = default;

 private:
  std::uint64_t high_ = 0;
  std::uint64_t low_ = 0;
};

// Names one hand-off between one prefill and one decode leg; unguessable, so that knowing it is the
// right to read the blocks.
using TransferId = Id128;

}  // namespace baton

template <>
struct std::hash<baton::Id128> {
  std::size_t operator()(const baton::Id128& id) const noexcept { return id.high() ^ id.low(); }
};
