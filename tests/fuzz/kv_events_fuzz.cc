// Whatever a publisher sends is refused, or becomes events that the index takes in within its
// bounds. The payload is applied twice with the rank cleared between, so that what is left
// over from the first time would show.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <variant>

#include "adapters/kv_events/event_decoder.h"
#include "core/picking/kv_event_index.h"

namespace {

using namespace baton;

constexpr std::size_t kMaxBlocks = 64;

void require(bool holds) {
  if (!holds) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view payload(reinterpret_cast<const char*>(data), size);
  const auto batch = adapters::decode_kv_events(payload);
  if (!batch) return 0;
  static PrefixIndex prefixes(Bytes(1 << 20));
  KvEventIndex index(prefixes, 0, Tokens(4), 1, kMaxBlocks);
  for (int round = 0; round < 2; ++round) {
    for (const KvEvent& event : batch->events) {
      if (const auto* stored = std::get_if<KvBlocksStored>(&event)) {
        require(stored->blocks.size() + stored->tokens.size() <= size);
      }
      index.apply(0, event, TimePoint{});
      require(index.blocks_held() <= kMaxBlocks);
    }
    index.clear(0);
    require(index.blocks_held() == 0);
  }
  require(prefixes.elements() == 0);
  return 0;
}
