#include <fmt/format.h>

#include <array>
#include <unordered_map>
#include <utility>

#include "orchestrator/bench/workload/workload_kinds.h"

namespace baton::orchestrator::bench {
namespace {

// Conversations that go on side by side: all first turns, then all second ones, and so on. A turn
// that brought no answer is left out of those after it, with its question.
class SessionsWorkload final : public Workload {
 public:
  SessionsWorkload(const WorkloadSpec& spec, const PromptBuilder& prompts)
      : spec_(spec), prompts_(prompts), sessions_(static_cast<std::size_t>(spec.sessions)) {}

  [[nodiscard]] std::optional<std::size_t> size() const override {
    return limited(sessions_ * static_cast<std::size_t>(spec_.turns), spec_.limit);
  }
  [[nodiscard]] Result<WorkloadRequest> request(std::size_t index) override {
    WorkloadRequest request = question(index);
    request.session = static_cast<int>(index % sessions_);
    request.last_of_session = is_last(index);
    if (prompts_.makes_token_ids()) {
      put_ids_before(index, request);
    } else {
      put_turns_before(index, request);
    }
    return request;
  }
  void answered(std::size_t index, std::string_view text) override {
    keep(answers_, index, std::string(text));
  }
  void answered_ids(std::size_t index, std::span<const int> ids) override {
    keep(answer_ids_, index, std::vector<int>(ids.begin(), ids.end()));
  }
  [[nodiscard]] std::optional<std::pair<std::size_t, Duration>> follows(
      std::size_t index) override {
    if (index < sessions_) return std::nullopt;
    return std::pair(index - sessions_, spec_.think_time);
  }
  [[nodiscard]] std::string describe() const override {
    const auto count = [](int number) { return grouped(static_cast<std::uint64_t>(number)); };
    std::string text = fmt::format(
        "sessions: {} of {} turns, input {} tokens at first, then {} more each, output {}",
        count(spec_.sessions), count(spec_.turns), count(spec_.first_tokens),
        count(spec_.turn_tokens), count(spec_.output_tokens));
    if (spec_.range_ratio > 0) text += fmt::format(", ±{:g} %", 100 * spec_.range_ratio);
    return text + fmt::format(", {:g} s think time", to_seconds(spec_.think_time));
  }

 private:
  [[nodiscard]] bool is_last(std::size_t index) const { return index + sessions_ >= *size(); }
  template <class Answer>
  void keep(std::unordered_map<std::size_t, Answer>& answers, std::size_t index, Answer answer) {
    if (is_last(index)) {  // nobody will ask for what was said before
      for (std::size_t i = index % sessions_; i < index; i += sessions_) answers.erase(i);
    } else if (!answer.empty()) {
      answers.insert_or_assign(index, std::move(answer));
    }
  }
  void put_turns_before(std::size_t index, WorkloadRequest& request) const {
    std::vector<Turn> history;
    for (std::size_t earlier = index % sessions_; earlier < index; earlier += sessions_) {
      const auto answer = answers_.find(earlier);
      if (answer == answers_.end()) continue;
      history.push_back(std::move(question(earlier).turns.front()));
      history.push_back({"assistant", answer->second});
    }
    if (!history.empty()) request.prompt_tokens = 0;  // the answers' tokens are not known here
    history.push_back(std::move(request.turns.front()));
    request.turns = std::move(history);
  }
  void put_ids_before(std::size_t index, WorkloadRequest& request) const {
    std::vector<int> ids;
    const auto append = [&ids](const std::vector<int>& more) {
      ids.insert(ids.end(), more.begin(), more.end());
    };
    for (std::size_t earlier = index % sessions_; earlier < index; earlier += sessions_) {
      const auto answer = answer_ids_.find(earlier);
      if (answer == answer_ids_.end()) continue;
      append(question(earlier).token_ids);
      append(answer->second);
    }
    append(request.token_ids);
    request.token_ids = std::move(ids);
    request.prompt_tokens = static_cast<int>(request.token_ids.size());
  }
  // The user's part of request `index`, as the first turn of a session, and its output length.
  [[nodiscard]] WorkloadRequest question(std::size_t index) const {
    const bool first = index < sessions_;
    Draws draws(mix({spec_.seed, key_of(Purpose::kLengths, index)}));
    const int input =
        draw_length(first ? spec_.first_tokens : spec_.turn_tokens, spec_.range_ratio, draws);
    WorkloadRequest request;
    request.max_tokens = draw_length(spec_.output_tokens, spec_.range_ratio, draws);
    const std::uint64_t id = key_of(Purpose::kTurn, index, spec_.seed);
    if (first || prompts_.makes_token_ids()) {
      prompts_.build(std::array{Piece{id, input}}, request);
    } else {
      request.turns.push_back({"user", prompts_.block(id, input)});
      request.prompt_tokens = prompts_.overhead() + input;
    }
    return request;
  }

  WorkloadSpec spec_;
  const PromptBuilder& prompts_;
  std::size_t sessions_;
  std::unordered_map<std::size_t, std::string> answers_;  // by request
  std::unordered_map<std::size_t, std::vector<int>> answer_ids_;
};

}  // namespace

std::unique_ptr<Workload> make_sessions(const WorkloadSpec& spec, const PromptBuilder& prompts) {
  return std::make_unique<SessionsWorkload>(spec, prompts);
}

}  // namespace baton::orchestrator::bench
