// The C API's copies, on the fake driver: what reaches the copier, and what is refused before.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "kv_transfer/c_api/copier.h"
#include "tests/unit/kv_c_api/c_api_fixture.h"
#include "tests/unit/kv_transfer/cuda/fake_driver.h"

namespace baton::kv::cuda {
namespace {

class CopierApi : public testing::Test {
 protected:
  void SetUp() override {
    auto made = c_api::make_copier(driver_, {.kernels = FakeDriver::kKernels});
    ASSERT_TRUE(made) << made.error().message;
    copier_ = made->release();
  }
  void TearDown() override { baton_kv_copier_free(copier_); }

  // All of `source_` into `target_`.
  [[nodiscard]] baton_kv_copy whole_copy() const {
    auto copy = zeroed<baton_kv_copy>();
    copy.runs = &run_;
    copy.sources = &from_;
    copy.targets = &into_;
    copy.run_count = copy.source_count = copy.target_count = 1;
    return copy;
  }
  std::uint64_t begin(const baton_kv_copy& copy) {
    std::uint64_t ticket = 0;
    EXPECT_OK(baton_kv_copier_begin(copier_, &copy, &ticket));
    return ticket;
  }
  bool is_done(std::uint64_t ticket) {
    std::int32_t done = -1;
    EXPECT_OK(baton_kv_copier_poll(copier_, ticket, &done));
    return done == 1;
  }
  static baton_kv_region region_of(std::vector<std::uint8_t>& bytes) {
    return {reinterpret_cast<std::uint64_t>(bytes.data()), bytes.size()};
  }

  FakeDriver fake_;
  const DriverTable driver_ = FakeDriver::table();
  baton_kv_copier* copier_ = nullptr;
  std::vector<std::uint8_t> source_ = std::vector<std::uint8_t>(4096, 7);
  std::vector<std::uint8_t> target_ = std::vector<std::uint8_t>(4096, 0);
  const baton_kv_region from_ = region_of(source_);
  const baton_kv_region into_ = region_of(target_);
  baton_kv_run run_{0, 0, 0, 0, 0, 0, 64, 128, 64, 32};  // every other 64 bytes, packed
};

TEST_F(CopierApi, CopiesRunsAndSaysWhenTheyAreDone) {
  for (std::size_t i = 0; i < source_.size(); ++i) source_[i] = static_cast<std::uint8_t>(i / 64);
  const std::uint64_t first = begin(whole_copy());
  EXPECT_FALSE(is_done(first));
  EXPECT_EQ(target_[64], 0);
  EXPECT_OK(baton_kv_copier_wait(copier_, first));
  EXPECT_TRUE(is_done(first));
  for (std::size_t i = 0; i < 2048; ++i) ASSERT_EQ(target_[i], i / 64 * 2) << i;
  EXPECT_EQ(target_[2048], 0);
  EXPECT_GT(begin(whole_copy()), first);  // which the free waits for
}

TEST_F(CopierApi, GoesBehindTheEnginesEventAndBeforeWhatItHolds) {
  Stream engine = nullptr;
  Event event = nullptr;
  Context popped = nullptr;
  ASSERT_EQ(driver_.push_context(copier_->copier->context()), kSuccess);
  ASSERT_EQ(driver_.create_stream(&engine, kStreamNonBlocking), kSuccess);
  ASSERT_EQ(driver_.create_event(&event, kEventDisableTiming), kSuccess);
  const std::vector<std::uint8_t> computed(4096, 9);
  std::vector<std::uint8_t> seen(4096, 0);
  EXPECT_EQ(driver_.upload(from_.address, computed.data(), computed.size(), engine), kSuccess);
  EXPECT_EQ(driver_.record_event(event, engine), kSuccess);
  baton_kv_copy copy = whole_copy();
  copy.after = event;
  const std::uint64_t ticket = begin(copy);
  EXPECT_OK(baton_kv_copier_hold(copier_, ticket, engine));
  EXPECT_EQ(driver_.download(seen.data(), into_.address, seen.size(), engine), kSuccess);
  fake_.run_all_but(engine);
  EXPECT_FALSE(is_done(ticket));
  fake_.run();
  EXPECT_TRUE(is_done(ticket));
  EXPECT_EQ(seen[2047], 9);
  EXPECT_EQ(driver_.destroy_event(event), kSuccess);
  EXPECT_EQ(driver_.destroy_stream(engine), kSuccess);
  EXPECT_EQ(driver_.pop_context(&popped), kSuccess);
}

TEST_F(CopierApi, WhatCannotBeReachesNoDriver) {
  const auto calls = fake_.calls.size();
  std::uint64_t ticket = 0;
  std::int32_t done = 0;
  const auto refused = [&](auto change, const char* text) {
    baton_kv_copy copy = whole_copy();
    change(copy);
    EXPECT_REFUSED(baton_kv_copier_begin(copier_, &copy, &ticket), BATON_KV_INVALID_ARGUMENT, text);
  };
  refused([](auto& c) { c.struct_size = 0; }, "baton_kv_copy.struct_size");
  refused([](auto& c) { c.runs = nullptr; }, "baton_kv_copy.runs is null");
  refused([](auto& c) { c.sources = nullptr; }, "baton_kv_copy.sources is null");
  refused([](auto& c) { c.targets = nullptr; }, "baton_kv_copy.targets is null");
  refused([](auto& c) { c.target_count = 0; }, "not within target region 0 (there are 0)");
  const baton_kv_region nowhere{0, 4096};
  refused([&](auto& c) { c.sources = &nowhere; }, "sources[0] has 4096 bytes at 0x0");
  const baton_kv_region around{~std::uint64_t{0} - 100, 4096};
  refused([&](auto& c) { c.targets = &around; }, "targets[0] has 4096 bytes at 0xff");
  std::vector<baton_kv_run> runs{run_, run_};
  runs[1].holder = 3;
  refused([&](auto& c) { c.runs = runs.data(), c.run_count = 2; }, "holders 0 and 3");
  run_.count = 33;
  refused([](auto&) {}, "a run of 33 x 64 bytes");
  const baton_kv_copy copy = whole_copy();
  EXPECT_REFUSED(baton_kv_copier_begin(nullptr, &copy, &ticket), BATON_KV_INVALID_ARGUMENT, "null");
  EXPECT_REFUSED(baton_kv_copier_begin(copier_, nullptr, &ticket), BATON_KV_INVALID_ARGUMENT,
                 "baton_kv_copy is null");
  EXPECT_REFUSED(baton_kv_copier_begin(copier_, &copy, nullptr), BATON_KV_INVALID_ARGUMENT,
                 "ticket is null");
  EXPECT_REFUSED(baton_kv_copier_wait(copier_, 1), BATON_KV_INVALID_ARGUMENT, "has ticket 1");
  EXPECT_REFUSED(baton_kv_copier_hold(copier_, 0, nullptr), BATON_KV_INVALID_ARGUMENT, "ticket 0");
  EXPECT_REFUSED(baton_kv_copier_poll(copier_, 9, &done), BATON_KV_INVALID_ARGUMENT, "ticket 9");
  EXPECT_REFUSED(baton_kv_copier_poll(copier_, 1, nullptr), BATON_KV_INVALID_ARGUMENT, "is_done");
  EXPECT_REFUSED(baton_kv_copier_wait(nullptr, 1), BATON_KV_INVALID_ARGUMENT, "copier is null");
  EXPECT_EQ(fake_.calls.size(), calls);
}

TEST_F(CopierApi, TheDriversFailuresAreUnavailable) {
  fake_.fail(1, "launch");
  const baton_kv_copy copy = whole_copy();
  std::uint64_t ticket = 0;
  EXPECT_REFUSED(baton_kv_copier_begin(copier_, &copy, &ticket), BATON_KV_UNAVAILABLE,
                 "launching a copy failed: CUDA_ERROR_UNKNOWN");
}

}  // namespace
}  // namespace baton::kv::cuda
