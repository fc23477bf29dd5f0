#pragma once

#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/units.h"
#include "kv_transfer/measure/block_shape.h"
#include "kv_transfer/node.h"

namespace baton::kv {

// Both sides of a hand-off that is made only to be measured: blocks of random bytes, which lie in
// random order on either side. Owned by a benchmark's process; on one thread.

// All free slots of an arena, now the caller's.
[[nodiscard]] std::vector<SlotRef> slots_in_random_order(BlockArena& arena, unsigned seed);
// A slot filled with random bytes, as a block of 64 tokens from the first one on.
[[nodiscard]] BlockDescriptor sample_block(BlockArena& arena, SlotRef slot, std::mt19937_64& rng);

// Where a side is and what it may use. The engine and the layout are the same for all of them.
struct SampleSide {
  std::string listen = "127.0.0.1:0";
  std::string transport;  // this one only
  std::uint64_t epoch = 0;
};

class SampleProducer {
 public:
  // Takes the memory and fills it. Errors: as of BlockArena::create() and Node::start().
  [[nodiscard]] static Result<SampleProducer> start(const SampleSide& side,
                                                    const BlockShape& shape);

  // Opens a lease with all the blocks and seals it; it waits long enough for any reader.
  void offer(TransferId transfer);
  // Those from `first` on (all of them, if it is 0) up to `end` as prefill does it: `lot` at a
  // time, each after `pace`, and the seal with the last. Blocks the thread meanwhile.
  struct Lots {
    int first = 0;
    int end = 0;
    int lot = 1;
    Duration pace{};
  };
  void offer(TransferId transfer, const Lots& lots);
  [[nodiscard]] const std::string& address() const { return node_->address(); }

 private:
  SampleProducer(std::unique_ptr<Node> node, std::vector<BlockDescriptor> blocks)
      : node_(std::move(node)), blocks_(std::move(blocks)) {}
  std::unique_ptr<Node> node_;
  std::vector<BlockDescriptor> blocks_;
};

class SampleConsumer {
 public:
  [[nodiscard]] static Result<SampleConsumer> start(const SampleSide& side,
                                                    const BlockShape& shape);

  // Fetches all the blocks of a lease, each verified by its checksum, and gives their places back.
  // Blocks until it has them. Errors: as of Receiver::on_end().
  [[nodiscard]] Result<ReceiveSummary> fetch(const std::string& producer, std::uint64_t epoch,
                                             TransferId transfer, Duration limit);

 private:
  explicit SampleConsumer(std::unique_ptr<Node> node) : node_(std::move(node)) {}
  std::unique_ptr<Node> node_;
};

}  // namespace baton::kv
