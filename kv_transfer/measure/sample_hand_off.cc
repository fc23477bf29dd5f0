#include "kv_transfer/measure/sample_hand_off.h"

#include <algorithm>
#include <cstring>
#include <future>
#include <random>
#include <span>
#include <thread>
#include <utility>

namespace baton::kv {
namespace {

constexpr const char* kEngine = "baton-kv-perf";
constexpr std::uint64_t kLayout = 1;  // of random bytes
constexpr int kBlockTokens = 64;

Result<std::unique_ptr<Node>> start_node(const SampleSide& side, const BlockShape& shape) {
  auto arena = BlockArena::create(Bytes(shape.bytes), shape.blocks);
  if (!arena) return std::unexpected(arena.error());
  NodeOptions options;
  options.listen = side.listen;
  options.engine_id = kEngine;
  options.epoch = side.epoch;
  options.layout_hash = kLayout;
  options.transports = {side.transport};
  options.require_transport = side.transport;
  options.lease_ttl = std::chrono::minutes(5);
  return Node::start(std::move(options), std::move(*arena));
}

// The slots that this arena gives out from now on come in random order.
void shuffle_slots(BlockArena& arena) {
  for (const SlotRef slot : slots_in_random_order(arena, 2)) arena.free(slot);
}

class Sink final : public Receiver {
 public:
  explicit Sink(BlockArena& arena) : arena_(arena) {}
  void on_block(const BlockDescriptor& block) override {
    arena_.unpin(block.slot);
    arena_.free(block.slot);
  }
  void on_end(const Result<ReceiveSummary>& result) override { end_.set_value(result); }
  Result<ReceiveSummary> wait() { return end_.get_future().get(); }

 private:
  BlockArena& arena_;
  std::promise<Result<ReceiveSummary>> end_;
};

}  // namespace

std::vector<SlotRef> slots_in_random_order(BlockArena& arena, unsigned seed) {
  std::vector<SlotRef> slots;
  while (const auto slot = arena.allocate()) slots.push_back(*slot);
  std::ranges::shuffle(slots, std::mt19937(seed));
  return slots;
}

BlockDescriptor sample_block(BlockArena& arena, SlotRef slot, std::mt19937_64& rng) {
  const auto bytes = arena.bytes(slot);
  for (std::size_t at = 0; at < bytes.size(); at += sizeof(std::uint64_t)) {
    const std::uint64_t word = rng();
    std::memcpy(bytes.data() + at, &word, std::min(sizeof word, bytes.size() - at));
  }
  return {.first_token = 0,
          .token_count = kBlockTokens,
          .slot = slot,
          .bytes = static_cast<std::uint32_t>(bytes.size()),
          .checksum = checksum_of(bytes)};
}

Result<SampleProducer> SampleProducer::start(const SampleSide& side, const BlockShape& shape) {
  auto node = start_node(side, shape);
  if (!node) return std::unexpected(node.error());
  shuffle_slots((*node)->arena());
  std::mt19937_64 rng(1);
  std::vector<BlockDescriptor> blocks;
  while (const auto slot = (*node)->arena().allocate()) {
    blocks.push_back(sample_block((*node)->arena(), *slot, rng));
    blocks.back().first_token = static_cast<std::int64_t>(blocks.size() - 1) * kBlockTokens;
  }
  return SampleProducer(std::move(*node), std::move(blocks));
}

void SampleProducer::offer(TransferId transfer) {
  node_->open_lease(transfer, static_cast<std::int64_t>(blocks_.size()) * kBlockTokens, 0);
  node_->publish(transfer, blocks_);
  node_->seal(transfer);
}

void SampleProducer::offer(TransferId transfer, const Lots& lots) {
  node_->open_lease(transfer, std::int64_t{lots.end - lots.first} * kBlockTokens, 0);
  TimePoint next = Clock::now();
  for (int first = lots.first; first < lots.end; first += lots.lot) {
    next += lots.pace;
    std::this_thread::sleep_until(next);
    const int end = std::min(lots.end, first + lots.lot);
    node_->publish(transfer, {blocks_.begin() + first, blocks_.begin() + end});
  }
  node_->seal(transfer);
}

Result<SampleConsumer> SampleConsumer::start(const SampleSide& side, const BlockShape& shape) {
  auto node = start_node(side, shape);
  if (!node) return std::unexpected(node.error());
  shuffle_slots((*node)->arena());
  return SampleConsumer(std::move(*node));
}

Result<ReceiveSummary> SampleConsumer::fetch(const std::string& producer, std::uint64_t epoch,
                                             TransferId transfer, Duration limit) {
  const auto sink = std::make_shared<Sink>(node_->arena());
  node_->receive({.peer = producer,
                  .engine_id = kEngine,
                  .epoch = epoch,
                  .transfer = transfer,
                  .deadline = Clock::now() + limit},
                 sink);
  return sink->wait();
}

}  // namespace baton::kv
