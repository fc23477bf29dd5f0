#include <fmt/format.h>

#include <algorithm>

#include "orchestrator/bench/results/result_json.h"
#include "orchestrator/bench/results/sweep.h"
#include "orchestrator/bench/results/terminal_text.h"

namespace baton::orchestrator::bench {
namespace {

constexpr std::size_t kSweepBarColumns = 22;

std::string marks_of(const Json& sweep, const Json& run) {
  std::string marks;
  const double rate = number_of(run, "request_rate");
  if (!sweep.at("best").is_null() && number_of(sweep.at("best"), "request_rate") == rate) {
    marks += " best";
  }
  if (!sweep.at("knee").is_null() && number_of(sweep.at("knee"), "request_rate") == rate) {
    marks += " knee";
  }
  if (!run.at("baton").at("sound").get<bool>()) marks += " UNSOUND";
  if (run.at("baton").at("partial").get<bool>()) marks += " partial";
  return marks;
}

std::string point_line(const Json& sweep, const Json& run, double highest) {
  const double goodput = number_of(run, "request_goodput");
  return fmt::format("{:>11.2f}{:>11.2f}{:>8.1f} %{:>13.2f}{:>13.2f}  {:<{}}{}\n",
                     number_of(run, "request_rate"), goodput,
                     number_of(run.at("baton").at("goodput"), "share") * 100,
                     number_of(run, "median_ttft_ms"), number_of(run, "median_tpot_ms"),
                     bar(highest > 0 ? goodput / highest : 0, kSweepBarColumns), kSweepBarColumns,
                     marks_of(sweep, run));
}

std::string best_text(const Json& sweep) {
  const Json& best = sweep.at("best");
  const std::string wanted =
      fmt::format("{:g} % of the offered requests good ({})", number_of(sweep, "good_share") * 100,
                  slo_text(sweep.at("slo")));
  if (best.is_null()) return "no rate had " + wanted;
  std::string text =
      fmt::format("{:.2f} good requests/s at {:.2f} offered, with {}",
                  number_of(best, "request_goodput"), number_of(best, "request_rate"), wanted);
  const Json& breaks = sweep.at("breaks_at");
  return breaks.is_null() ? text + "; it broke at no rate that was tried"
                          : text + fmt::format("; from {:.2f} on no longer", breaks.get<double>());
}

std::string knee_text(const Json& knee) {
  if (knee.is_null()) return "none: goodput grew with the offered rate to the end";
  return fmt::format("{:.2f} requests/s; beyond it goodput grows no further",
                     number_of(knee, "request_rate"));
}

}  // namespace

std::string render_sweep(const Json& sweep, bool color) {
  const Style style(color);
  double highest = 0;
  for (const Json& run : sweep.at("points")) {
    highest = std::max(highest, number_of(run, "request_goodput"));
  }
  std::string out =
      style.bold(fmt::format("{:>11}{:>11}{:>10}{:>13}{:>13}  {}", "offered/s", "goodput/s", "good",
                             "TTFT med ms", "TPOT med ms", "goodput")) +
      "\n";
  for (const Json& run : sweep.at("points")) out += point_line(sweep, run, highest);
  out += '\n';
  out += paragraph("best  ", best_text(sweep), 6);
  out += paragraph("knee  ", knee_text(sweep.at("knee")), 6);
  if (sweep.at("generator_bound").get<bool>()) {
    out += paragraph(style.alarm("note  "),
                     "The generator was the bottleneck at the upper end: the target may do better.",
                     6);
  }
  return out;
}

}  // namespace baton::orchestrator::bench
