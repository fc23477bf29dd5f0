#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace baton::adapters {

// Puts a stream of token pieces together to valid UTF-8: a character that has begun is held back
// until its last byte comes; bytes that are no UTF-8 become U+FFFD, one for each maximal wrong run
// (Unicode 3.9, "substitution of maximal subparts"). A value of one answer.
class Utf8Stream {
 public:
  [[nodiscard]] std::string push(std::string_view bytes);
  // What was held back, at the end of the answer.
  [[nodiscard]] std::string flush();

 private:
  std::string held_;
};

// Finds the stop string that is complete first in a stream (of those that end together, the
// longest), wherever token boundaries fall. Text that may be the beginning of one is held back. A
// value of one answer.
class StopMatcher {
 public:
  explicit StopMatcher(std::vector<std::string> stops) : stops_(std::move(stops)) {}

  // The text that is now known to come before any stop string. After a match, always empty.
  [[nodiscard]] std::string push(std::string_view text);
  // What was held back, at the end of the answer; empty after a match.
  [[nodiscard]] std::string flush();
  [[nodiscard]] bool stopped() const { return stopped_; }

 private:
  std::vector<std::string> stops_;
  std::string held_;
  bool stopped_ = false;
};

// `bytes` with what is not UTF-8 replaced, for pieces that are shown alone (logprobs).
[[nodiscard]] std::string to_valid_utf8(std::string_view bytes);

// Characters (code points) of valid UTF-8.
[[nodiscard]] std::size_t count_characters(std::string_view text);

}  // namespace baton::adapters
