#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "orchestrator/bench/workload/draws.h"
#include "orchestrator/bench/workload/workloads.h"

namespace baton::orchestrator::bench {

// What the kinds of workload share; make_workload() has checked the spec.

// What a draw or a piece of text is for, so that two purposes never draw alike.
enum class Purpose : std::uint64_t {
  kLengths = 1,
  kQuestion,
  kPrefix,
  kGroup,
  kTurn,
  kBlock,
  kModel,
  kPriority,
  kLeave,
};
[[nodiscard]] inline std::uint64_t key_of(Purpose purpose, std::uint64_t a, std::uint64_t b = 0) {
  return mix({static_cast<std::uint64_t>(purpose), a, b});
}

// Drawn as vLLM draws `--random-range-ratio`; at least 1.
[[nodiscard]] int draw_length(int tokens, double range_ratio, Draws& draws);

// 12031 as "12,031".
[[nodiscard]] std::string grouped(std::uint64_t number);
// The last part of a path.
[[nodiscard]] std::string_view file_name(std::string_view path);
[[nodiscard]] std::size_t limited(std::size_t size, std::size_t limit);

[[nodiscard]] std::unique_ptr<Workload> make_random(const WorkloadSpec& spec,
                                                    const PromptBuilder& prompts);
[[nodiscard]] std::unique_ptr<Workload> make_shared_prefix(const WorkloadSpec& spec,
                                                           const PromptBuilder& prompts);
[[nodiscard]] std::unique_ptr<Workload> make_sessions(const WorkloadSpec& spec,
                                                      const PromptBuilder& prompts);
// Of the text of the spec's file. Errors: the readers' (traces.h).
[[nodiscard]] Result<std::unique_ptr<Workload>> make_mooncake(const WorkloadSpec& spec,
                                                              const PromptBuilder& prompts,
                                                              std::string_view text);
[[nodiscard]] Result<std::unique_ptr<Workload>> make_azure(const WorkloadSpec& spec,
                                                           const PromptBuilder& prompts,
                                                           std::string_view text);
[[nodiscard]] Result<std::unique_ptr<Workload>> make_sharegpt(const WorkloadSpec& spec,
                                                              const PromptBuilder& prompts,
                                                              std::string_view text);
[[nodiscard]] Result<std::unique_ptr<Workload>> make_custom(const WorkloadSpec& spec,
                                                            const PromptBuilder& prompts,
                                                            std::string_view text);
// `inner` with the spec's models, priorities and cancellations; `inner` itself where it has none.
[[nodiscard]] std::unique_ptr<Workload> add_mixes(const WorkloadSpec& spec,
                                                  std::unique_ptr<Workload> inner);

}  // namespace baton::orchestrator::bench
