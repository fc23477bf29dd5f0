#include "orchestrator/lifecycle/cached_tokens.h"

#include <algorithm>

namespace baton::orchestrator {
namespace {

constexpr std::string_view kMember = R"("cached_tokens":)";
constexpr std::string_view kDigits = "0123456789";

// Where the text ends with the beginning of a member; its size where it does not.
std::size_t begun_at(std::string_view text) {
  const std::size_t most = std::min(text.size(), kMember.size() - 1);
  for (std::size_t length = most; length > 0; --length) {
    if (kMember.starts_with(text.substr(text.size() - length))) return text.size() - length;
  }
  return text.size();
}

}  // namespace

std::string_view CachedTokensFilter::feed(std::string_view piece) {
  std::string_view text = piece;
  if (!held_.empty()) {
    text_ = held_;
    text_ += piece;
    text = text_;
    held_.clear();
  }
  std::size_t at = text.find(kMember);
  const std::size_t tail = begun_at(text);
  if (at == std::string_view::npos && tail == text.size()) return text;
  out_.clear();
  while (at != std::string_view::npos) {
    const std::size_t value =
        std::min(text.find_first_not_of(' ', at + kMember.size()), text.size());
    const std::size_t end = std::min(text.find_first_not_of(kDigits, value), text.size());
    if (end == text.size()) {  // its digits may go on
      out_ += text.substr(0, at);
      held_ = text.substr(at);
      return out_;
    }
    out_ += text.substr(0, value);
    if (end > value) out_ += cached_;
    text.remove_prefix(end);
    at = text.find(kMember);
  }
  const std::size_t begun = begun_at(text);
  out_ += text.substr(0, begun);
  held_ = text.substr(begun);
  return out_;
}

}  // namespace baton::orchestrator
