#include "adapters/engines/mock/kv_event_sink.h"

#include <string>
#include <utility>

namespace baton::adapters::mock {

void KvEventSink::stored(const engine_model::BlocksStored& blocks) {
  KvBlocksStored event;
  event.blocks.assign(blocks.hashes.begin(), blocks.hashes.end());
  event.parent = blocks.parent;
  event.tokens.assign(blocks.tokens.begin(), blocks.tokens.end());
  event.block_tokens = static_cast<std::uint64_t>(blocks.block_tokens.count());
  event.lora = std::string(blocks.lora);
  publisher_->publish({KvEvent(std::move(event))});
}

void KvEventSink::removed(std::span<const std::uint64_t> hashes) {
  KvBlocksRemoved event;
  event.blocks.assign(hashes.begin(), hashes.end());
  publisher_->publish({KvEvent(std::move(event))});
}

void KvEventSink::cleared() { publisher_->publish({KvEvent(KvBlocksCleared())}); }

}  // namespace baton::adapters::mock
