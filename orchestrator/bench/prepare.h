#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <memory>
#include <string>

#include "core/error.h"
#include "core/tokenizer.h"
#include "orchestrator/bench/generator/runner.h"
#include "orchestrator/bench/workload/prompt_builder.h"

namespace baton::orchestrator::bench {

enum class PromptSource : std::uint8_t {
  kAuto,        // the server's /tokenize, else characters
  kServer,      // the server's /tokenize
  kVocabulary,  // a tokenizer of ours
  kCharacters,  // calibrated by a few requests
  kTokenIds,    // ids below `token_ids`; completions only
};

struct PromptOptions {
  PromptSource source = PromptSource::kAuto;
  std::shared_ptr<Tokenizer> vocabulary;  // kVocabulary
  std::string vocabulary_file;
  int token_ids = 0;  // kTokenIds: ids are drawn from [0, token_ids)
  std::uint64_t seed = 0;
};

// Finds out what a run must know of its target, by asking it: the model, if `target` names none
// (/v1/models), what a token of prompt is, and what the server adds to each prompt (a request of
// one token). Fills in target.model. Runs `io`. Errors: kUnavailable and kUpstream with one line of
// what the target did instead of answering.
[[nodiscard]] Result<PromptBuilder> prepare(boost::asio::io_context& io, Target& target,
                                            const PromptOptions& options);

}  // namespace baton::orchestrator::bench
