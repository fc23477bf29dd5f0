#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace baton {

// Words of 64 bits, zero at first, that threads share: reached as atomics alone. Pages that were
// never written cost nothing. Begins on a cache line.
class ZeroedWords {
 public:
  ZeroedWords() = default;
  explicit ZeroedWords(std::size_t count) {
    if (count == 0) return;
    memory_.reset(
        static_cast<std::uint64_t*>(std::calloc(count + kLineWords, sizeof(std::uint64_t))));
    if (memory_ == nullptr) throw std::bad_alloc();
    void* begin = memory_.get();
    std::size_t space = (count + kLineWords) * sizeof(std::uint64_t);
    begin_ = static_cast<std::uint64_t*>(
        std::align(kLineWords * sizeof(std::uint64_t), sizeof(std::uint64_t), begin, space));
  }

  [[nodiscard]] std::uint64_t* begin() const { return begin_; }
  [[nodiscard]] std::atomic_ref<std::uint64_t> at(std::size_t i) const {
    return std::atomic_ref(begin_[i]);
  }

 private:
  static constexpr std::size_t kLineWords = 8;
  struct Free {
    void operator()(std::uint64_t* memory) const { std::free(memory); }
  };
  std::unique_ptr<std::uint64_t, Free> memory_;
  std::uint64_t* begin_ = nullptr;
};

}  // namespace baton
