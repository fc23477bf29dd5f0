#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/tokenizer.h"
#include "core/units.h"

namespace baton {

// Remembers what a slower tokenizer (an engine's /tokenize) answered, so that it is asked once for
// a text. Owned by its pool; any thread; a lock is held for a look-up, never over the inner call.
// Texts are known by their 128-bit hash and not kept. Holds at most `memory` bytes of answers, the
// least recently used go first; failures are not kept. Callers that miss on the same text at once
// each ask.
class CachingTokenizer final : public Tokenizer {
 public:
  CachingTokenizer(std::shared_ptr<Tokenizer> inner, Bytes memory);
  ~CachingTokenizer() override;

  // On a hit `done` runs on the calling thread.
  void encode(std::string_view text, bool add_special, bool parse_special, Done done) override;
  [[nodiscard]] bool is_local() const override { return inner_->is_local(); }

  [[nodiscard]] std::uint64_t hits() const;
  [[nodiscard]] std::uint64_t misses() const;
  [[nodiscard]] Bytes memory_used() const;

 private:
  class Cache;

  std::shared_ptr<Tokenizer> inner_;
  std::shared_ptr<Cache> cache_;  // shared with calls still under way
};

}  // namespace baton
