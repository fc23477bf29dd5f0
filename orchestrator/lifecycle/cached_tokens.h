#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace baton::orchestrator {

// Puts another number behind each member "cached_tokens" of an answer that passes, whole or a
// stream of events: a decode pod counts as cached what it fetched, and only the prefill pod knows
// what was. Pieces may begin and end anywhere; JSON text, in which those bytes are a key wherever
// they stand.
class CachedTokensFilter {
 public:
  explicit CachedTokensFilter(std::int64_t cached) : cached_(std::to_string(cached)) {}
  // What goes on for `piece`: itself, or a text that holds until the next call.
  [[nodiscard]] std::string_view feed(std::string_view piece);
  // What was held back, once nothing follows.
  [[nodiscard]] std::string_view rest() const { return held_; }

 private:
  std::string cached_;
  std::string held_;  // the beginning of such a member
  std::string text_;
  std::string out_;
};

}  // namespace baton::orchestrator
