#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

#include "core/units.h"

namespace baton {

// The LoRA adapters that this router's requests to one pod asked for last: what the pod has loaded,
// where its engine does not tell, since engines drop the adapter that was used longest ago. Part of
// PodLoad; any thread, without locks: two threads that come at once may give an adapter two places.
class SentAdapters {
 public:
  using Key = std::uint32_t;  // 0: none
  static constexpr std::size_t kKept = 16;

  [[nodiscard]] static Key key_of(std::string_view adapter) {
    if (adapter.empty()) return 0;
    const std::size_t hash = std::hash<std::string_view>{}(adapter);
    return static_cast<Key>(hash ^ (hash >> 32)) | 1U;
  }

  // A request for it, none for 0, was sent.
  void sent(Key adapter, TimePoint now);
  struct Use {
    int others_since = 0;     // other adapters that were asked for after it
    bool after_then = false;  // it was asked for after the time in question
  };
  // Of the last request for it; none: there was none, or too many others since.
  [[nodiscard]] std::optional<Use> last_use(Key adapter, std::optional<TimePoint> then) const;
  void reset();

 private:
  // Each the adapter's key above the time of its last use, in milliseconds modulo 2^32.
  std::array<std::atomic<std::uint64_t>, kKept> places_{};
};

}  // namespace baton
