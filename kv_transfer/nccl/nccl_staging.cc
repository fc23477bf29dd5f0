#include "kv_transfer/nccl/nccl_staging.h"

#include <chrono>
#include <thread>

#include "core/log.h"

namespace baton::kv {

using cuda::check;

Result<std::unique_ptr<NcclStaging>> NcclStaging::create(const cuda::DriverTable& driver) {
  std::unique_ptr<NcclStaging> staging(new NcclStaging(driver));
  if (auto allocated = staging->allocate(); !allocated) {
    staging->free();  // the stream has had no work
    return std::unexpected(allocated.error());
  }
  return staging;
}

Result<void> NcclStaging::allocate() {
  auto made =
      check(driver_, "making a stream", driver_.create_stream(&stream_, cuda::kStreamNonBlocking));
  for (Half& half : halves_) {
    void* host = nullptr;
    if (made) {
      made = check(driver_, "pinning memory of the host",
                   driver_.allocate_pinned(&host, kNcclChunkBytes));
    }
    half.host = static_cast<std::byte*>(host);
    if (made) {
      made = check(driver_, "taking memory of the GPU",
                   driver_.allocate(&half.device, kNcclChunkBytes));
    }
    if (made) {
      made = check(driver_, "making an event",
                   driver_.create_event(&half.passed, cuda::kEventDisableTiming));
    }
  }
  return made;
}

void NcclStaging::release(Duration limit) {
  const TimePoint deadline = Clock::now() + limit;
  while (driver_.query_stream(stream_) == cuda::kNotReady) {
    if (Clock::now() > deadline) {
      log(LogLevel::kError, "staging of an nccl communicator lost",
          {{"bytes", 2 * halves_.size() * kNcclChunkBytes},
           {"reason", "the GPU still uses it after the abort"}});
      return;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  free();
}

void NcclStaging::free() {
  for (Half& half : halves_) {
    if (half.passed != nullptr) (void)driver_.destroy_event(half.passed);
    if (half.device != 0) (void)driver_.release(half.device);
    if (half.host != nullptr) (void)driver_.release_pinned(half.host);
    half = {};
  }
  if (stream_ != nullptr) (void)driver_.destroy_stream(stream_);
  stream_ = nullptr;
}

Result<void> NcclStaging::to_device(const Half& half, std::size_t bytes) {
  return check(driver_, "copying to the GPU",
               driver_.upload(half.device, half.host, bytes, stream_));
}

Result<void> NcclStaging::to_host(const Half& half, std::size_t bytes) {
  return check(driver_, "copying from the GPU",
               driver_.download(half.host, half.device, bytes, stream_));
}

Result<void> NcclStaging::mark(const Half& half) {
  return check(driver_, "marking the stream", driver_.record_event(half.passed, stream_));
}

Result<bool> NcclStaging::has_passed(const Half& half) const {
  const cuda::Status status = driver_.query_event(half.passed);
  if (status == cuda::kNotReady) return false;
  const auto checked = check(driver_, "work of the GPU", status);
  if (!checked) return std::unexpected(checked.error());
  return true;
}

}  // namespace baton::kv
