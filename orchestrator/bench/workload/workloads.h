#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/units.h"
#include "orchestrator/bench/workload/prompt_builder.h"
#include "orchestrator/bench/workload/workload.h"

namespace baton::orchestrator::bench {

enum class WorkloadKind : std::uint8_t {
  kRandom,        // "random": prompts that share nothing
  kSharedPrefix,  // "shared-prefix": groups of prompts that begin alike
  kSessions,      // "sessions": conversations that grow by their own answers
  kMooncake,      // "mooncake": a JSONL trace with block hashes
  kAzure,         // "azure": a CSV trace of times and lengths
  kShareGpt,      // "sharegpt": first questions of real conversations
  kCustom,        // "custom": prompts of the user's own
};
[[nodiscard]] const char* name_of(WorkloadKind kind);
// Errors: kInvalidArgument that lists the kinds.
[[nodiscard]] Result<WorkloadKind> parse_workload_kind(std::string_view name);

// Something that a share of the requests has; weights need not add up to 1.
template <class Value>
struct Share {
  Value value{};
  double weight = 1;
};
using ModelMix = std::vector<Share<std::string>>;
using PriorityMix = std::vector<Share<int>>;
// "base=3,sql-lora=1"; a name without a weight weighs 1. Errors: kInvalidArgument.
[[nodiscard]] Result<ModelMix> parse_model_mix(std::string_view text);
// "adapter-0" and so on, each as popular as 1 / rank^zipf says; 0: all alike.
[[nodiscard]] ModelMix adapter_mix(int adapters, double zipf);
// "0=0.9,5=0.1". Errors: kInvalidArgument.
[[nodiscard]] Result<PriorityMix> parse_priority_mix(std::string_view text);

// Everything that decides a workload, but for the words of its prompts. Lengths are in tokens, of
// prompts as the server counts them (PromptBuilder takes its overhead off).
struct WorkloadSpec {
  WorkloadKind kind = WorkloadKind::kRandom;
  std::uint64_t seed = 0;
  std::size_t limit = 0;  // at most so many requests; 0: as many as there are

  int input_tokens = 1024;  // random
  int output_tokens = 128;  // of every kind but traces; custom: where a line says nothing
  // Lengths are drawn evenly from [n (1 - r), n (1 + r)] (vLLM's --random-range-ratio); in [0, 1).
  double range_ratio = 0;  // random, sessions

  int groups = 8;  // shared prefix
  int prompts_per_group = 16;
  int prefix_tokens = 2048;
  int question_tokens = 128;
  double zipf = 0;  // above 0: groups are drawn with weight 1 / rank^zipf, instead of evenly

  int sessions = 16;
  int turns = 4;
  int first_tokens = 1024;  // of a session's first turn
  int turn_tokens = 128;    // of each later one
  Duration think_time{};    // from an answer to the next turn

  std::string file;           // traces, ShareGPT, custom
  double time_scale = 1;      // 2: a trace plays in half its time
  int block_tokens = 512;     // of Mooncake's hash ids
  int max_input_tokens = 0;   // 0: none. Traces are cut to it; ShareGPT leaves longer prompts out;
                              // custom prompts stay as they are
  int max_output_tokens = 0;  // 0: none. Of files: longer answers are cut to it

  ModelMix models;         // empty: the run's model. Entries that name their own keep it
  PriorityMix priorities;  // of requests whose entry names none but 0
  double leave_share = 0;  // of requests that are cancelled after some of their tokens
};

// The workload of a spec; reads its file. Builds each request's prompt when it is asked for, and
// holds none of them. `prompts` must outlive it. Models, priorities and who leaves are drawn by
// seed and request, or session: all turns of one have the same model and priority. Errors:
// kInvalidArgument, which names the option or FILE:LINE.
[[nodiscard]] Result<std::unique_ptr<Workload>> make_workload(const WorkloadSpec& spec,
                                                              const PromptBuilder& prompts);

}  // namespace baton::orchestrator::bench
