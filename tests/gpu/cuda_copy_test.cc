// The copy kernels on a GPU, held against the CPU: the cases that copier_test.cc runs on a fake.

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <optional>

#include "kv_transfer/baton_kv.h"
#include "tests/unit/kv_transfer/cuda/copier_cases.h"

namespace baton::kv::cuda {
namespace {

class CudaCopy : public testing::Test {
 protected:
  void SetUp() override {
    if (const auto why = open()) {
      if (std::getenv("BATON_REQUIRE_GPU") != nullptr) FAIL() << *why;
      GTEST_SKIP() << *why;
    }
  }
  [[nodiscard]] Machine machine() const { return {driver_, *copier_}; }

  DriverTable driver_;
  std::unique_ptr<Copier> copier_;

 private:
  // Why there is no copier, if there is none.
  std::optional<std::string> open() {
    const auto driver = load_driver();
    if (!driver) return driver.error().message;
    driver_ = *driver;
    auto copier = Copier::open(driver_, {});
    if (!copier) return copier.error().message;
    copier_ = *std::move(copier);
    return std::nullopt;
  }
};

TEST(CudaImage, IsAFatbinOrSaidToBeMissing) {
  if (copy_kernels().empty()) {
    const auto opened = Copier::open({}, {});
    ASSERT_FALSE(opened);
    EXPECT_NE(opened.error().message.find("this build has no kernels"), std::string::npos);
  } else {
    EXPECT_TRUE(copy_kernels().starts_with("\x50\xED\x55\xBA")) << "not what nvcc writes";
  }
}

class CudaKernel : public CudaCopy, public testing::WithParamInterface<std::uint64_t> {};
TEST_P(CudaKernel, CopiesAsTheCpuDoes) { expect_width_is_copied(machine(), GetParam()); }
INSTANTIATE_TEST_SUITE_P(Widths, CudaKernel, testing::Values(16, 8, 4, 2, 1));

TEST_F(CudaCopy, PacksAndUnpacks) { expect_packed_and_unpacked(machine()); }
TEST_F(CudaCopy, ReslicesHeads) { expect_heads_resliced(machine()); }
TEST_F(CudaCopy, TurnsNhdIntoHnd) {
  expect_reordered(machine(), TokenOrder::kNhd, TokenOrder::kHnd);
}
TEST_F(CudaCopy, TurnsHndIntoNhd) {
  expect_reordered(machine(), TokenOrder::kHnd, TokenOrder::kNhd);
}
TEST_F(CudaCopy, CopiesBetweenAnyEngines) { expect_random_systems(machine(), 1, 1000); }

// The stream and the event of an engine decide when a copy reads and when its result is read.
TEST_F(CudaCopy, GoesBehindTheEnginesEventAndBeforeWhatItHolds) {
  constexpr std::size_t kBytes = 64 << 20;
  const Regions zeros{std::vector<std::uint8_t>(kBytes, 0)};
  const DeviceMemory source(driver_, copier_->context(), zeros);
  const DeviceMemory target(driver_, copier_->context(), zeros);
  const std::vector<std::uint8_t> computed(kBytes, 7);
  std::vector<std::uint8_t> seen(kBytes, 0);
  Stream engine = nullptr;
  Event event = nullptr;
  Context popped = nullptr;
  ASSERT_EQ(driver_.push_context(copier_->context()), kSuccess);
  ASSERT_EQ(driver_.create_stream(&engine, kStreamNonBlocking), kSuccess);
  ASSERT_EQ(driver_.create_event(&event, kEventDisableTiming), kSuccess);
  EXPECT_EQ(driver_.upload(source.regions()[0].address, computed.data(), kBytes, engine), kSuccess);
  EXPECT_EQ(driver_.record_event(event, engine), kSuccess);
  const auto ticket = copier_->begin(std::vector{CopyRun{0, 0, 0, 0, kBytes}}, source.regions(),
                                     target.regions(), event);
  ASSERT_TRUE(ticket) << ticket.error().message;
  EXPECT_TRUE(copier_->hold(engine, *ticket));
  EXPECT_EQ(driver_.download(seen.data(), target.regions()[0].address, kBytes, engine), kSuccess);
  EXPECT_EQ(driver_.synchronize_stream(engine), kSuccess);
  EXPECT_TRUE(seen == computed);
  EXPECT_EQ(driver_.destroy_event(event), kSuccess);
  EXPECT_EQ(driver_.destroy_stream(engine), kSuccess);
  EXPECT_EQ(driver_.pop_context(&popped), kSuccess);
}

// The same copies by the C API, which opens a driver and a stream of its own.
TEST_F(CudaCopy, IsToBeHadByTheCApi) {
  const Regions bytes{std::vector<std::uint8_t>(4096)};
  Regions numbered = bytes;
  std::iota(numbered[0].begin(), numbered[0].end(), std::uint8_t{0});
  const DeviceMemory source(driver_, copier_->context(), numbered);
  const DeviceMemory target(driver_, copier_->context(), bytes);
  const baton_kv_region from{source.regions()[0].address, source.regions()[0].bytes};
  const baton_kv_region into{target.regions()[0].address, target.regions()[0].bytes};
  baton_kv_run run{};
  run.bytes = 4096;
  run.count = 1;
  baton_kv_copier* copier = nullptr;
  ASSERT_EQ(baton_kv_copier_create(nullptr, &copier), BATON_KV_OK) << baton_kv_last_error();
  const baton_kv_copy copy{.struct_size = sizeof copy,
                           .runs = &run,
                           .run_count = 1,
                           .sources = &from,
                           .source_count = 1,
                           .targets = &into,
                           .target_count = 1,
                           .after = nullptr};
  std::uint64_t ticket = 0;
  std::int32_t done = 0;
  EXPECT_EQ(baton_kv_copier_begin(copier, &copy, &ticket), BATON_KV_OK) << baton_kv_last_error();
  EXPECT_EQ(baton_kv_copier_hold(copier, ticket, nullptr), BATON_KV_OK) << baton_kv_last_error();
  EXPECT_EQ(baton_kv_copier_wait(copier, ticket), BATON_KV_OK) << baton_kv_last_error();
  EXPECT_EQ(baton_kv_copier_poll(copier, ticket, &done), BATON_KV_OK);
  EXPECT_EQ(done, 1);
  EXPECT_EQ(target.contents(), numbered);
  baton_kv_copier_free(copier);
}

// How fast it is; prints, and asserts nothing but the bytes. Llama-3.1-8B, 8,192 tokens, 1 GiB.
TEST_F(CudaCopy, Figures) {
  const KvShape shape{"llama-3.1-8b", "bf16", 32, 8, {{"k", 256}, {"v", 256}}};
  constexpr int kBlocks = 512;
  Blocks shuffled = upwards(0, kBlocks);
  std::mt19937_64 rng(1);
  std::ranges::shuffle(shuffled, rng);
  const Blocks ordered = upwards(0, kBlocks);
  const auto layout = [&shape](TokenOrder order) {
    return dense_layout(shape, {0, 32}, {0, 8}, 16, {.blocks = kBlocks, .tokens = order});
  };
  const std::uint64_t region = 2ULL * kBlocks * 16 * 8 * 256;
  const Regions memory(32, std::vector<std::uint8_t>(region, 1));
  const DeviceMemory source(driver_, copier_->context(), memory);
  const DeviceMemory target(driver_, copier_->context(), memory);
  const auto measure = [&](std::string_view what, TokenOrder from, TokenOrder into) {
    const PagedLayout sources = layout(from);
    const PagedLayout targets = layout(into);
    const auto plan = plan_copy(std::vector<KvHolder>{{&sources, shuffled}}, {&targets, ordered},
                                {0, kBlocks * 16}, 0);
    ASSERT_TRUE(plan) << plan.error().message;
    const auto& runs = plan->at(0).runs;
    double best = 0;
    for (int i = 0; i < 7; ++i) {
      const auto begin = std::chrono::steady_clock::now();
      const auto ticket = copier_->begin(runs, source.regions(), target.regions());
      const auto posted = std::chrono::steady_clock::now();
      ASSERT_TRUE(ticket && copier_->wait(*ticket));
      const std::chrono::duration<double> copying = std::chrono::steady_clock::now() - posted;
      const std::chrono::duration<double> posting = posted - begin;
      const double rate = static_cast<double>(region) * 32 / (posting + copying).count() / 1e9;
      if (rate <= best) continue;
      best = rate;
      RecordProperty(std::string(what), fmt::format("{:.1f} GB/s", rate));
    }
    fmt::print("{}, {}: {} runs, {:.1f} GB/s with posting, best of 7\n", copier_->device_name(),
               what, runs.size(), best);
  };
  measure("shuffled blocks", TokenOrder::kNhd, TokenOrder::kNhd);
  measure("shuffled blocks NHD to HND", TokenOrder::kNhd, TokenOrder::kHnd);
  measure("shuffled blocks HND to NHD", TokenOrder::kHnd, TokenOrder::kNhd);
}

}  // namespace
}  // namespace baton::kv::cuda
