#pragma once

#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/engines/engine_tokenizer.h"
#include "core/error.h"
#include "core/tokenizer.h"
#include "orchestrator/bench/workload/word_costs.h"
#include "orchestrator/bench/workload/workload.h"

namespace baton::orchestrator::bench {

// Counts on the calling thread. The tokenizer is a local one.
[[nodiscard]] CountTokens count_locally(std::shared_ptr<Tokenizer> tokenizer);

// Counts by the server's POST /tokenize, some texts at a time; runs `io` meanwhile, which nobody
// else runs. Holds connections of `io` until it is destroyed.
[[nodiscard]] CountTokens count_at_server(boost::asio::io_context& io,
                                          adapters::EngineAddress server, std::string model);

// What a server said of a prompt of so many characters, for calibrate().
struct CalibrationPoint {
  std::size_t characters = 0;
  int prompt_tokens = 0;  // usage.prompt_tokens
};
struct Calibration {
  double tokens_per_character = 0.25;
  int overhead = 0;  // tokens of a prompt without characters: the template's
};
// The line of least squares through the points; with one length alone, through 0. Errors:
// kInvalidArgument where there is no point, or tokens do not grow with characters.
[[nodiscard]] Result<Calibration> calibrate(std::span<const CalibrationPoint> points);
// A text of exactly so many characters, of the words that prompts are built of; what to send to
// learn the points.
[[nodiscard]] std::string calibration_text(std::size_t characters);

// Tokens that a server adds to a text of `built_tokens` (BOS, chat template), if it reported so
// many in usage.prompt_tokens; 0 where it reported fewer.
[[nodiscard]] int measured_overhead(int reported_prompt_tokens, int built_tokens);

// Ids that a prompt of token ids may hold, inclusive.
struct TokenIdRange {
  int first = 0;
  int last = 0;
};

// How far finished prompts were from what was asked, where a sample of them was tokenized whole.
struct PromptError {
  int sampled = 0;
  int max_tokens_off = 0;
};

// A part of a prompt: the same id, length and builder give the same text.
struct Piece {
  std::uint64_t id = 0;
  int tokens = 0;
};

// Builds prompts of an exact token count, the same for the same seed and ids. Made before a run by
// whoever set it up; const after set_overhead(), and then used from any thread. Promises that the
// counts of blocks add up when they are put together; where the source of counts cannot keep that,
// error() says how far off a sample was.
class PromptBuilder {
 public:
  // Of a vocabulary that is here; `file` is for source(). Errors: the tokenizer's.
  [[nodiscard]] static Result<PromptBuilder> from_vocabulary(std::shared_ptr<Tokenizer> tokenizer,
                                                             std::string_view file,
                                                             std::uint64_t seed);
  // Of the server's /tokenize, asked only here (`io` runs meanwhile). Errors: the server's.
  [[nodiscard]] static Result<PromptBuilder> from_server(boost::asio::io_context& io,
                                                         adapters::EngineAddress server,
                                                         std::string model, std::uint64_t seed);
  // Of any counts. Learns what words cost, then counts a sample of prompts; where tokens do not add
  // up, lengthens all prompts in proportion, if that brings the sample nearer.
  [[nodiscard]] static Result<PromptBuilder> from_counts(std::string source,
                                                         const CountTokens& count,
                                                         std::uint64_t seed);
  [[nodiscard]] static PromptBuilder from_characters(const Calibration& calibration,
                                                     std::uint64_t seed);
  [[nodiscard]] static PromptBuilder from_token_ids(TokenIdRange range, std::uint64_t seed);

  // "server /tokenize", "GGUF vocabulary FILE", "calibrated characters" or "token ids".
  [[nodiscard]] const std::string& source() const { return source_; }
  [[nodiscard]] PromptError error() const { return error_; }
  [[nodiscard]] bool makes_token_ids() const { return range_.last > 0; }

  // Tokens that the server adds to each prompt. Until it is set: what the tokenizer adds to any
  // text, which is right for completions.
  void set_overhead(int tokens) { overhead_tokens_ = tokens; }
  [[nodiscard]] int overhead() const { return overhead_tokens_; }

  // A text of `tokens` tokens without any overhead; empty for token ids.
  [[nodiscard]] std::string block(std::uint64_t id, int tokens) const;
  // Puts the pieces together as the prompt of `request`, and sets its prompt_tokens. The overhead
  // is taken off the end, so that the server counts as many tokens as the pieces have, but never so
  // much that nothing is left.
  void build(std::span<const Piece> pieces, WorkloadRequest& request) const;

  // Tokens of any text, without overhead: exact with a vocabulary that is here, else from the bytes
  // of its kind of text.
  [[nodiscard]] int count(std::string_view text) const;

 private:
  PromptBuilder(std::string source, std::uint64_t seed);
  void use(WordCosts costs);
  // Appends a block; returns its tokens, which are other than asked only where no words and full
  // stop add up to so few.
  int append_block(std::string& text, std::uint64_t id, int tokens) const;
  void append_words(std::string& text, std::uint64_t id, int units) const;
  void append_ids(std::vector<int>& ids, std::uint64_t id, int tokens) const;
  [[nodiscard]] bool words_reach(int units) const;
  [[nodiscard]] int to_units(int tokens) const;

  std::string source_;
  std::uint64_t seed_ = 0;
  int overhead_tokens_ = 0;
  PromptError error_;
  TokenIdRange range_;
  WordCosts costs_;
  std::vector<bool> reach_;  // which small sums words make; beyond it all that `period_` allows
  int period_ = 1;           // greatest common divisor of the costs
  std::shared_ptr<Tokenizer> vocabulary_;
};

}  // namespace baton::orchestrator::bench
