#include "kv_transfer/transport.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <functional>
#include <memory>
#include <vector>

#include "kv_transfer/arena.h"
#include "kv_transfer/cma_transport.h"
#include "kv_transfer/loop.h"
#include "kv_transfer/nccl/nccl_transport.h"
#include "kv_transfer/shm_transport.h"
#include "kv_transfer/tcp_transport.h"
#include "kv_transfer/ucx_transport.h"
#include "tests/unit/kv_transfer/nccl/fake_gpu.h"
#include "tests/unit/kv_transfer/node_fixture.h"

namespace baton::kv {
namespace {

using std::chrono::seconds;

// An owner and a reader on the test's own thread, without the control service between them.
class TransportTest : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    arena_ = std::move(*BlockArena::create(Bytes(kTestSlotBytes), 128));
    other_arena_ = std::move(*BlockArena::create(Bytes(kTestSlotBytes), 1));
    owner_ = make(*arena_);
    reader_ = make(*other_arena_);
  }
  void TearDown() override {
    link_.reset();
    int stopped = 0;
    owner_->stop([&] { ++stopped; });
    reader_->stop([&] { ++stopped; });
    EXPECT_TRUE(run_until([&] { return stopped == 2; }));
  }

  std::unique_ptr<Transport> make(BlockArena& arena) {
    if (GetParam() == "cma") return make_cma_transport(loop_, arena);
    if (GetParam() == "nccl") {
      return *make_nccl_transport(loop_, arena, {}, FakeGpu::nccl(), FakeGpu::cuda());
    }
    auto made = GetParam() == "shm" ? make_shm_transport(loop_, arena)
                : GetParam().starts_with("tcp")
                    ? make_tcp_transport(loop_, arena, {.connections = GetParam() == "tcp" ? 1 : 4})
                    : make_ucx_transport(loop_, arena, {});
    EXPECT_TRUE(made.has_value());
    return std::move(*made);
  }
  template <class Condition>
  bool run_until(Condition condition) {
    const auto until = Clock::now() + seconds(10);
    while (!condition() && Clock::now() < until) loop_->run_one_for(std::chrono::milliseconds(50));
    return condition();
  }
  Result<std::shared_ptr<Link>> connect(const TransportOffer& offer) {
    std::optional<Result<std::shared_ptr<Link>>> link;
    reader_->connect(offer, Clock::now() + seconds(5), [&](auto result) { link = result; });
    EXPECT_TRUE(run_until([&] { return link.has_value(); }));
    return *link;
  }
  void connect() {
    auto link = connect(owner_->reserve(Clock::now()));
    ASSERT_TRUE(link.has_value()) << link.error().message;
    link_ = *link;
  }
  // Blocks of a lease that stands: published, and pinned as a Node does it.
  std::vector<BlockDescriptor> offer_blocks(TransferId id, int count) {
    std::vector<BlockDescriptor> blocks;
    for (int i = 0; i < count; ++i) {
      blocks.push_back(make_block(*arena_, rng_, i * 64,
                                  static_cast<std::uint32_t>(1 + rng_() % kTestSlotBytes)));
      EXPECT_TRUE(arena_->pin(blocks.back().slot));
    }
    owner_->publish(id, blocks);
    return blocks;
  }
  // Fetches one block and returns how it ended.
  Result<void> fetch_one(TransferId id, std::uint32_t index, const BlockDescriptor& remote) {
    std::vector<std::byte> into(remote.bytes);
    return fetch_one({.transfer = id}, {.index = index, .remote = remote, .into = into});
  }
  Result<void> fetch_one(const FetchTerms& terms, const BlockRead& read) {
    std::optional<Result<void>> result;
    link_->fetch(terms, {read}, [&](std::uint32_t, Result<void> end) { result = std::move(end); });
    EXPECT_TRUE(run_until([&] { return result.has_value(); }));
    return *result;
  }

  const TransferId id_{5, 6};
  FakeGpu gpu_;
  Loop loop_ = std::make_shared<boost::asio::io_context>(1);
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      loop_->get_executor()};
  std::mt19937_64 rng_{7};
  std::unique_ptr<BlockArena> arena_;
  std::unique_ptr<BlockArena> other_arena_;
  std::unique_ptr<Transport> owner_;
  std::unique_ptr<Transport> reader_;
  std::shared_ptr<Link> link_;
};

TEST_P(TransportTest, FetchesInAnyOrderMoreThanCanBeUnderWay) {
  connect();
  const auto blocks = offer_blocks(id_, 128);
  std::vector<std::vector<std::byte>> into;
  std::vector<BlockRead> reads;
  for (std::uint32_t i = 0; i < blocks.size(); ++i) into.emplace_back(blocks[i].bytes);
  for (std::uint32_t i = 0; i < blocks.size(); ++i) reads.push_back({i, blocks[i], into[i]});
  std::ranges::shuffle(reads, rng_);
  std::vector<int> reported(blocks.size());
  std::size_t done = 0;
  link_->fetch({.transfer = id_}, reads, [&](std::uint32_t index, Result<void> result) {
    EXPECT_TRUE(result.has_value());
    ++reported[index];
    ++done;
  });
  ASSERT_TRUE(run_until([&] { return done == blocks.size(); }));
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    EXPECT_EQ(reported[i], 1);
    EXPECT_EQ(checksum_of(into[i]), blocks[i].checksum);
  }
}

TEST_P(TransportTest, ABlockOfAnotherGenerationIsStale) {
  connect();
  const auto blocks = offer_blocks(id_, 1);
  BlockDescriptor next = blocks[0];
  ++next.slot.generation;
  EXPECT_EQ(fetch_one(id_, 0, next).error().code, ErrorCode::kStale);
  EXPECT_TRUE(fetch_one(id_, 0, blocks[0]).has_value());

  owner_->abort(id_);
  arena_->unpin(blocks[0].slot);
  arena_->free(blocks[0].slot);
  (void)make_block(*arena_, rng_, 0, 100);  // somebody else's, in the same slot
  EXPECT_EQ(fetch_one(id_, 0, blocks[0]).error().code, ErrorCode::kStale);
}

TEST_P(TransportTest, BringsSlicesPackedAndVerified) {
  connect();
  for (int round = 0; round < 20; ++round) {
    const auto block = make_block(*arena_, rng_, 0, 65536);
    ASSERT_TRUE(arena_->pin(block.slot));
    const TransferId id{7, static_cast<std::uint64_t>(round)};
    owner_->publish(id, std::vector{block});
    std::vector<Slice> slices;
    std::vector<std::byte> expected;
    const auto content = arena_->bytes(block.slot);
    for (std::uint32_t at = 0; at < 60000;) {
      const auto bytes = static_cast<std::uint32_t>(1 + rng_() % 500);
      const auto stride = bytes + static_cast<std::uint32_t>(rng_() % 100);
      const auto count = static_cast<std::uint32_t>(1 + rng_() % 8);
      slices.push_back({.offset = at, .bytes = bytes, .stride = stride, .count = count});
      for (std::uint32_t i = 0; i < count; ++i) {
        const auto chunk = content.subspan(at + i * stride, bytes);
        expected.insert(expected.end(), chunk.begin(), chunk.end());
      }
      at += count * stride;
    }
    const auto shared = std::make_shared<const std::vector<Slice>>(slices);
    std::vector<std::byte> into(bytes_of(slices));
    ASSERT_EQ(into.size(), expected.size());
    const auto result =
        fetch_one({.transfer = id, .slices = shared}, {.index = 0, .remote = block, .into = into});
    ASSERT_TRUE(result.has_value()) << result.error().message;
    ASSERT_TRUE(into == expected);
    arena_->unpin(block.slot);
    arena_->free(block.slot);
  }
}

TEST_P(TransportTest, ABlockThatIsNotWhatWasPublishedIsCorrupt) {
  connect();
  auto block = make_block(*arena_, rng_, 0, 1000);
  ASSERT_TRUE(arena_->pin(block.slot));
  ++block.checksum;
  owner_->publish(id_, std::vector{block});
  EXPECT_EQ(fetch_one(id_, 0, block).error().code, ErrorCode::kCorrupt);
  block.checksum = 0;  // a producer that makes none
  EXPECT_TRUE(fetch_one(id_, 0, block).has_value());
}

TEST_P(TransportTest, AClosedLinkReportsEveryPieceOnce) {
  connect();
  const auto blocks = offer_blocks(id_, 100);
  std::vector<std::vector<std::byte>> into;
  std::vector<BlockRead> reads;
  for (const BlockDescriptor& block : blocks) into.emplace_back(block.bytes);
  for (std::uint32_t i = 0; i < blocks.size(); ++i) reads.push_back({i, blocks[i], into[i]});
  std::vector<int> reported(blocks.size());
  std::size_t done = 0;
  link_->fetch({.transfer = id_}, reads, [&](std::uint32_t index, const Result<void>&) {
    ++reported[index];
    if (++done == 5) link_->close();
  });
  ASSERT_TRUE(run_until([&] { return done == blocks.size(); }));
  EXPECT_TRUE(std::ranges::all_of(reported, [](int n) { return n == 1; }));
  EXPECT_TRUE(run_until([&] { return link_->failed(); }));
}

INSTANTIATE_TEST_SUITE_P(Transports, TransportTest,
                         testing::Values("shm", "cma", "tcp", "tcp_x4", "ucx", "nccl"),
                         [](const auto& parameter) { return parameter.param; });

using TokenTest = TransportTest;

TEST_P(TokenTest, ATokenIsGoodOnce) {
  const TransportOffer offer = owner_->reserve(Clock::now());
  ASSERT_TRUE(connect(offer).has_value());
  EXPECT_FALSE(connect(offer).has_value());
  TransportOffer guessed = owner_->reserve(Clock::now());
  guessed.token[0] = guessed.token[0] == '0' ? '1' : '0';
  EXPECT_FALSE(connect(guessed).has_value());
}

INSTANTIATE_TEST_SUITE_P(Transports, TokenTest, testing::Values("shm", "tcp", "ucx", "nccl"),
                         [](const auto& parameter) { return parameter.param; });

using ShmTransportTest = TransportTest;

TEST_P(ShmTransportTest, AnOwnerThatIsNotOnThisHostIsUnsupported) {
  TransportOffer offer = owner_->reserve(Clock::now());
  offer.address += "x";
  EXPECT_EQ(connect(offer).error().code, ErrorCode::kUnsupported);
}

INSTANTIATE_TEST_SUITE_P(Shm, ShmTransportTest, testing::Values("shm"),
                         [](const auto& parameter) { return parameter.param; });

// Transports whose owner sends what it is asked for.
using AnsweringTransportTest = TransportTest;

TEST_P(AnsweringTransportTest, WhatTheLeaseDoesNotNameIsNotSent) {
  connect();
  const auto blocks = offer_blocks(id_, 2);
  const auto private_block = make_block(*arena_, rng_, 0, 100);
  ASSERT_TRUE(arena_->pin(private_block.slot));
  EXPECT_EQ(fetch_one(id_, 0, private_block).error().code, ErrorCode::kStale);
  EXPECT_EQ(fetch_one(id_, 2, blocks[0]).error().code, ErrorCode::kStale);
  EXPECT_EQ(fetch_one({9, 9}, 0, blocks[0]).error().code, ErrorCode::kStale);
  BlockDescriptor longer = blocks[0];
  ++longer.bytes;
  EXPECT_EQ(fetch_one(id_, 0, longer).error().code, ErrorCode::kStale);
}

TEST_P(AnsweringTransportTest, NobodyListeningIsUnavailable) {
  TransportOffer offer = owner_->reserve(Clock::now());
  offer.address = "127.0.0.1:1";
  EXPECT_EQ(connect(offer).error().code, ErrorCode::kUnavailable);
}

// Some blocks of many are gone: the others come right, wherever the answers were taken apart.
TEST_P(AnsweringTransportTest, StaleBlocksAmongGoodOnes) {
  connect();
  const auto blocks = offer_blocks(id_, 120);
  for (int round = 0; round < 20; ++round) {
    std::vector<std::vector<std::byte>> into;
    std::vector<BlockRead> reads;
    std::vector<int> wanted(blocks.size());  // 1: good, -1: stale
    for (const BlockDescriptor& block : blocks) into.emplace_back(block.bytes);
    for (std::uint32_t i = 0; i < blocks.size(); ++i) {
      wanted[i] = rng_() % 4 == 0 ? -1 : 1;
      BlockDescriptor remote = blocks[i];
      if (wanted[i] < 0) ++remote.slot.generation;
      reads.push_back({i, remote, into[i]});
    }
    std::ranges::shuffle(reads, rng_);
    std::vector<int> found(blocks.size());
    std::size_t done = 0;
    link_->fetch({.transfer = id_}, reads, [&](std::uint32_t index, const Result<void>& result) {
      found[index] += result.has_value() ? 1 : -1;
      ++done;
    });
    ASSERT_TRUE(run_until([&] { return done == blocks.size(); }));
    ASSERT_EQ(found, wanted);
    for (std::size_t i = 0; i < blocks.size(); ++i) {
      if (wanted[i] > 0) {
        ASSERT_EQ(checksum_of(into[i]), blocks[i].checksum) << i;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Transports, AnsweringTransportTest,
                         testing::Values("tcp", "tcp_x4", "ucx", "nccl"),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace
}  // namespace baton::kv
