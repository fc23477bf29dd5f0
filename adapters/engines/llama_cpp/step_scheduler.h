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

// libllama's attention has one kernel for steps below this many rows and another from there on,
// whose results differ in the last bits (ggml: GGML_FA_TILE_Q).
inline constexpr int kAttentionTile = 64;

// Chooses what the engine computes next. Owned by the engine, on its thread; knows neither clock
// nor libllama. One step serves one LoRA adapter (a context has one at a time): the group that was
// served longest ago, ties to the oldest sequence, so that with g groups each gets every g-th
// step. Within a group, wide steps (whole prompt blocks, up to `chunk` tokens, oldest first) take
// turns with small ones (decode tokens, and the parts of prompts that fill no block), which stay
// below kAttentionTile rows: what computes a token does not depend on its company. Promises that a
// sequence's prompt is always cut at the same places, at absolute multiples of `chunk` and before
// the part that fills no block; and that nobody waits for more than every other small step.
class StepScheduler {
 public:
  // `block` is a multiple of kAttentionTile, `chunk` one of `block`.
  StepScheduler(int chunk, int block) : chunk_(chunk), block_(block) {}

  [[nodiscard]] Step next(std::span<const StepTask> tasks);

 private:
  using Tasks = std::vector<const StepTask*>;
  struct Group {                    // of one adapter
    std::uint64_t last_served = 0;  // number of the step
    bool wide_was_last = false;
    bool decodes_waited = false;     // the last small step had no room for them
    std::uint64_t last_decoded = 0;  // id, where not all could decode at once
  };

  [[nodiscard]] int choose_group(std::span<const StepTask> tasks) const;
  [[nodiscard]] bool is_wide(const StepTask& task) const;
  void share_wide(const Tasks& tasks, Step& step) const;
  static void share_small(const Tasks& tasks, Group& group, Step& step);
  static void share_decodes(const Tasks& decodes, Group& group, Step& step);

  int chunk_;
  int block_;
  std::uint64_t steps_ = 0;
  std::map<int, Group> groups_;
};

}  // namespace baton::adapters
