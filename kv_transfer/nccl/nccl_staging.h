#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <memory>
#include <span>
#include <vector>

#include "core/error.h"
#include "core/units.h"
#include "kv_transfer/cuda/driver.h"

namespace baton::kv {

// What is sent and received by one call of NCCL, at most: blocks of one pack are cut so, on both
// sides alike.
inline constexpr std::size_t kNcclChunkBytes = 4 << 20;

// A way through blocks that lie scattered, as if they were one row of bytes.
template <class Byte>
class Scattered {
 public:
  explicit Scattered(std::vector<std::span<Byte>> places) : places_(std::move(places)) {
    for (const auto& place : places_) left_ += place.size();
  }
  [[nodiscard]] std::size_t left() const { return left_; }
  // Hands the next `bytes`, which must be there, to copy(place, offset in the row), bit by bit.
  template <class Copy>
  void next(std::size_t bytes, Copy copy) {
    for (std::size_t done = 0; done < bytes;) {
      const auto rest = places_[at_].subspan(within_);
      const auto part = rest.first(std::min(rest.size(), bytes - done));
      copy(part, done);
      done += part.size();
      within_ += part.size();
      if (within_ < places_[at_].size()) break;
      ++at_;
      within_ = 0;
    }
    left_ -= bytes;
  }

 private:
  std::vector<std::span<Byte>> places_;
  std::size_t at_ = 0;
  std::size_t within_ = 0;  // of places_[at_]
  std::size_t left_ = 0;
};

// The memory through which a communicator's bytes pass: two halves, so that one is packed or
// unpacked while the other is on its way, each of pinned host memory and of device memory. The GPU
// writes and reads nothing else, so the places of blocks are touched by the CPU alone. Used on one
// thread, which has taken the GPU.
class NcclStaging {
 public:
  static constexpr std::size_t kHalves = 2;
  struct Half {
    std::byte* host = nullptr;
    cuda::DeviceAddress device = 0;
    cuda::Event passed = nullptr;
  };

  // Errors: kUnavailable (out of memory).
  [[nodiscard]] static Result<std::unique_ptr<NcclStaging>> create(const cuda::DriverTable& driver);
  // Gives the memory back, if the stream has run dry within `limit`; otherwise it is lost, since
  // the GPU may still use it. No more work comes.
  void release(Duration limit);
  NcclStaging(const NcclStaging&) = delete;
  NcclStaging& operator=(const NcclStaging&) = delete;
  ~NcclStaging() = default;

  [[nodiscard]] cuda::Stream stream() const { return stream_; }
  [[nodiscard]] const Half& half(std::size_t which) const { return halves_[which]; }

  // Put on the stream.
  [[nodiscard]] Result<void> to_device(const Half& half, std::size_t bytes);
  [[nodiscard]] Result<void> to_host(const Half& half, std::size_t bytes);
  // Marks what was put on the stream so far; has_passed() says whether it is done.
  [[nodiscard]] Result<void> mark(const Half& half);
  [[nodiscard]] Result<bool> has_passed(const Half& half) const;

 private:
  explicit NcclStaging(const cuda::DriverTable& driver) : driver_(driver) {}
  [[nodiscard]] Result<void> allocate();
  void free();

  const cuda::DriverTable& driver_;
  cuda::Stream stream_ = nullptr;
  std::array<Half, kHalves> halves_;
};

}  // namespace baton::kv
