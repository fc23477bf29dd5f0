#include <fmt/format.h>

#include <algorithm>

#include "orchestrator/bench/results/compare.h"
#include "orchestrator/bench/results/result_json.h"
#include "orchestrator/bench/results/terminal_text.h"

namespace baton::orchestrator::bench {
namespace {

constexpr std::size_t kNameColumns = 40;

std::string words_of(const std::string& metric) {
  return metric == "paired_ttft_ms" ? "TTFT, request by request" : metric;
}

std::string basis_text(const Json& ratio) {
  const auto pairs = count_of(ratio, "pairs");
  const auto basis = text_of(ratio, "basis");
  if (basis == "one round") return "1 round";
  return fmt::format("{} {}", with_commas(pairs), basis);
}

std::string ratio_line(const Json& ratio) {
  const Json& low = ratio.at("low");
  const std::string interval =
      low.is_null() ? std::string("-")
                    : fmt::format("[{:.3f}, {:.3f}]", low.get<double>(), number_of(ratio, "high"));
  return fmt::format("{:<26}{:>9.3f}  {:<18}{:<20}{}\n", words_of(text_of(ratio, "metric")),
                     number_of(ratio, "ratio"), interval, basis_text(ratio),
                     text_of(ratio, "verdict"));
}

std::string notes(const Json& comparison) {
  const Json& ratios = comparison.at("ratios");
  const auto any = [&](const char* basis) {
    return std::any_of(ratios.begin(), ratios.end(),
                       [&](const Json& ratio) { return text_of(ratio, "basis") == basis; });
  };
  std::string out;
  if (any("rounds")) {
    out +=
        paragraph("", "A ratio over rounds is a geometric mean with Student's 95 % interval.", 0);
  } else {
    out += paragraph("",
                     "With one round, intervals are over requests alone: what differed between the "
                     "two runs as a whole is not in them. Run more rounds.",
                     0);
  }
  if (any("requests")) {
    out += paragraph("",
                     "A ratio over requests is the median of pairs with a bootstrap interval; "
                     "requests of one run share its luck, so it is narrower than the truth.",
                     0);
  }
  return out;
}

std::string side_line(const Json& side) {
  std::size_t unsound = 0;
  for (const Json& run : side.at("runs")) unsound += run.at("baton").at("sound") ? 0 : 1;
  const std::string target = clip(text_of(side, "target"), kNameColumns);
  std::string line = fmt::format("{}{}{}, {} rounds", clip(text_of(side, "name"), kNameColumns),
                                 target.empty() ? "" : " = ", target, side.at("runs").size());
  if (unsound > 0) line += fmt::format(", {} of them UNSOUND", unsound);
  return line + "\n";
}

}  // namespace

std::string render_compare(const Json& comparison, bool color) {
  const Style style(color);
  std::string out;
  for (const Json& side : comparison.at("sides")) out += side_line(side);
  std::string pair;
  for (const Json& ratio : comparison.at("ratios")) {
    const std::string now = fmt::format("{} / {}", clip(text_of(ratio, "side"), kNameColumns),
                                        clip(text_of(ratio, "base"), kNameColumns));
    if (now != pair) {
      const std::string head =
          fmt::format("{:<26}{:>9}  {:<18}{:<20}", "ratio", "", "95 %", "over");
      out += "\n" + style.bold(now) + "\n" + style.dim(head) + "\n";
    }
    pair = now;
    out += ratio_line(ratio);
  }
  return out + "\n" + notes(comparison);
}

}  // namespace baton::orchestrator::bench
