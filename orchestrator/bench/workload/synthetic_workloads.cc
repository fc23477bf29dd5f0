#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <random>
#include <utility>

#include "orchestrator/bench/workload/workload_kinds.h"

namespace baton::orchestrator::bench {
namespace {

// "256 to 768" or "512".
std::string range_of(int tokens, double range_ratio) {
  if (range_ratio <= 0) return grouped(static_cast<std::uint64_t>(tokens));
  const int low = std::max(1, static_cast<int>(std::floor(tokens * (1 - range_ratio))));
  const int high = static_cast<int>(std::ceil(tokens * (1 + range_ratio)));
  return fmt::format("{} to {}", grouped(static_cast<std::uint64_t>(low)),
                     grouped(static_cast<std::uint64_t>(high)));
}

class RandomWorkload final : public Workload {
 public:
  RandomWorkload(const WorkloadSpec& spec, const PromptBuilder& prompts)
      : spec_(spec), prompts_(prompts) {}

  [[nodiscard]] std::optional<std::size_t> size() const override {
    return spec_.limit == 0 ? std::nullopt : std::optional(spec_.limit);
  }
  [[nodiscard]] Result<WorkloadRequest> request(std::size_t index) override {
    Draws draws(mix({spec_.seed, key_of(Purpose::kLengths, index)}));
    WorkloadRequest request;
    const int input = draw_length(spec_.input_tokens, spec_.range_ratio, draws);
    request.max_tokens = draw_length(spec_.output_tokens, spec_.range_ratio, draws);
    prompts_.build(std::array{Piece{key_of(Purpose::kQuestion, index, spec_.seed), input}},
                   request);
    return request;
  }
  [[nodiscard]] std::string describe() const override {
    return fmt::format("random prompts: input {} tokens, output {}",
                       range_of(spec_.input_tokens, spec_.range_ratio),
                       range_of(spec_.output_tokens, spec_.range_ratio));
  }

 private:
  WorkloadSpec spec_;
  const PromptBuilder& prompts_;
};

// Each group's share of 1 and of those before it.
std::vector<double> zipf_sums(int groups, double exponent) {
  std::vector<double> sums;
  double sum = 0;
  for (int rank = 1; rank <= groups; ++rank) sums.push_back(sum += std::pow(rank, -exponent));
  for (double& share : sums) share /= sum;
  sums.back() = 1;
  return sums;
}

// Every group as often as it has prompts, in an order that the seed decides.
std::vector<std::uint32_t> shuffled_groups(const WorkloadSpec& spec) {
  std::vector<std::uint32_t> order;
  for (int group = 0; group < spec.groups; ++group) {
    order.insert(order.end(), static_cast<std::size_t>(spec.prompts_per_group),
                 static_cast<std::uint32_t>(group));
  }
  std::mt19937_64 random(mix({spec.seed, key_of(Purpose::kGroup, 0)}));
  std::ranges::shuffle(order, random);
  return order;
}

class SharedPrefixWorkload final : public Workload {
 public:
  SharedPrefixWorkload(const WorkloadSpec& spec, const PromptBuilder& prompts)
      : spec_(spec), prompts_(prompts) {
    if (spec.zipf > 0) {
      zipf_sums_ = zipf_sums(spec.groups, spec.zipf);
    } else {
      order_ = shuffled_groups(spec);
    }
  }

  [[nodiscard]] std::optional<std::size_t> size() const override {
    return limited(
        static_cast<std::size_t>(spec_.groups) * static_cast<std::size_t>(spec_.prompts_per_group),
        spec_.limit);
  }
  [[nodiscard]] Result<WorkloadRequest> request(std::size_t index) override {
    WorkloadRequest request;
    request.max_tokens = spec_.output_tokens;
    prompts_.build(
        std::array{
            Piece{key_of(Purpose::kPrefix, group_of(index), spec_.seed), spec_.prefix_tokens},
            Piece{key_of(Purpose::kQuestion, index, spec_.seed), spec_.question_tokens}},
        request);
    return request;
  }
  [[nodiscard]] std::string describe() const override {
    const auto count = [](int number) { return grouped(static_cast<std::uint64_t>(number)); };
    return fmt::format(
        "shared prefixes: {} groups of {} prompts{}, prefix {} tokens, question {}, "
        "output {}",
        count(spec_.groups), count(spec_.prompts_per_group),
        spec_.zipf > 0 ? fmt::format(" on average (zipf {:g})", spec_.zipf) : "",
        count(spec_.prefix_tokens), count(spec_.question_tokens), count(spec_.output_tokens));
  }

 private:
  [[nodiscard]] std::size_t group_of(std::size_t index) const {
    if (zipf_sums_.empty()) return order_[index % order_.size()];
    Draws draws(mix({spec_.seed, key_of(Purpose::kGroup, index)}));
    const auto found = std::ranges::upper_bound(zipf_sums_, draws.unit());
    return static_cast<std::size_t>(found - zipf_sums_.begin());
  }

  WorkloadSpec spec_;
  const PromptBuilder& prompts_;
  std::vector<double> zipf_sums_;
  std::vector<std::uint32_t> order_;
};

}  // namespace

int draw_length(int tokens, double range_ratio, Draws& draws) {
  const int low = static_cast<int>(std::floor(tokens * (1 - range_ratio)));
  const int high = static_cast<int>(std::ceil(tokens * (1 + range_ratio)));
  return std::max(1, draws.between(low, high));
}

std::string grouped(std::uint64_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t end = digits.size(); end > 3; end -= 3) digits.insert(end - 3, ",");
  return digits;
}

std::string_view file_name(std::string_view path) {
  return path.substr(path.rfind('/') + 1);  // npos + 1 is 0
}

std::size_t limited(std::size_t size, std::size_t limit) {
  return limit == 0 ? size : std::min(size, limit);
}

std::unique_ptr<Workload> make_random(const WorkloadSpec& spec, const PromptBuilder& prompts) {
  return std::make_unique<RandomWorkload>(spec, prompts);
}

std::unique_ptr<Workload> make_shared_prefix(const WorkloadSpec& spec,
                                             const PromptBuilder& prompts) {
  return std::make_unique<SharedPrefixWorkload>(spec, prompts);
}

}  // namespace baton::orchestrator::bench
