#pragma once

#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "core/picking/pick.h"
#include "core/picking/pod_load.h"
#include "core/picking/prefix_index.h"
#include "core/pod.h"
#include "core/prompt_blocks.h"

namespace baton {

// A pool of healthy pods with its tables, for tests of everything that picks.
struct TestPool {
  Snapshot snapshot{.version = 1, .pool = "chat", .pods = {}};
  std::vector<std::shared_ptr<PodEntry>> entries;  // the snapshot's, to be changed
  LoadTable loads;
  PrefixIndex prefixes{Bytes(1 << 20)};
  LatencyModel model;
  PromptHolders holders;
  TimePoint now = TimePoint{} + std::chrono::hours(1);

  PodEntry& add(std::string name, Role role) {
    auto entry = std::make_shared<PodEntry>();
    entry->pod.name = std::move(name);
    entry->pod.role = role;
    entry->pod.facts.bytes_per_token = Bytes(128 << 10);
    entry->state.health = Health::kHealthy;
    entry->index = static_cast<std::uint32_t>(snapshot.pods.size());
    snapshot.pods.push_back(entry);
    entries.push_back(entry);
    return *entry;
  }
  PodState& state_of(std::string_view name) {
    for (const auto& entry : entries) {
      if (entry->pod.name == name) return entry->state;
    }
    throw std::invalid_argument("no such pod in the test");
  }
  // For this prompt, until asked for another one.
  [[nodiscard]] Picking picking(const PromptBlocks& blocks, Tokens prompt) {
    holders.find(blocks, prompt, prefixes, now);
    return {loads, holders, model};
  }
  PodLoad& load(const PodEntry& entry) { return loads.of(entry.index); }
};

// `count` tokens in blocks of 64; prompts of one seed share their beginning.
inline PromptBlocks prompt_of(int count, TokenId seed = 0) {
  std::vector<TokenId> ids;
  for (TokenId i = 0; i < count; ++i) ids.push_back(seed * 100000 + i);
  return PromptBlocks::from_tokens(ids, Tokens(64), "", "");
}

inline std::vector<std::string> names_of(const Candidates& candidates) {
  std::vector<std::string> names;
  for (const PlanCandidate& candidate : candidates) {
    if (candidate.rejected_because.empty()) names.push_back(candidate.pod->pod.name);
  }
  return names;
}

inline double term_of(const PlanCandidate& candidate, std::string_view name) {
  for (const PlanTerm& term : candidate.score.terms()) {
    if (term.name == name) return term.seconds;
  }
  return -1.0;
}

}  // namespace baton
