#include "adapters/engines/llama_cpp/step_scheduler.h"

#include <algorithm>
#include <utility>

namespace baton::adapters {
namespace {

constexpr int kSmallRows = kAttentionTile - 1;

int rest_of(const StepTask& task) { return task.prefill_end - task.position; }

}  // namespace

Step StepScheduler::next(std::span<const StepTask> tasks) {
  Step step;
  if (tasks.empty()) return step;
  step.lora = choose_group(tasks);
  Group& group = groups_[step.lora];
  group.last_served = ++steps_;

  Tasks wide;
  Tasks small;
  for (const StepTask& task : tasks) {
    if (task.lora == step.lora) (is_wide(task) ? wide : small).push_back(&task);
  }
  std::ranges::sort(wide, {}, &StepTask::id);
  std::ranges::sort(small, {}, &StepTask::id);
  group.wide_was_last = small.empty() || (!wide.empty() && !group.wide_was_last);
  if (group.wide_was_last) {
    share_wide(wide, step);
  } else {
    share_small(small, group, step);
  }
  return step;
}

int StepScheduler::choose_group(std::span<const StepTask> tasks) const {
  const auto rank = [this](const StepTask& task) {
    const auto group = groups_.find(task.lora);
    return std::pair(group == groups_.end() ? 0 : group->second.last_served, task.id);
  };
  return std::ranges::min_element(tasks, {}, rank)->lora;
}

bool StepScheduler::is_wide(const StepTask& task) const {
  return !task.decoding &&
         (task.position < task.prefill_end / block_ * block_ || rest_of(task) >= kAttentionTile);
}

void StepScheduler::share_wide(const Tasks& tasks, Step& step) const {
  int budget = chunk_;
  for (const StepTask* task : tasks) {
    const int blocks_end = task->prefill_end / block_ * block_;
    const int chunk_end = (task->position / chunk_ + 1) * chunk_;
    const bool has_blocks = task->position < blocks_end;
    int tokens = has_blocks ? std::min(chunk_end, blocks_end) - task->position : rest_of(*task);
    if (tokens > budget) tokens = has_blocks ? budget / block_ * block_ : 0;
    if (tokens == 0) break;
    step.prefills.push_back({task->id, tokens});
    budget -= tokens;
  }
}

// Parts of prompts go along with the decode tokens where there is room. Where the oldest finds
// none, it goes before them once, and then they have their turn.
void StepScheduler::share_small(const Tasks& tasks, Group& group, Step& step) {
  Tasks decodes;
  Tasks parts;
  for (const StepTask* task : tasks) (task->decoding ? decodes : parts).push_back(task);
  const int decode_rows = std::min(kSmallRows, static_cast<int>(decodes.size()));
  const bool parts_first =
      !parts.empty() && !group.decodes_waited && rest_of(*parts.front()) > kSmallRows - decode_rows;
  int room = kSmallRows;
  if (!parts_first) {
    share_decodes(decodes, group, step);
    room -= decode_rows;
  }
  group.decodes_waited = parts_first && !decodes.empty();
  for (const StepTask* part : parts) {
    if (rest_of(*part) > room) continue;
    step.prefills.push_back({part->id, rest_of(*part)});
    room -= rest_of(*part);
  }
}

void StepScheduler::share_decodes(const Tasks& decodes, Group& group, Step& step) {
  const auto rows = std::min<std::size_t>(kSmallRows, decodes.size());
  auto next = std::ranges::upper_bound(decodes, group.last_decoded, {}, &StepTask::id);
  for (std::size_t i = 0; i < rows; ++i, ++next) {
    if (next == decodes.end()) next = decodes.begin();
    step.decodes.push_back({(*next)->id, 1});
  }
  if (rows > 0) group.last_decoded = rows < decodes.size() ? step.decodes.back().id : 0;
}

}  // namespace baton::adapters
