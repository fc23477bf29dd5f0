#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <random>
#include <vector>

#include "kv_transfer/arena.h"
#include "kv_transfer/loop.h"
#include "kv_transfer/nccl/nccl_transport.h"
#include "tests/unit/kv_transfer/nccl/fake_gpu.h"
#include "tests/unit/kv_transfer/node_fixture.h"

namespace baton::kv {

// An owner and a reader of the nccl transport on the test's own thread, before a GPU that is
// played. At the end nothing is left of them, and they used it as it is to be used.
class NcclTest : public testing::Test {
 protected:
  static constexpr std::uint32_t kLargeBlock = 5 << 20;  // more than a chunk

  void TearDown() override {
    gpu_.let_go();
    stop();
    EXPECT_TRUE(run_until([&] { return gpu_.left().empty(); })) << gpu_.left();
    EXPECT_EQ(gpu_.violations(), "");
    EXPECT_EQ(arena_->counts().pinned, 0);
  }

  // Before start(): few slots for large blocks.
  void use_large_slots() { arena_ = std::move(*BlockArena::create(Bytes(kLargeBlock), 12)); }
  void start() {
    owner_ = make(*arena_);
    reader_ = make(*other_arena_);
  }
  std::unique_ptr<Transport> make(BlockArena& arena) {
    auto made =
        make_nccl_transport(loop_, arena, {.limits = limits_}, FakeGpu::nccl(), FakeGpu::cuda());
    EXPECT_TRUE(made.has_value());
    return made ? std::move(*made) : nullptr;
  }
  // Whether both ended.
  void stop() {
    link_.reset();
    int to_stop = 0;
    for (auto* transport : {&owner_, &reader_}) {
      if (*transport == nullptr) continue;
      ++to_stop;
      (*transport)->stop([&] { --to_stop; });
    }
    EXPECT_TRUE(run_until([&] { return to_stop == 0; })) << "it does not stop";
    owner_.reset();
    reader_.reset();
    withdraw();
  }
  template <class Condition>
  bool run_until(Condition condition) {
    const auto until = Clock::now() + std::chrono::seconds(10);
    while (!condition() && Clock::now() < until) loop_->run_one_for(std::chrono::milliseconds(10));
    return condition();
  }
  Result<std::shared_ptr<Link>> connect(const TransportOffer& offer,
                                        Duration limit = std::chrono::seconds(5)) {
    std::optional<Result<std::shared_ptr<Link>>> link;
    reader_->connect(offer, Clock::now() + limit, [&](auto result) {
      EXPECT_FALSE(link) << "connected twice";
      link = result;
    });
    EXPECT_TRUE(run_until([&] { return link.has_value(); }));
    return link ? *link : fail(ErrorCode::kInternal, Stage::kRouter, "the test waited in vain");
  }
  Result<void> connect() {
    auto link = connect(owner_->reserve(Clock::now()));
    if (!link) return std::unexpected(link.error());
    link_ = *link;
    return {};
  }

  // Blocks of one lease, published and pinned as a Node does it.
  void publish(std::size_t count, std::uint32_t most_bytes) {
    for (std::size_t i = 0; i < count; ++i) {
      const auto bytes = static_cast<std::uint32_t>(most_bytes - rng_() % (most_bytes / 2));
      blocks_.push_back(make_block(*arena_, rng_, static_cast<std::int64_t>(i) * 64, bytes));
      EXPECT_TRUE(arena_->pin(blocks_.back().slot));
    }
    owner_->publish(id_, blocks_);
  }
  void withdraw() {
    for (const BlockDescriptor& block : blocks_) {
      arena_->unpin(block.slot);
      arena_->free(block.slot);
    }
    blocks_.clear();
  }

  // Asks for every block. Each piece that is reported as failed is overwritten at once, as the
  // next user of its place would do.
  void fetch() {
    into_.assign(blocks_.size(), {});
    ends_.assign(blocks_.size(), std::nullopt);
    std::vector<BlockRead> reads;
    for (std::uint32_t i = 0; i < blocks_.size(); ++i) {
      into_[i].assign(blocks_[i].bytes, std::byte{0});
      reads.push_back({i, blocks_[i], into_[i]});
    }
    std::ranges::shuffle(reads, rng_);
    link_->fetch({.transfer = id_}, reads, [this](std::uint32_t index, const Result<void>& result) {
      EXPECT_FALSE(ends_.at(index)) << "reported twice";
      ends_[index] = result;
      if (!result) std::ranges::fill(into_[index], kOthers);
      if (on_piece_) on_piece_();
    });
  }
  [[nodiscard]] std::size_t ended() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(ends_, [](const auto& end) { return end.has_value(); }));
  }
  [[nodiscard]] std::size_t good() const {
    return static_cast<std::size_t>(
        std::ranges::count_if(ends_, [](const auto& end) { return end && end->has_value(); }));
  }
  bool all_ended() {
    return run_until([this] { return ended() == ends_.size(); });
  }
  // What is good has its bytes, and in what failed nobody wrote since.
  void expect_contents() {
    for (std::size_t i = 0; i < ends_.size(); ++i) {
      ASSERT_TRUE(ends_[i].has_value());
      if (ends_[i]->has_value()) {
        EXPECT_EQ(checksum_of(into_[i]), blocks_[i].checksum) << i;
      } else {
        EXPECT_TRUE(std::ranges::all_of(into_[i], [](std::byte b) { return b == kOthers; })) << i;
      }
    }
  }
  // A hand-off from beginning to end, over a link of its own.
  void expect_hand_off() {
    const auto connected = connect();
    ASSERT_TRUE(connected.has_value()) << connected.error().message;
    fetch();
    ASSERT_TRUE(all_ended());
    EXPECT_EQ(good(), blocks_.size());
    expect_contents();
  }

  static constexpr std::byte kOthers{0xEE};
  const TransferId id_{5, 6};
  FakeGpu gpu_;
  NcclLimits limits_;
  Loop loop_ = std::make_shared<boost::asio::io_context>(1);
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      loop_->get_executor()};
  std::mt19937_64 rng_{9};
  std::unique_ptr<BlockArena> arena_ = std::move(*BlockArena::create(Bytes(1 << 20), 128));
  std::unique_ptr<BlockArena> other_arena_ = std::move(*BlockArena::create(Bytes(4096), 1));
  std::unique_ptr<Transport> owner_;
  std::unique_ptr<Transport> reader_;
  std::shared_ptr<Link> link_;
  std::vector<BlockDescriptor> blocks_;
  std::vector<std::vector<std::byte>> into_;
  std::vector<std::optional<Result<void>>> ends_;
  std::function<void()> on_piece_;
};

}  // namespace baton::kv
