#include <fmt/format.h>

#include <algorithm>
#include <ranges>
#include <utility>

#include "orchestrator/bench/workload/workload_kinds.h"

namespace baton::orchestrator::bench {
namespace {

constexpr std::size_t kMostNamed = 8;

// Shares from which to draw.
template <class Value>
class Mix {
 public:
  explicit Mix(const std::vector<Share<Value>>& shares) : shares_(shares) {
    double sum = 0;
    for (const Share<Value>& share : shares_) sums_.push_back(sum += share.weight);
  }
  [[nodiscard]] bool empty() const { return shares_.empty(); }
  [[nodiscard]] const Value& draw(Draws draws) const {
    const auto above = std::ranges::upper_bound(sums_, draws.unit() * sums_.back());
    return shares_[static_cast<std::size_t>(above - sums_.begin())].value;
  }
  // "base 75 %, sql 25 %"
  [[nodiscard]] std::string describe() const {
    std::string text;
    for (const Share<Value>& share : shares_ | std::views::take(kMostNamed)) {
      text += fmt::format("{}{} {:.3g} %", text.empty() ? "" : ", ", share.value,
                          100 * share.weight / sums_.back());
    }
    if (shares_.size() > kMostNamed)
      text += fmt::format(", and {} more", shares_.size() - kMostNamed);
    return text;
  }

 private:
  std::vector<Share<Value>> shares_;
  std::vector<double> sums_;
};

// A workload whose requests are given a model, a priority, and a time to leave.
class MixedWorkload final : public Workload {
 public:
  MixedWorkload(const WorkloadSpec& spec, std::unique_ptr<Workload> inner)
      : seed_(spec.seed),
        models_(spec.models),
        priorities_(spec.priorities),
        leave_share_(spec.leave_share),
        inner_(std::move(inner)) {}

  [[nodiscard]] std::optional<std::size_t> size() const override { return inner_->size(); }
  [[nodiscard]] bool has_times() const override { return inner_->has_times(); }
  [[nodiscard]] Duration time_of(std::size_t index) override { return inner_->time_of(index); }
  void answered(std::size_t index, std::string_view text) override {
    inner_->answered(index, text);
  }
  void answered_ids(std::size_t index, std::span<const int> ids) override {
    inner_->answered_ids(index, ids);
  }
  [[nodiscard]] std::optional<std::pair<std::size_t, Duration>> follows(
      std::size_t index) override {
    return inner_->follows(index);
  }
  [[nodiscard]] Result<WorkloadRequest> request(std::size_t index) override {
    auto request = inner_->request(index);
    if (!request) return request;
    const std::uint64_t who =
        request->session >= 0 ? static_cast<std::uint64_t>(request->session) : index;
    if (!models_.empty() && request->model.empty()) {
      request->model = models_.draw(draws(Purpose::kModel, who));
    }
    if (!priorities_.empty() && request->priority == 0) {
      request->priority = priorities_.draw(draws(Purpose::kPriority, who));
    }
    Draws leave = draws(Purpose::kLeave, index);
    if (leave.unit() < leave_share_) {
      request->leave_after_tokens = leave.between(0, std::max(0, request->max_tokens - 1));
    }
    return request;
  }
  [[nodiscard]] std::string describe() const override {
    std::string text = inner_->describe();
    if (!models_.empty()) text += "; models " + models_.describe();
    if (!priorities_.empty()) text += "; priorities " + priorities_.describe();
    if (leave_share_ > 0) text += fmt::format("; {:.3g} % leave early", 100 * leave_share_);
    return text;
  }

 private:
  [[nodiscard]] Draws draws(Purpose purpose, std::uint64_t who) const {
    return Draws(mix({seed_, key_of(purpose, who)}));
  }

  std::uint64_t seed_;
  Mix<std::string> models_;
  Mix<int> priorities_;
  double leave_share_;
  std::unique_ptr<Workload> inner_;
};

}  // namespace

std::unique_ptr<Workload> add_mixes(const WorkloadSpec& spec, std::unique_ptr<Workload> inner) {
  if (spec.models.empty() && spec.priorities.empty() && spec.leave_share <= 0) return inner;
  return std::make_unique<MixedWorkload>(spec, std::move(inner));
}

}  // namespace baton::orchestrator::bench
