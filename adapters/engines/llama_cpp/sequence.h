#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "adapters/engines/llama_cpp/engine.h"
#include "adapters/engines/llama_cpp/sampler.h"
#include "kv_transfer/node.h"

namespace baton::adapters {

enum class Phase : std::uint8_t {
  kWaiting,     // for a sequence id and KV cells
  kReceiving,   // its prompt's KV comes from another pod
  kPrefilling,  // computes prompt tokens [computed, prompt - 1)
  kPublishing,  // all computed; its last blocks wait for slots of the arena
  kDecoding,    // computes one token a step, the first of them the last prompt token
};

// One request from submit() to its end. Owned by the engine, on its thread.
struct Sequence {
  EngineRequestId id = 0;
  EngineRequest request;
  std::shared_ptr<EngineSink> sink;
  TimePoint submitted{};

  Phase phase = Phase::kWaiting;
  int slot = 0;                 // sequence id in the context; 0: none yet
  int reserved = 0;             // KV cells
  std::vector<TokenId> tokens;  // prompt, then what was generated
  int prompt = 0;
  int computed = 0;  // leading tokens with KV in the context
  bool started = false;

  // Chain hashes of the blocks that `tokens` fills so far, and how many of them, from the first
  // on, are known to have been stored.
  std::uint64_t seed = 0;
  std::vector<std::uint64_t> chain;
  int stored = 0;

  std::optional<Sampler> sampler;
  EngineUsage usage;
  EngineTimes times;

  // Receiving.
  kv::ReceiveId receive_id = 0;
  std::map<std::int64_t, kv::BlockDescriptor> arrived;  // by first token, each with our pin

  // Publishing.
  bool sealed = false;
  int published = 0;  // leading prompt tokens
  std::optional<TimePoint> starved_since;

  [[nodiscard]] int prefill_end() const { return prompt - 1; }
  [[nodiscard]] int generated() const { return static_cast<int>(tokens.size()) - prompt; }
};

}  // namespace baton::adapters
