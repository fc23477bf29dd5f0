#pragma once

#include <cstddef>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/picking/kv_event.h"

namespace baton::adapters {

struct KvEventBatch {
  std::vector<KvEvent> events;     // in the order in which they happened
  std::size_t unknown_events = 0;  // of types that this decoder has not heard of
};

// Reads the payload of one message of a vLLM or SGLang publisher: MessagePack of
// `[timestamp, events, rank?]`. An event is a map with its `type` (vLLM from 0.24 on:
// vllm/distributed/kv_events.py, BlockStored) or an array with it in front (vLLM before that;
// SGLang: python/sglang/srt/disaggregation/kv_events.py), which grew at its end from version to
// version and may end with a map of further members. Members and events that are not known are
// passed over. Errors: kUpstream; nothing of such a batch is to be used, and as some of it may have
// been removals, nor is what was known before.
[[nodiscard]] Result<KvEventBatch> decode_kv_events(std::string_view payload);

}  // namespace baton::adapters
