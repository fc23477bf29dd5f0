#pragma once

#include <atomic>
#include <cstdint>

#include "core/zeroed_words.h"

namespace baton {

// Numbers for pods that change when a pod is forgotten, so that all that was said of the number it
// had is void at once. Shared by all threads without locks. Numbers are not used twice until
// close(), which has to come before they run out: after 1.5 million restarts.
class Incarnations {
 public:
  // A number is group × 64 + member; see holder_word.h.
  static constexpr std::uint32_t kMembers = 48;
  static constexpr std::uint32_t kStride = 64;
  static constexpr std::uint32_t kGroups = 1U << 15;
  static constexpr std::uint32_t kNone = 0;

  Incarnations();

  // The pod's number (`pod` below LoadTable::kMaxPods); kNone: it has none yet.
  [[nodiscard]] std::uint32_t of(std::uint32_t pod) const {
    return static_cast<std::uint32_t>(numbers_.at(pod).load(std::memory_order_acquire));
  }
  // The same, giving it one; kNone: there are none left, or closed.
  std::uint32_t give(std::uint32_t pod);
  void forget(std::uint32_t pod);

  // The members of a group that are some pod's number now, one bit each.
  [[nodiscard]] std::uint64_t alive(std::uint32_t group) const {
    return alive_.at(group).load(std::memory_order_relaxed);
  }

  [[nodiscard]] bool open() const;  // there are numbers left
  // Forgets every pod and gives out no number until reopened.
  void close();
  void reopen();

 private:
  ZeroedWords numbers_;                        // by pod
  ZeroedWords alive_;                          // by group
  std::atomic<std::uint32_t> next_{kMembers};  // without gaps, from group 1 on
};

}  // namespace baton
