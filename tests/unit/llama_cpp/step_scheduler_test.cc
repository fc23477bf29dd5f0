#include "adapters/engines/llama_cpp/step_scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <span>

namespace baton::adapters {
namespace {

constexpr int kChunk = 256;
constexpr int kBlock = 64;

StepTask prefill(std::uint64_t id, int position, int end, int lora = -1) {
  return {.id = id, .lora = lora, .decoding = false, .position = position, .prefill_end = end};
}
StepTask decode(std::uint64_t id, int lora = -1) {
  return {.id = id, .lora = lora, .decoding = true, .position = 0, .prefill_end = 0};
}

// Where a prompt that has the engine for itself is cut.
std::vector<int> cuts(int begin, int end) {
  StepScheduler scheduler(kChunk, kBlock);
  std::vector<int> sizes;
  for (int at = begin; at < end; at += sizes.back()) {
    const Step step = scheduler.next({{prefill(1, at, end)}});
    EXPECT_EQ(step.prefills.size(), 1U);
    sizes.push_back(step.prefills.at(0).tokens);
  }
  return sizes;
}

TEST(StepScheduler, CutsAtAbsoluteChunksAndBeforeThePartialBlock) {
  EXPECT_EQ(cuts(0, 40), (std::vector{40}));
  EXPECT_EQ(cuts(0, 64), (std::vector{64}));
  EXPECT_EQ(cuts(0, 65), (std::vector{64, 1}));
  EXPECT_EQ(cuts(0, 256), (std::vector{256}));
  EXPECT_EQ(cuts(0, 600), (std::vector{256, 256, 64, 24}));
  EXPECT_EQ(cuts(128, 600), (std::vector{128, 256, 64, 24}));
  EXPECT_EQ(cuts(576, 600), (std::vector{24}));
}

TEST(StepScheduler, NothingToDo) {
  StepScheduler scheduler(kChunk, kBlock);
  EXPECT_TRUE(scheduler.next({}).empty());
}

TEST(StepScheduler, BlocksFillTheChunkOldestFirst) {
  StepScheduler scheduler(kChunk, kBlock);
  const std::vector<StepTask> tasks = {prefill(4, 0, 1000), prefill(2, 0, 100),
                                       prefill(5, 0, 1000)};
  const Step step = scheduler.next(tasks);
  ASSERT_EQ(step.prefills.size(), 2U);
  EXPECT_EQ(step.prefills[0].id, 2U);
  EXPECT_EQ(step.prefills[0].tokens, 64);
  EXPECT_EQ(step.prefills[1].id, 4U);
  EXPECT_EQ(step.prefills[1].tokens, 192);
}

TEST(StepScheduler, BlocksAndSmallStepsTakeTurnsAndNeverMix) {
  StepScheduler scheduler(kChunk, kBlock);
  const std::vector<StepTask> tasks = {decode(1), prefill(2, 0, 100000), decode(3),
                                       prefill(4, 64, 70)};
  int small = 0;
  for (int i = 0; i < 100; ++i) {
    const Step step = scheduler.next(tasks);
    if (step.decodes.empty()) {
      ASSERT_EQ(step.prefills.size(), 1U);
      EXPECT_EQ(step.prefills[0].tokens, kChunk);
    } else {
      ++small;
      EXPECT_EQ(step.decodes.size(), 2U);
      ASSERT_EQ(step.prefills.size(), 1U);
      EXPECT_EQ(step.prefills[0].id, 4U);
    }
  }
  EXPECT_EQ(small, 50);
}

TEST(StepScheduler, APartialBlockIsNeverCutAndSmallStepsStayBelowABlock) {
  StepScheduler scheduler(kChunk, kBlock);
  // One decode token and 40 leave 22 rows: not enough for the 30 of the third one.
  const std::vector<StepTask> tasks = {prefill(1, 0, 40), decode(2), prefill(3, 64, 94),
                                       prefill(4, 0, 20)};
  const Step step = scheduler.next(tasks);
  EXPECT_EQ(step.decodes.size(), 1U);
  ASSERT_EQ(step.prefills.size(), 2U);
  EXPECT_EQ(step.prefills[0].id, 1U);
  EXPECT_EQ(step.prefills[1].id, 4U);
}

TEST(StepScheduler, APartialBlockWithoutRoomAndDecodesTakeTurns) {
  StepScheduler scheduler(kChunk, kBlock);
  // A shorter part that fits beside the decodes must not keep the older one waiting.
  const std::vector<StepTask> tasks = {decode(1), decode(2), prefill(3, 0, 63), prefill(4, 0, 5)};
  for (int i = 0; i < 10; ++i) {
    const Step first = scheduler.next(tasks);
    EXPECT_TRUE(first.decodes.empty());
    ASSERT_EQ(first.prefills.size(), 1U);
    EXPECT_EQ(first.prefills[0].id, 3U);
    const Step second = scheduler.next(tasks);
    EXPECT_EQ(second.decodes.size(), 2U);
    ASSERT_EQ(second.prefills.size(), 1U);
    EXPECT_EQ(second.prefills[0].id, 4U);
  }
}

TEST(StepScheduler, SmallStepsStayBelowTheTileHoweverManyDecode) {
  StepScheduler scheduler(kChunk, kBlock);
  std::vector<StepTask> tasks;
  for (std::uint64_t id = 1; id <= 150; ++id) tasks.push_back(decode(id));
  std::map<std::uint64_t, int> decoded;
  for (int i = 0; i < 150; ++i) {
    const Step step = scheduler.next(tasks);
    ASSERT_EQ(step.decodes.size(), 63U);
    for (const StepShare& share : step.decodes) ++decoded[share.id];
  }
  for (const auto& [id, times] : decoded) EXPECT_NEAR(times, 63, 1) << id;
  EXPECT_EQ(decoded.size(), 150U);
}

TEST(StepScheduler, APartOfATileOrMoreGoesWithWideSteps) {
  StepScheduler scheduler(512, 128);
  const std::vector<StepTask> tasks = {decode(1), prefill(2, 128, 228)};
  const Step wide = scheduler.next(tasks);
  EXPECT_TRUE(wide.decodes.empty());
  ASSERT_EQ(wide.prefills.size(), 1U);
  EXPECT_EQ(wide.prefills[0].tokens, 100);
}

TEST(StepScheduler, AdaptersTakeTurns) {
  StepScheduler scheduler(kChunk, kBlock);
  const std::vector<StepTask> tasks = {decode(1, -1), decode(2, -1), decode(3, 0), decode(4, 1),
                                       prefill(5, 0, 100000, -1)};
  std::map<int, int> served;
  for (int i = 0; i < 300; ++i) {
    const Step step = scheduler.next(tasks);
    ++served[step.lora];
    for (const StepShare& share : step.decodes) EXPECT_EQ(tasks[share.id - 1].lora, step.lora);
  }
  EXPECT_EQ(served, (std::map<int, int>{{-1, 100}, {0, 100}, {1, 100}}));
}

TEST(StepScheduler, ANewAdapterWaitsAtMostOneRound) {
  StepScheduler scheduler(kChunk, kBlock);
  const std::vector<StepTask> busy = {decode(1, 0), decode(2, 1), decode(3, 2)};
  for (int i = 0; i < 100; ++i) (void)scheduler.next(busy);
  std::vector<StepTask> tasks = busy;
  tasks.push_back(prefill(4, 0, 500, 3));
  int waited = 0;
  while (scheduler.next(tasks).lora != 3) ++waited;
  EXPECT_LT(waited, 4);
}

}  // namespace
}  // namespace baton::adapters
