#include "adapters/engines/llama_cpp/step_scheduler.h"

#include <algorithm>
#include <utility>

namespace baton::adapters {

Step StepScheduler::next(std::span<const StepTask> tasks) {
  Step step;
  if (tasks.empty()) return step;
  step.lora = choose_group(tasks);
  last_served_[step.lora] = ++steps_;

  std::vector<const StepTask*> blocks;
  std::vector<const StepTask*> small;
  for (const StepTask& task : tasks) {
    if (task.lora == step.lora) (has_blocks(task) ? blocks : small).push_back(&task);
  }
  std::ranges::sort(blocks, {}, &StepTask::id);
  std::ranges::sort(small, {}, &StepTask::id);
  bool& blocks_were_last = blocks_were_last_[step.lora];
  blocks_were_last = small.empty() || (!blocks.empty() && !blocks_were_last);
  if (blocks_were_last) {
    share_blocks(blocks, step);
  } else {
    share_small(small, step);
  }
  return step;
}

bool StepScheduler::has_blocks(const StepTask& task) const {
  return !task.decoding && task.position < task.prefill_end / block_ * block_;
}

void StepScheduler::share_blocks(std::span<const StepTask* const> tasks, Step& step) const {
  int budget = chunk_;
  for (const StepTask* task : tasks) {
    const int chunk_end = (task->position / chunk_ + 1) * chunk_;
    int tokens = std::min(chunk_end, task->prefill_end / block_ * block_) - task->position;
    if (tokens > budget) tokens = budget / block_ * block_;
    if (tokens == 0) break;
    step.prefills.push_back({task->id, tokens});
    budget -= tokens;
  }
}

// Parts of prompts go with the decode tokens where the step stays below a block, else before them:
// each takes one step only, so nobody starves.
void StepScheduler::share_small(std::span<const StepTask* const> tasks, Step& step) const {
  for (const StepTask* task : tasks) {
    if (task->decoding) step.decodes.push_back({task->id, 1});
  }
  const auto parts = [&](int room) {
    for (const StepTask* task : tasks) {
      const int tokens = task->prefill_end - task->position;
      if (task->decoding || tokens > room) continue;
      step.prefills.push_back({task->id, tokens});
      room -= tokens;
    }
    return !step.prefills.empty();
  };
  if (!parts(block_ - 1 - static_cast<int>(step.decodes.size())) && parts(block_ - 1)) {
    step.decodes.clear();
  }
}

int StepScheduler::choose_group(std::span<const StepTask> tasks) const {
  const auto rank = [this](const StepTask& task) {
    const auto served = last_served_.find(task.lora);
    return std::pair(served == last_served_.end() ? 0 : served->second, task.id);
  };
  return std::ranges::min_element(tasks, {}, rank)->lora;
}

}  // namespace baton::adapters
