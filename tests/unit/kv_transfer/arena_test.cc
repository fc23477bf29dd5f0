#include "kv_transfer/arena.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <random>
#include <thread>

#include "kv_transfer/arena_view.h"

namespace baton::kv {
namespace {

std::unique_ptr<BlockArena> make_arena(int slots, std::int64_t slot_bytes = 1000) {
  auto arena = BlockArena::create(Bytes(slot_bytes), slots);
  EXPECT_TRUE(arena.has_value());
  return std::move(*arena);
}

void fill(std::span<std::byte> bytes, int with) {
  std::ranges::fill(bytes, static_cast<std::byte>(with));
}

TEST(BlockArena, GivesEachSlotOnceAndThenNone) {
  auto arena = make_arena(3);
  const SlotRef a = arena->allocate().value();
  const SlotRef b = arena->allocate().value();
  const SlotRef c = arena->allocate().value();
  EXPECT_NE(a, b);
  EXPECT_NE(b, c);
  EXPECT_FALSE(arena->allocate().has_value());
  EXPECT_EQ(arena->counts().used, 3);
  arena->free(b);
  EXPECT_EQ(arena->counts().used, 2);
  EXPECT_EQ(arena->allocate().value().slot, b.slot);
}

TEST(BlockArena, AnEarlierUseOfASlotIsStale) {
  auto arena = make_arena(1);
  const SlotRef first = arena->allocate().value();
  arena->free(first);
  EXPECT_TRUE(arena->bytes(first).empty());
  const SlotRef second = arena->allocate().value();
  EXPECT_GT(second.generation, first.generation);
  EXPECT_TRUE(arena->bytes(first).empty());
  EXPECT_FALSE(arena->pin(first));
  arena->free(first);  // of an earlier use: nothing happens
  EXPECT_EQ(arena->bytes(second).size(), 1000u);
}

TEST(BlockArena, AFreedSlotKeepsItsBytesUntilTheLastPinGoes) {
  auto arena = make_arena(1);
  const SlotRef ref = arena->allocate().value();
  fill(arena->bytes(ref), 7);
  ASSERT_TRUE(arena->pin(ref));
  ASSERT_TRUE(arena->pin(ref));
  arena->free(ref);
  EXPECT_EQ(arena->counts().quarantined, 1);
  EXPECT_EQ(arena->counts().used, 0);
  EXPECT_FALSE(arena->allocate().has_value());
  EXPECT_FALSE(arena->pin(ref));
  arena->unpin(ref);
  EXPECT_EQ(arena->bytes(ref)[999], std::byte{7});
  arena->unpin(ref);
  EXPECT_EQ(arena->counts().quarantined, 0);
  EXPECT_EQ(arena->counts().pinned, 0);
  EXPECT_TRUE(arena->allocate().has_value());
}

TEST(BlockArena, RefusesSizesThatMakeNoArena) {
  EXPECT_FALSE(BlockArena::create(Bytes(0), 1).has_value());
  EXPECT_FALSE(BlockArena::create(Bytes(1), 0).has_value());
  EXPECT_FALSE(BlockArena::create(Bytes(std::int64_t{1} << 40), 1).has_value());
}

TEST(BlockArena, CountsStayTrueUnderThreads) {
  auto arena = make_arena(64, 64);
  std::vector<std::jthread> threads;
  for (unsigned seed = 0; seed < 4; ++seed) {
    threads.emplace_back([&arena, seed] {
      std::mt19937 rng(seed);
      std::vector<SlotRef> held;
      for (int i = 0; i < 5000; ++i) {
        if (rng() % 2 == 0) {
          if (const auto ref = arena->allocate()) {
            fill(arena->bytes(*ref), static_cast<int>(seed));
            ASSERT_TRUE(arena->pin(*ref));
            held.push_back(*ref);
          }
        } else if (!held.empty()) {
          const SlotRef ref = held.back();
          held.pop_back();
          arena->free(ref);
          ASSERT_EQ(arena->bytes(ref)[63], static_cast<std::byte>(seed));
          arena->unpin(ref);
        }
      }
      for (const SlotRef ref : held) {
        arena->unpin(ref);
        arena->free(ref);
      }
    });
  }
  threads.clear();
  const auto counts = arena->counts();
  EXPECT_EQ(counts.used, 0);
  EXPECT_EQ(counts.pinned, 0);
  EXPECT_EQ(counts.quarantined, 0);
}

TEST(ArenaView, ReadsWhatIsCurrentAndRefusesWhatIsNot) {
  auto arena = make_arena(2);
  const SlotRef ref = arena->allocate().value();
  fill(arena->bytes(ref), 42);
  auto view = ArenaView::map(::dup(arena->memfd()));
  ASSERT_TRUE(view.has_value());
  std::vector<std::byte> into(500);
  ASSERT_TRUE((*view)->read(ref, into).has_value());
  EXPECT_TRUE(std::ranges::all_of(into, [](std::byte b) { return b == std::byte{42}; }));

  arena->free(ref);
  EXPECT_EQ((*view)->read(ref, into).error().code, ErrorCode::kStale);
  EXPECT_EQ((*view)->read({2, 1}, into).error().code, ErrorCode::kUpstream);
  std::vector<std::byte> too_long(1001);
  EXPECT_EQ((*view)->read(arena->allocate().value(), too_long).error().code, ErrorCode::kUpstream);
}

TEST(ArenaView, CannotBeWrittenThroughTheDescriptorThatIsPassed) {
  auto arena = make_arena(1);
  EXPECT_EQ(::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, arena->memfd(), 0),
            MAP_FAILED);
  EXPECT_EQ(::pwrite(arena->memfd(), "x", 1, 0), -1);
  EXPECT_NE(::ftruncate(arena->memfd(), 0), 0);
}

TEST(ArenaView, RefusesWhatIsNoArena) {
  EXPECT_FALSE(ArenaView::map(::memfd_create("other", MFD_ALLOW_SEALING)).has_value());
  EXPECT_FALSE(ArenaView::map(-1).has_value());
}

// The sums are those of XXH3-64, whatever vectors this machine computes them with: the peer's has
// others.
TEST(Checksum, IsXxh3OfEveryLength) {
  std::vector<std::byte> bytes(5000);
  for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i * 7);
  for (std::size_t length = 0; length <= bytes.size(); length += 1 + length / 16) {
    EXPECT_EQ(checksum_of({bytes.data(), length}), XXH3_64bits(bytes.data(), length)) << length;
  }
  EXPECT_EQ(checksum_of({}), 0x2d06800538d394c2U);
}

}  // namespace
}  // namespace baton::kv
