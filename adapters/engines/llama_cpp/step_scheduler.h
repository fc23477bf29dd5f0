#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <vector>

namespace baton::adapters {

// A sequence that could take part in the next step.
struct StepTask {
  std::uint64_t id = 0;  // grows with the order of arrival
  int lora = -1;
  bool decoding = false;  // needs one token computed; else it prefills:
  int position = 0;       // first prompt token not computed
  int prefill_end = 0;    // one past the last prompt token to prefill
};

struct StepShare {
  std::uint64_t id = 0;
  int tokens = 0;
};

struct Step {
  int lora = -1;
  std::vector<StepShare> decodes;   // one token each
  std::vector<StepShare> prefills;  // oldest first
  [[nodiscard]] bool empty() const { return decodes.empty() && prefills.empty(); }
};

// Chooses what the engine computes next. Owned by the engine, on its thread; knows neither clock
// nor libllama. One step serves one LoRA adapter (a context has one at a time): the group that was
// served longest ago, ties to the oldest sequence, so that with g groups each gets every g-th
// step. Within a group, steps of whole prompt blocks (up to `chunk` tokens, oldest first) take
// turns with small steps (every decode token, and the parts of prompts that fill no block):
// libllama's attention has one kernel for steps below `block` tokens and another from there on, so
// that what computes a token does not depend on its company. Promises that a sequence's prompt is
// always cut at the same places: at absolute multiples of `chunk`, and before the part that fills
// no block.
class StepScheduler {
 public:
  StepScheduler(int chunk, int block) : chunk_(chunk), block_(block) {}

  [[nodiscard]] Step next(std::span<const StepTask> tasks);

 private:
  [[nodiscard]] int choose_group(std::span<const StepTask> tasks) const;
  [[nodiscard]] bool has_blocks(const StepTask& task) const;
  void share_blocks(std::span<const StepTask* const> tasks, Step& step) const;
  void share_small(std::span<const StepTask* const> tasks, Step& step) const;

  int chunk_;
  int block_;
  std::uint64_t steps_ = 0;
  std::map<int, std::uint64_t> last_served_;  // by adapter: number of the step
  std::map<int, bool> blocks_were_last_;      // by adapter
};

}  // namespace baton::adapters
