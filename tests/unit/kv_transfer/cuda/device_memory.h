#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <span>
#include <vector>

#include "kv_transfer/cuda/copier.h"
#include "tests/unit/kv_transfer/paged_ranks.h"

namespace baton::kv::cuda {

// Regions in the memory of a device, through whatever driver the table leads to.
class DeviceMemory {
 public:
  DeviceMemory(const DriverTable& driver, Context context, const Regions& contents)
      : driver_(driver), context_(context) {
    EXPECT_EQ(driver_.push_context(context_), kSuccess);
    EXPECT_EQ(driver_.create_stream(&stream_, kStreamNonBlocking), kSuccess);
    for (const auto& content : contents) {
      Region& region = regions_.emplace_back();
      if (content.empty()) continue;
      DeviceAddress address = 0;
      EXPECT_EQ(driver_.allocate(&address, content.size()), kSuccess);
      region = {address, content.size()};
      EXPECT_EQ(driver_.upload(address, content.data(), content.size(), stream_), kSuccess);
    }
    EXPECT_EQ(driver_.synchronize_stream(stream_), kSuccess);
    pop();
  }
  ~DeviceMemory() {
    EXPECT_EQ(driver_.push_context(context_), kSuccess);
    for (const Region& region : regions_) {
      if (region.address != 0) EXPECT_EQ(driver_.release(region.address), kSuccess);
    }
    EXPECT_EQ(driver_.destroy_stream(stream_), kSuccess);
    pop();
  }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;

  [[nodiscard]] std::span<const Region> regions() const { return regions_; }

  [[nodiscard]] Regions contents() const {
    Regions contents;
    EXPECT_EQ(driver_.push_context(context_), kSuccess);
    for (const Region& region : regions_) {
      auto& content = contents.emplace_back(region.bytes);
      if (content.empty()) continue;
      EXPECT_EQ(driver_.download(content.data(), region.address, region.bytes, stream_), kSuccess);
    }
    EXPECT_EQ(driver_.synchronize_stream(stream_), kSuccess);
    pop();
    return contents;
  }

 private:
  void pop() const {
    Context popped = nullptr;
    EXPECT_EQ(driver_.pop_context(&popped), kSuccess);
  }

  const DriverTable& driver_;
  const Context context_;
  Stream stream_ = nullptr;
  std::vector<Region> regions_;
};

}  // namespace baton::kv::cuda
