#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace baton {

using TokenId = std::int32_t;

// Turns text into the token ids of one model. Sources: a GGUF's vocabulary (libllama, vocab_only),
// or an engine's /tokenize behind a cache. Implementations are safe to call from any thread.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  using Done = std::function<void(Result<std::vector<TokenId>>)>;

  // Ids of `text`. `add_special` puts the model's BOS first where the model wants one;
  // `parse_special` reads control tokens written in the text (a rendered chat template does both).
  // `done` runs exactly once: on the calling thread where no I/O is needed, else on the executor
  // that the implementation was given.
  virtual void encode(std::string_view text, bool add_special, bool parse_special, Done done) = 0;

  // True where encode() answers on the calling thread without I/O.
  [[nodiscard]] virtual bool is_local() const = 0;
};

}  // namespace baton
