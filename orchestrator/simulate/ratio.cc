#include "orchestrator/simulate/ratio.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

namespace baton::orchestrator::simulate {
namespace {

class Search {
 public:
  Search(const RatioOptions& options, const std::function<Result<double>(int, int)>& try_out)
      : options_(options), try_out_(try_out) {}

  Result<RatioResult> run() {
    int holds = 2;
    int fails = 1;
    while (true) {
      const auto best = best_split(holds);
      if (!best) return std::unexpected(best.error());
      if (is_good(*best)) {
        result_.best = *best;
        break;
      }
      if (holds == options_.most_pods) return std::move(result_);
      fails = holds;
      holds = std::min(2 * holds, options_.most_pods);
    }
    while (holds - fails > 1) {
      const int middle = fails + (holds - fails) / 2;
      const auto best = best_split(middle);
      if (!best) return std::unexpected(best.error());
      (is_good(*best) ? holds : fails) = middle;
      if (is_good(*best)) result_.best = *best;
    }
    return std::move(result_);
  }

 private:
  [[nodiscard]] bool is_good(const Ratio& ratio) const {
    return ratio.good_share >= options_.good_share;
  }

  // Begins with the share of prefill pods that was best before and with quarters, as there may be
  // two hills where few pods prefill or few decode; then climbs in steps that halve. A split that
  // is good is enough.
  Result<Ratio> best_split(int pods) {
    Result<Ratio> best = Ratio{.good_share = -1};
    for (const double share : {prefill_share_, 0.5, 0.75, 0.25}) {
      const auto wanted = static_cast<int>(std::lround(pods * share));
      const auto one = split(std::clamp(wanted, 1, pods - 1), pods);
      if (!one) return one;
      if (one->good_share > best->good_share) best = one;
      if (is_good(*best)) break;
    }
    for (int step = std::max(1, pods / 8); step > 0 && best && !is_good(*best);) {
      const auto next = better_neighbour(*best, step);
      if (!next) return next;
      if (next->prefill == best->prefill) {
        step /= 2;
      } else {
        best = next;
      }
    }
    if (best) prefill_share_ = static_cast<double>(best->prefill) / pods;
    return best;
  }

  Result<Ratio> better_neighbour(const Ratio& from, int step) {
    Ratio best = from;
    for (const int prefill : {from.prefill - step, from.prefill + step}) {
      if (prefill < 1 || prefill >= from.pods()) continue;
      const auto other = split(prefill, from.pods());
      if (!other) return other;
      if (other->good_share > best.good_share) best = *other;
    }
    return best;
  }

  Result<Ratio> split(int prefill, int pods) {
    const auto known = shares_.find({prefill, pods});
    if (known != shares_.end()) return Ratio{prefill, pods - prefill, known->second};
    const auto share = try_out_(prefill, pods - prefill);
    if (!share) return std::unexpected(share.error());
    shares_[{prefill, pods}] = *share;
    result_.tried.push_back({prefill, pods - prefill, *share});
    return result_.tried.back();
  }

  const RatioOptions& options_;
  const std::function<Result<double>(int, int)>& try_out_;
  std::map<std::pair<int, int>, double> shares_;
  double prefill_share_ = 0.5;
  RatioResult result_;
};

}  // namespace

Result<RatioResult> find_ratio(const RatioOptions& options,
                               const std::function<Result<double>(int, int)>& try_out) {
  return Search(options, try_out).run();
}

}  // namespace baton::orchestrator::simulate
