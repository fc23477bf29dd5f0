#include "orchestrator/bench/workload/prompt_builder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cassert>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <utility>

#include "orchestrator/bench/workload/draws.h"

namespace baton::orchestrator::bench {
namespace {

// Sums of word costs up to this are looked up. Words that cost more than kMostUnits, of which no
// vocabulary should have any, are not used; above kMostUnits squared, all multiples of the costs'
// greatest common divisor are sums of them.
constexpr int kMostUnits = 32;
constexpr int kTable = kMostUnits * kMostUnits + kMostUnits;
constexpr double kBytesAToken = 4;  // of English, where nothing better is known

// Finished prompts that are counted whole, as the lengths of their blocks; 0: none.
using SampleBlocks = std::array<int, 3>;
constexpr auto kSamples = std::to_array<SampleBlocks>(
    {{16}, {64}, {100}, {257}, {512}, {512, 257}, {100, 100, 100}, {1024}});
constexpr std::uint64_t kSampleIds = 0xF1E1'D000'0000'0000;

// Largest deviation of the samples, and what they were asked to have and did have together.
struct Sample {
  int max_off = 0;
  double asked = 0;
  double counted = 0;
};

Result<Sample> count_samples(const PromptBuilder& builder, int start_tokens,
                             const CountTokens& count) {
  std::vector<std::string> texts;
  std::uint64_t id = kSampleIds;
  for (const SampleBlocks& blocks : kSamples) {
    std::string& text = texts.emplace_back();
    for (const int tokens : blocks) text += builder.block(id++, tokens);
  }
  const auto counts = count(texts);
  if (!counts) return std::unexpected(counts.error());
  Sample sample;
  for (std::size_t i = 0; i < texts.size(); ++i) {
    const int asked = std::accumulate(kSamples[i].begin(), kSamples[i].end(), 0);
    const int counted = (*counts)[i] - start_tokens;
    sample.max_off = std::max(sample.max_off, std::abs(counted - asked));
    sample.asked += asked;
    sample.counted += counted;
  }
  return sample;
}

}  // namespace

Result<Calibration> calibrate(std::span<const CalibrationPoint> points) {
  double n = 0;
  double x = 0;
  double y = 0;
  for (const CalibrationPoint& point : points) {
    n += 1;
    x += static_cast<double>(point.characters);
    y += point.prompt_tokens;
  }
  double xx = 0;
  double xy = 0;
  for (const CalibrationPoint& point : points) {
    const double from_mean = static_cast<double>(point.characters) - x / n;
    xx += from_mean * from_mean;
    xy += from_mean * point.prompt_tokens;
  }
  Calibration line;
  line.tokens_per_character = xx > 0 ? xy / xx : y / x;
  if (!(line.tokens_per_character > 0) || !std::isfinite(line.tokens_per_character)) {
    return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
                "the server's usage.prompt_tokens do not grow with the prompt");
  }
  line.overhead =
      static_cast<int>(std::lround(std::max(0.0, (y - line.tokens_per_character * x) / n)));
  return line;
}

std::string calibration_text(std::size_t characters) {
  return PromptBuilder::from_characters({.tokens_per_character = 1, .overhead = 0}, 0)
      .block(characters, static_cast<int>(characters));
}

int measured_overhead(int reported_prompt_tokens, int built_tokens) {
  return std::max(0, reported_prompt_tokens - built_tokens);
}

PromptBuilder::PromptBuilder(std::string source, std::uint64_t seed)
    : source_(std::move(source)), seed_(seed) {
  costs_.tokens_per_byte = 1 / kBytesAToken;
}

Result<PromptBuilder> PromptBuilder::from_vocabulary(std::shared_ptr<Tokenizer> tokenizer,
                                                     std::string_view file, std::uint64_t seed) {
  auto builder =
      from_counts(fmt::format("GGUF vocabulary {}", file), count_locally(tokenizer), seed);
  if (builder) builder->vocabulary_ = std::move(tokenizer);
  return builder;
}

Result<PromptBuilder> PromptBuilder::from_server(boost::asio::io_context& io,
                                                 adapters::EngineAddress server, std::string model,
                                                 std::uint64_t seed) {
  return from_counts("server /tokenize", count_at_server(io, std::move(server), std::move(model)),
                     seed);
}

Result<PromptBuilder> PromptBuilder::from_counts(std::string source, const CountTokens& count,
                                                 std::uint64_t seed) {
  auto costs = learn_word_costs(count);
  if (!costs) return std::unexpected(std::move(costs.error()));
  PromptBuilder builder(std::move(source), seed);
  builder.use(std::move(*costs));
  builder.overhead_tokens_ = builder.costs_.start_tokens;
  const auto sample = count_samples(builder, builder.costs_.start_tokens, count);
  if (!sample) return std::unexpected(sample.error());
  builder.error_ = {static_cast<int>(kSamples.size()), sample->max_off};
  if (sample->max_off == 0 || sample->counted <= 0) return builder;

  PromptBuilder scaled = builder;
  scaled.costs_.units_per_token *= sample->asked / sample->counted;
  const auto again = count_samples(scaled, scaled.costs_.start_tokens, count);
  if (!again) return std::unexpected(again.error());
  scaled.error_.max_tokens_off = again->max_off;
  return again->max_off < sample->max_off ? scaled : builder;
}

PromptBuilder PromptBuilder::from_characters(const Calibration& calibration, std::uint64_t seed) {
  PromptBuilder builder("calibrated characters", seed);
  builder.use(character_costs(calibration.tokens_per_character));
  builder.overhead_tokens_ = calibration.overhead;
  return builder;
}

PromptBuilder PromptBuilder::from_token_ids(TokenIdRange range, std::uint64_t seed) {
  assert(range.first >= 0 && range.last > range.first);
  PromptBuilder builder("token ids", seed);
  builder.range_ = range;
  return builder;
}

void PromptBuilder::use(WordCosts costs) {
  costs_ = std::move(costs);
  period_ = 0;
  reach_.assign(kTable, false);
  reach_[0] = true;
  for (const int units : costs_.units) {
    if (units <= kMostUnits) period_ = std::gcd(period_, units);
  }
  period_ = std::max(1, period_);
  for (int sum = 1; sum < kTable; ++sum) {
    reach_[sum] = std::ranges::any_of(costs_.units, [&](int units) {
      return units <= kMostUnits && units <= sum && reach_[sum - units];
    });
  }
}

bool PromptBuilder::words_reach(int units) const {
  if (units < 0) return false;
  if (units >= kTable) units = kTable - period_ + (units - kTable) % period_;
  return reach_[units];
}

int PromptBuilder::to_units(int tokens) const {
  return static_cast<int>(std::lround(tokens * costs_.units_per_token));
}

std::string PromptBuilder::block(std::uint64_t id, int tokens) const {
  std::string text;
  if (!makes_token_ids()) append_block(text, id, tokens);
  return text;
}

int PromptBuilder::append_block(std::string& text, std::uint64_t id, int tokens) const {
  const int wanted = std::max(0, to_units(tokens));
  const int stop = costs_.full_stop_units;
  int units = wanted;
  const auto ends_with_stop = [&] { return stop > 0 && words_reach(units - stop); };
  while (units > 0 && !words_reach(units) && !ends_with_stop()) --units;
  if (words_reach(units)) {
    append_words(text, id, units);
  } else {
    append_words(text, id, units - stop);
    text += '.';
  }
  if (units == wanted) return tokens;
  return static_cast<int>(std::lround(units / costs_.units_per_token));
}

void PromptBuilder::append_words(std::string& text, std::uint64_t id, int units) const {
  const auto words = prompt_words();
  Draws draws(mix({seed_, id}));
  std::size_t word = 0;  // the head word, where it fits
  while (units > 0) {
    while (costs_.units[word] > kMostUnits || !words_reach(units - costs_.units[word])) {
      word = (word + 1) % words.size();
    }
    text.append(" ").append(words[word]);
    units -= costs_.units[word];
    word = draws.below(words.size());
  }
}

void PromptBuilder::append_ids(std::vector<int>& ids, std::uint64_t id, int tokens) const {
  Draws draws(mix({seed_, id}));
  for (int i = 0; i < tokens; ++i) ids.push_back(draws.between(range_.first, range_.last));
}

void PromptBuilder::build(std::span<const Piece> pieces, WorkloadRequest& request) const {
  int total = 0;
  for (const Piece& piece : pieces) total += piece.tokens;
  int left = std::max(1, total - overhead_tokens_);
  request.prompt_tokens = overhead_tokens_;
  std::string text;
  for (const Piece& piece : pieces) {
    const int tokens = std::min(piece.tokens, left);
    left -= tokens;
    if (makes_token_ids()) {
      append_ids(request.token_ids, piece.id, tokens);
      request.prompt_tokens += tokens;
    } else {
      request.prompt_tokens += append_block(text, piece.id, tokens);
    }
  }
  if (!makes_token_ids()) request.turns.push_back({"user", std::move(text)});
}

int PromptBuilder::count(std::string_view text) const {
  if (text.empty()) return 0;
  if (vocabulary_) {
    const auto counts = count_locally(vocabulary_)({std::string(text)});
    if (counts) return std::max(1, counts->front() - costs_.start_tokens);
  }
  return static_cast<int>(std::ceil(static_cast<double>(text.size()) * costs_.tokens_per_byte));
}

}  // namespace baton::orchestrator::bench
