#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/units.h"
#include "orchestrator/bench/workload/workload.h"

namespace baton::orchestrator::bench {

// Readers of the files that people measure with. Each takes the text and the file's name and fails
// with kInvalidArgument, "FILE:LINE: what is wrong", lines counted from 1; a file without entries
// is an error too. Lines may end in CRLF, the last one in nothing, and blank lines are skipped.
// Entries come out in the order of their times, which start at 0; those of one time keep their
// order in the file.

template <class Entry>
struct Trace {
  std::vector<Entry> entries;
  std::size_t out_of_order = 0;  // entries earlier than one before them in the file
  std::size_t skipped = 0;       // conversations without a question and its answer
};

// Lengths above this are taken for a mistake in the file.
inline constexpr int kMostTraceTokens = 1 << 24;

struct MooncakeEntry {
  Duration at{};
  int input_tokens = 0;
  int output_tokens = 0;
  std::vector<std::uint64_t> hash_ids;  // one a block of the input; empty: nothing is shared
};
// JSON Lines {"timestamp": ms, "input_length", "output_length", "hash_ids"}, as published with
// Mooncake (FAST '25). With hash_ids there is one for each `block_tokens` of the input, begun
// blocks included.
[[nodiscard]] Result<Trace<MooncakeEntry>> read_mooncake(std::string_view text,
                                                         std::string_view file,
                                                         int block_tokens = 512);

struct AzureEntry {
  Duration at{};
  int input_tokens = 0;
  int output_tokens = 0;
};
// CSV with a header that names TIMESTAMP, ContextTokens and GeneratedTokens in any order, as in
// Azure's public LLM inference traces of 2023 and 2024: "2023-11-16 18:17:03.9799600,4808,10",
// fraction and offset from UTC optional.
[[nodiscard]] Result<Trace<AzureEntry>> read_azure(std::string_view text, std::string_view file);

struct ShareGptEntry {
  std::vector<Turn> turns;  // the first question of a human, after the system turn if there is one
  std::string answer;       // the first one after it
};
// Which conversations to keep, and how many; called in the file's order.
struct ShareGptFilter {
  std::function<bool(const ShareGptEntry&)> keep;  // none: all
  std::size_t limit = 0;                           // entries; 0: all. What follows is not read
};
// A JSON array of {"conversations": [{"from": "human", "value"}, {"from": "gpt", "value"}, …]}.
// Also taken: "conversation" for the list; "role" and "content" for a turn's members; user,
// assistant, chatgpt, bing and bard for its speaker; and turns {"human": …, "assistant": …}.
[[nodiscard]] Result<Trace<ShareGptEntry>> read_sharegpt(std::string_view text,
                                                         std::string_view file,
                                                         const ShareGptFilter& filter = {});

struct CustomEntry {
  std::vector<Turn> turns;
  std::optional<int> max_tokens;
  std::string model;
  int priority = 0;
  std::optional<Duration> at;  // all entries have one, or none
};
// JSON Lines {"prompt": text} or {"messages": [{"role", "content": text or text parts}]}, with
// optional "output_tokens" (vLLM's name) or "max_tokens", "model", "priority", "timestamp" in ms.
// Other members are ignored.
[[nodiscard]] Result<Trace<CustomEntry>> read_custom(std::string_view text, std::string_view file);

}  // namespace baton::orchestrator::bench
