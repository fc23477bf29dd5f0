#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <condition_variable>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "kv_transfer/node.h"

namespace baton::kv {

inline constexpr std::uint64_t kTestEpoch = 11;
inline constexpr std::uint64_t kTestLayout = 0xabcdef;
inline constexpr std::int64_t kTestSlotBytes = 96 * 1024;

inline NodeOptions test_options(std::string engine, const std::string& transport) {
  NodeOptions options;
  options.engine_id = std::move(engine);
  options.epoch = kTestEpoch;
  options.layout_hash = kTestLayout;
  options.transports = {transport};
  return options;
}

inline std::unique_ptr<Node> start_node(NodeOptions options, int slots = 256) {
  auto arena = BlockArena::create(Bytes(kTestSlotBytes), slots);
  if (!arena) return nullptr;
  auto node = Node::start(std::move(options), std::move(*arena));
  if (!node) ADD_FAILURE() << node.error().message;
  return node ? std::move(*node) : nullptr;
}

// A block of random bytes in a slot of `arena`, as an engine would publish it.
template <class Rng>
BlockDescriptor make_block(BlockArena& arena, Rng& rng, std::int64_t first_token,
                           std::uint32_t bytes) {
  BlockDescriptor block{.first_token = first_token,
                        .token_count = 64,
                        .slot = arena.allocate().value(),
                        .bytes = bytes,
                        .content_hash = rng()};
  const auto into = arena.bytes(block.slot).first(bytes);
  for (std::size_t i = 0; i < bytes; i += sizeof(std::uint64_t)) {
    const std::uint64_t word = rng();
    std::memcpy(into.data() + i, &word, std::min(sizeof(word), bytes - i));
  }
  block.checksum = checksum_of(into);
  return block;
}

// Gathers what a receive() brings, copies the blocks and gives their slots back.
class Collector final : public Receiver {
 public:
  explicit Collector(Node& node, bool keeps_slots = false)
      : arena_(node.arena()), keeps_slots_(keeps_slots) {}

  void on_block(const BlockDescriptor& block) override {
    const auto bytes = arena_.bytes(block.slot).first(block.bytes);
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(result_.has_value()) << "a block after the end";
    blocks_[block.first_token].assign(bytes.begin(), bytes.end());
    if (!keeps_slots_) {
      arena_.unpin(block.slot);
      arena_.free(block.slot);
    }
    changed_.notify_all();
  }

  void on_end(const Result<ReceiveSummary>& result) override {
    std::lock_guard lock(mutex_);
    EXPECT_FALSE(result_.has_value()) << "a second end";
    result_ = result;
    changed_.notify_all();
  }

  // The end, waited for; a failure of the test if it does not come within 10 s.
  Result<ReceiveSummary> result() {
    std::unique_lock lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::seconds(10), [&] { return result_.has_value(); })) {
      return fail(ErrorCode::kInternal, Stage::kRouter, "the test's receive() did not end");
    }
    return *result_;
  }
  [[nodiscard]] bool wait_for_blocks(std::size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(10),
                             [&] { return blocks_.size() >= count; });
  }
  std::map<std::int64_t, std::vector<std::byte>> blocks() {
    std::lock_guard lock(mutex_);
    return blocks_;
  }

 private:
  BlockArena& arena_;
  const bool keeps_slots_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::int64_t, std::vector<std::byte>> blocks_;  // by first token
  std::optional<Result<ReceiveSummary>> result_;
};

inline ReceiveRequest request_to(const std::string& peer, const std::string& engine,
                                 TransferId transfer, Duration limit = std::chrono::seconds(10)) {
  return {.peer = peer,
          .engine_id = engine,
          .epoch = kTestEpoch,
          .transfer = transfer,
          .deadline = Clock::now() + limit};
}

// Looks again every millisecond, for 10 s.
template <class Condition>
[[nodiscard]] bool eventually(Condition condition) {
  const auto until = Clock::now() + std::chrono::seconds(10);
  while (!condition()) {
    if (Clock::now() > until) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace baton::kv
