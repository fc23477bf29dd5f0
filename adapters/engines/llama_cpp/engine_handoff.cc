#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "adapters/engines/llama_cpp/engine_impl.h"
#include "core/log.h"

namespace baton::adapters {
namespace {

// A publisher gives up when no slot got free for so long.
constexpr Duration kSlotPatience = std::chrono::seconds(10);
// Bounds a reader whose producer queues or computes for long; a dead one is found by heartbeats.
constexpr Duration kReceiveDeadline = std::chrono::seconds(120);

// Brings what the Node reports for one request to the engine thread.
class QueueReceiver final : public kv::Receiver {
 public:
  QueueReceiver(std::shared_ptr<EngineQueue> queue, EngineRequestId id, kv::BlockArena& arena)
      : queue_(std::move(queue)), id_(id), arena_(arena) {}

  void on_block(const kv::BlockDescriptor& block) override {
    if (queue_->push(BlockArrived{id_, block})) return;
    arena_.unpin(block.slot);
    arena_.free(block.slot);
  }
  void on_end(const Result<kv::ReceiveSummary>& result) override {
    queue_->push(ReceiveEnded{id_, result});
  }

 private:
  const std::shared_ptr<EngineQueue> queue_;
  const EngineRequestId id_;
  kv::BlockArena& arena_;
};

kv::BlockDescriptor describe(const StoredBlock& block, int first, std::uint64_t content_hash) {
  return {.first_token = first,
          .token_count = block.tokens,
          .slot = block.slot,
          .bytes = block.bytes,
          .checksum = block.checksum,
          .content_hash = content_hash};
}

}  // namespace

// What is stored already is offered at once; only the rest is computed.
void EngineImpl::begin_publish(Sequence& sequence) {
  const std::vector<std::uint64_t> held = held_prefix(sequence);
  std::vector<kv::BlockDescriptor> offered;
  for (const std::uint64_t hash : held) {
    const StoredBlock& block = *blocks_.find(hash);
    offered.push_back(describe(block, sequence.published, block.tokens == block_ ? hash : 0));
    sequence.published += block.tokens;
  }
  sequence.usage.cached_tokens = sequence.published;
  stats_.cached_tokens.fetch_add(sequence.published, std::memory_order_relaxed);
  node_->open_lease(*sequence.request.publish, sequence.prompt, sequence.published);
  if (!offered.empty()) node_->publish(*sequence.request.publish, std::move(offered));

  if (sequence.published == sequence.prefill_end()) {
    sequence.times.queue = Clock::now() - sequence.submitted;
    sequence.phase = Phase::kPublishing;
    return publish_computed(sequence);
  }
  import_held(sequence, held);
  sequence.phase = Phase::kPrefilling;
}

// Publishes what is computed, all of it with one message, as far as there are slots.
void EngineImpl::publish_computed(Sequence& sequence) {
  const TransferId id = *sequence.request.publish;
  const int end = sequence.prefill_end();
  const int computed = std::min(sequence.computed, end);
  std::vector<kv::BlockDescriptor> fresh;
  std::optional<Error> starved;
  while (sequence.published < end && !starved) {
    const int first = sequence.published;
    const int count = std::min(block_, end - first);
    if (first + count > computed) break;
    const bool full = count == block_;
    const std::uint64_t hash =
        full ? sequence.chain[static_cast<std::size_t>(first / block_)] : hash_of_tail(sequence);
    const Result<StoredBlock> block = store_range(sequence, first, count, computed - first, hash);
    if (!block) {
      starved = block.error();
      break;
    }
    sequence.starved_since.reset();
    fresh.push_back(describe(*block, first, full ? hash : 0));
    // The next block must not evict it before the lease has it; store_range() just found it.
    if (!arena_.pin(block->slot)) std::abort();
    sequence.published += count;
  }
  if (!fresh.empty()) node_->publish(id, fresh);
  for (const kv::BlockDescriptor& block : fresh) arena_.unpin(block.slot);
  if (starved) return wait_for_slots(sequence, *starved);
  if (sequence.published < end) return;
  node_->seal(id);
  sequence.sealed = true;
  finish(sequence, FinishReason::kStop);
}

// A publisher without slots tries again until its patience ends.
void EngineImpl::wait_for_slots(Sequence& sequence, const Error& error) {
  const TimePoint now = Clock::now();
  if (!sequence.starved_since) sequence.starved_since = now;
  const bool worth_waiting =
      error.code == ErrorCode::kUnavailable && now - *sequence.starved_since < kSlotPatience;
  if (!worth_waiting) fail_sequence(sequence, error);
}

void EngineImpl::publish_waiting() {
  std::vector<Sequence*> starved;
  for (const auto& [id, sequence] : sequences_) {
    if (sequence->phase == Phase::kPublishing) starved.push_back(sequence.get());
  }
  for (Sequence* sequence : starved) publish_computed(*sequence);
}

int EngineImpl::slots_needed(const Sequence& sequence) const {
  const int blocks = (sequence.prefill_end() + block_ - 1) / block_;
  return blocks - (sequence.published + block_ - 1) / block_;
}

// Slots are promised to a publisher when it is admitted, so that two of them cannot each hold half
// of what the other needs.
bool EngineImpl::has_slots_for(const Sequence& newcomer) const {
  int promised = slots_needed(newcomer);
  for (const auto& [id, sequence] : sequences_) {
    if (sequence->request.publish && sequence->phase != Phase::kWaiting) {
      promised += slots_needed(*sequence);
    }
  }
  const kv::BlockArena::Counts counts = arena_.counts();
  return counts.pinned + promised <= counts.total;
}

void EngineImpl::begin_receive(Sequence& sequence) {
  const HandoffSource& source = *sequence.request.receive;
  sequence.times.queue = Clock::now() - sequence.submitted;
  const std::vector<std::uint64_t> held = held_prefix(sequence);
  import_held(sequence, held);
  sequence.usage.held_blocks = sequence.computed == 0 ? 0 : static_cast<int>(held.size());
  sequence.phase = Phase::kReceiving;
  sequence.receive_id =
      node_->receive({.peer = source.kv_address,
                      .engine_id = source.engine_id,
                      .epoch = source.epoch,
                      .transfer = source.transfer_id,
                      .from_token = sequence.computed,
                      .deadline = Clock::now() + kReceiveDeadline},
                     std::make_shared<QueueReceiver>(queue_, sequence.id, arena_));
}

void EngineImpl::take_block(const BlockArrived& arrived) {
  Sequence* sequence = find(arrived.id);
  if (sequence == nullptr || sequence->phase != Phase::kReceiving ||
      !sequence->arrived.emplace(arrived.block.first_token, arrived.block).second) {
    return give_back(arrived.block);
  }
  import_arrived(*sequence);
}

// Puts what has arrived in place, in the order of positions, so that cells lie in that order too.
void EngineImpl::import_arrived(Sequence& sequence) {
  while (!sequence.arrived.empty() && sequence.arrived.begin()->first <= sequence.computed) {
    const kv::BlockDescriptor block = sequence.arrived.begin()->second;
    sequence.arrived.erase(sequence.arrived.begin());
    if (!import_block(sequence, block)) {
      give_back(block);
      fail_sequence(sequence, {ErrorCode::kCorrupt, Stage::kHandoff,
                               fmt::format("the block at token {} is not one of this prompt",
                                           block.first_token),
                               true});
      return;
    }
    if (block.token_count == block_) {  // keeps the slot: the block is a prefix for others
      arena_.unpin(block.slot);
      blocks_.insert(block.content_hash, {.slot = block.slot,
                                          .bytes = block.bytes,
                                          .checksum = block.checksum,
                                          .tokens = block.token_count});
      ++sequence.stored;
    } else {
      give_back(block);
    }
  }
}

bool EngineImpl::import_block(Sequence& sequence, const kv::BlockDescriptor& block) {
  const int count = std::min(block_, sequence.prefill_end() - sequence.computed);
  if (block.first_token != sequence.computed || block.token_count != count) return false;
  if (count == block_ &&
      block.content_hash != sequence.chain[static_cast<std::size_t>(sequence.computed / block_)]) {
    return false;
  }
  const std::span<const std::byte> bytes = arena_.bytes(block.slot);
  if (block.bytes > bytes.size() ||
      !runtime_.import_range(sequence.slot, sequence.computed, count, bytes.first(block.bytes))) {
    return false;
  }
  sequence.computed += count;
  return true;
}

void EngineImpl::end_receive(const ReceiveEnded& ended) {
  Sequence* sequence = find(ended.id);
  if (sequence == nullptr || sequence->phase != Phase::kReceiving) return;
  sequence->receive_id = 0;
  if (!ended.result) {
    Error error = ended.result.error();
    error.stage = Stage::kHandoff;
    error.retryable = true;
    return fail_sequence(*sequence, std::move(error));
  }
  const kv::ReceiveSummary& summary = *ended.result;
  if (summary.prompt_tokens != sequence->prompt || sequence->computed != sequence->prefill_end()) {
    return fail_sequence(
        *sequence, {ErrorCode::kCorrupt, Stage::kHandoff,
                    fmt::format("the hand-off brought {} of {} prompt tokens, for a prompt of {}",
                                sequence->computed, sequence->prefill_end(), summary.prompt_tokens),
                    true});
  }
  sequence->usage.cached_tokens = static_cast<int>(summary.cached_tokens);
  sequence->usage.received_bytes = summary.bytes;
  sequence->usage.received_blocks = summary.blocks;
  sequence->usage.transport = summary.transport;
  sequence->times.exposed_transfer = std::max(Duration::zero(), Clock::now() - summary.sealed_at);
  sequence->phase = Phase::kDecoding;
}

void EngineImpl::give_back(const kv::BlockDescriptor& block) {
  arena_.unpin(block.slot);
  arena_.free(block.slot);
}

// Ends the request's part in a hand-off that did not succeed; the peer is told.
void EngineImpl::abandon_handoff(Sequence& sequence, const Error& reason) {
  if (node_ == nullptr) return;
  if (sequence.request.publish && !sequence.sealed) node_->abort(*sequence.request.publish, reason);
  if (sequence.receive_id != 0) node_->cancel(sequence.receive_id);
  for (const auto& [first, block] : sequence.arrived) give_back(block);
  sequence.arrived.clear();
}

}  // namespace baton::adapters
