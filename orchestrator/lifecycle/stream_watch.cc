#include "orchestrator/lifecycle/stream_watch.h"

#include <algorithm>
#include <cstring>

namespace baton::orchestrator {

void StreamWatch::feed(std::string_view piece) {
  keep_tail(piece);
  while (!piece.empty()) {
    const std::size_t newline = std::min(piece.find('\n'), piece.size());
    const std::size_t taken = std::min(newline, kHeadBytes - head_size_);
    std::memcpy(head_ + head_size_, piece.data(), taken);
    head_size_ += taken;
    if (newline == piece.size()) {
      inside_event_ = inside_event_ || newline > 0;
      return;
    }
    end_line();
    piece.remove_prefix(newline + 1);
  }
}

void StreamWatch::end_line() {
  std::string_view line(head_, head_size_);
  head_size_ = 0;
  if (line.ends_with('\r') && line.size() < kHeadBytes) line.remove_suffix(1);
  if (line.empty()) {
    inside_event_ = false;
    return;
  }
  inside_event_ = true;
  if (!line.starts_with("data:")) return;
  line.remove_prefix(5);
  if (line.starts_with(' ')) line.remove_prefix(1);
  if (line == "[DONE]") {
    done_ = true;
    return;
  }
  ++events_;
  if (line.starts_with("{\"error\"")) engine_error_ = true;
}

void StreamWatch::keep_tail(std::string_view piece) {
  if (piece.size() >= kTailBytes) {
    tail_.assign(piece.substr(piece.size() - kTailBytes));
    return;
  }
  if (tail_.size() + piece.size() > 4 * kTailBytes) {
    tail_.erase(0, tail_.size() - kTailBytes);
  }
  tail_.append(piece);
}

}  // namespace baton::orchestrator
