#include "adapters/engines/llama_cpp/step_scheduler.h"

#include <algorithm>
#include <utility>

namespace baton::adapters {

Step StepScheduler::next(std::span<const StepTask> tasks) {
  Step step;
  if (tasks.empty()) return step;
  step.lora = choose_group(tasks);
  last_served_[step.lora] = ++steps_;

  std::vector<const StepTask*> prefills;
  for (const StepTask& task : tasks) {
    if (task.lora != step.lora) continue;
    if (task.decoding) {
      step.decodes.push_back({task.id, 1});
    } else {
      prefills.push_back(&task);
    }
  }
  std::ranges::sort(prefills, {}, &StepTask::id);
  int budget = chunk_;
  for (const StepTask* task : prefills) {
    int tokens = piece_of(*task);
    if (tokens > budget) tokens = budget / block_ * block_;
    if (tokens == 0) break;
    step.prefills.push_back({task->id, tokens});
    budget -= tokens;
  }
  return step;
}

int StepScheduler::choose_group(std::span<const StepTask> tasks) const {
  const auto rank = [this](const StepTask& task) {
    const auto served = last_served_.find(task.lora);
    return std::pair(served == last_served_.end() ? 0 : served->second, task.id);
  };
  return std::ranges::min_element(tasks, {}, rank)->lora;
}

// What the sequence would compute next with the whole budget to itself.
int StepScheduler::piece_of(const StepTask& task) const {
  const int full_blocks_end = task.prefill_end / block_ * block_;
  if (task.position >= full_blocks_end) return task.prefill_end - task.position;
  const int chunk_end = (task.position / chunk_ + 1) * chunk_;
  return std::min(chunk_end, full_blocks_end) - task.position;
}

}  // namespace baton::adapters
