#include "orchestrator/explain/plan_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace baton::orchestrator {
namespace {

using OrderedJson = nlohmann::ordered_json;
using Row = std::vector<std::string>;

constexpr std::size_t kFewestPodColumns = 12;
constexpr std::size_t kMostReasonColumns = 26;
constexpr std::size_t kMostRows = 20;  // of a stage

// Names of a pool's pods differ at their ends.
std::string cut_begin(const std::string& text, std::size_t columns) {
  return text.size() <= columns ? text : "~" + text.substr(text.size() - columns + 1);
}

std::string cut_end(const std::string& text, std::size_t columns) {
  return text.size() <= columns ? text : text.substr(0, columns - 1) + "~";
}

// Appends the text in lines of at most kTableColumns, broken at spaces; later lines are indented.
void append_wrapped(std::string& out, std::string_view text, std::size_t indent) {
  std::size_t room = kTableColumns;
  while (text.size() > room) {
    std::size_t end = text.rfind(' ', room);
    if (end == std::string_view::npos || end < room / 2) end = room;
    out.append(text.substr(0, end)).append("\n").append(indent, ' ');
    text.remove_prefix(std::min(text.find_first_not_of(' ', end), text.size()));
    room = kTableColumns - indent;
  }
  out.append(text).append("\n");
}

std::string ms(double value) { return fmt::format("{:.1f}", value); }

// Names of the terms in the order in which they first appear.
std::vector<std::string> terms_of(const OrderedJson& candidates) {
  std::vector<std::string> names;
  for (const OrderedJson& candidate : candidates) {
    for (const auto& [name, value] : candidate.value("terms", OrderedJson::object()).items()) {
      if (std::ranges::find(names, name) == names.end()) names.push_back(name);
    }
  }
  return names;
}

std::string why(const OrderedJson& candidate, const std::string& chosen, double chosen_cost) {
  if (candidate.at("pod") == chosen) return "chosen";
  std::string rejected = candidate.value("rejected", "");
  if (!candidate.contains("cost_ms")) return rejected;
  const double more = candidate["cost_ms"].get<double>() - chosen_cost;
  const std::string gap = fmt::format("{:+.1f}", more);
  return rejected.empty() || rejected == "costs more" ? gap : gap + ", " + rejected;
}

Row row_of(const OrderedJson& candidate, const std::vector<std::string>& terms,
           const std::string& stage, const std::string& reason) {
  Row row = {stage, candidate.at("pod").get<std::string>(),
             std::to_string(candidate.at("cached").get<std::int64_t>())};
  const OrderedJson values = candidate.value("terms", OrderedJson::object());
  for (const std::string& term : terms) {
    row.push_back(values.contains(term) ? ms(values[term].get<double>()) : "-");
  }
  row.push_back(candidate.contains("cost_ms") ? ms(candidate["cost_ms"].get<double>()) : "-");
  row.push_back(reason);
  return row;
}

std::vector<std::size_t> widths_of(const std::vector<Row>& rows) {
  std::vector<std::size_t> widths(rows.front().size());
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  return widths;
}

// Numbers to the right, words to the left. Names of pods give way where a line would be too long.
void append_rows(std::string& out, const std::vector<Row>& rows) {
  constexpr std::size_t kPod = 1;
  std::vector<std::size_t> widths = widths_of(rows);
  widths.back() = std::min(widths.back(), kMostReasonColumns);
  std::size_t others = 2 * (widths.size() - 1);
  for (std::size_t i = 0; i < widths.size(); ++i) others += i == kPod ? 0 : widths[i];
  const std::size_t left = kTableColumns - std::min(others, kTableColumns);
  widths[kPod] = std::min(widths[kPod], std::max(left, kFewestPodColumns));
  for (const Row& row : rows) {
    std::string line = fmt::format("{:<{}}  {:<{}}  ", row[0], widths[0],
                                   cut_begin(row[kPod], widths[kPod]), widths[kPod]);
    for (std::size_t i = kPod + 1; i + 1 < row.size(); ++i) {
      line += fmt::format("{:>{}}  ", row[i], widths[i]);
    }
    line = cut_end(line + cut_end(row.back(), widths.back()), kTableColumns);
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
}

void append_stage(std::string& out, const OrderedJson& candidates, const std::string& stage,
                  const OrderedJson& chosen) {
  if (candidates.empty()) return;
  const std::string name = chosen.is_string() ? chosen.get<std::string>() : "";
  double cost = 0.0;
  double least = std::numeric_limits<double>::max();
  for (const OrderedJson& candidate : candidates) {
    const double its = candidate.value("cost_ms", least);
    if (candidate.at("pod") == name) cost = its;
    least = std::min(least, its);
  }
  if (name.empty()) cost = least;

  const std::vector<std::string> terms = terms_of(candidates);
  Row titles = {"stage", "pod", "cached"};
  titles.insert(titles.end(), terms.begin(), terms.end());
  titles.insert(titles.end(), {"total", "why"});
  std::vector<Row> rows = {std::move(titles)};
  std::size_t unlisted = 0;
  for (const OrderedJson& candidate : candidates) {
    if (rows.size() > kMostRows && candidate.at("pod") != name) {
      ++unlisted;
      continue;
    }
    rows.push_back(row_of(candidate, terms, stage, why(candidate, name, cost)));
  }
  append_rows(out, rows);
  if (unlisted > 0) out += fmt::format("and {} more\n", unlisted);
  out += "\n";
}

// Nothing where the SLO is kept, or there is none.
void append_verdict(std::string& out, const OrderedJson& verdict) {
  std::string missed;
  for (const char* what : {"ttft", "tpot"}) {
    const double over = verdict.value(fmt::format("{}_over_ms", what), 0.0);
    if (over <= 0) continue;
    missed += fmt::format("{}{} {} ms is {} ms too long", missed.empty() ? "" : ", ",
                          what == std::string_view("ttft") ? "TTFT" : "TPOT",
                          ms(verdict.at(fmt::format("{}_ms", what)).get<double>()), ms(over));
  }
  if (missed.empty()) return;
  missed = "misses its SLO: " + missed;
  if (verdict.at("refused").get<bool>()) {
    missed += fmt::format("; it would be refused, to come again in {} s",
                          verdict.at("retry_after_s").get<int>());
  }
  append_wrapped(out, missed, 2);
}

std::string table_of(const OrderedJson& plan) {
  const bool split = plan.at("kind") == "split";
  std::string out;
  append_wrapped(
      out,
      fmt::format("pool {}, {} prompt tokens; times in ms, sums of a stage by itself",
                  plan.at("pool").get<std::string>(), plan.at("prompt_tokens").get<std::int64_t>()),
      2);
  out += "\n";
  append_stage(out, plan.at("prefill_candidates"), "prefill", plan.at("prefill"));
  append_stage(out, plan.at("decode_candidates"), split ? "decode" : "both", plan.at("decode"));

  const std::string decode = plan.at("decode").get<std::string>();
  append_wrapped(
      out,
      split ? fmt::format("chosen    {} -> {}", plan.at("prefill").get<std::string>(), decode)
            : fmt::format("chosen    decode-only on {}", decode),
      10);
  append_wrapped(out, "because   " + plan.at("reason").get<std::string>(), 10);
  std::string terms;
  for (const auto& [name, value] : plan.at("terms").items()) {
    terms += fmt::format("{}{} {}", terms.empty() ? "" : " + ", name, ms(value.get<double>()));
  }
  append_wrapped(out, fmt::format("cost      {} = {}", ms(plan.at("cost_ms").get<double>()), terms),
                 10);
  out += fmt::format("predicted TTFT {} ms, TPOT {} ms\n", ms(plan.at("ttft_ms").get<double>()),
                     ms(plan.at("tpot_ms").get<double>()));

  append_verdict(out, plan.value("verdict", OrderedJson::object()));

  const OrderedJson& alternatives = plan.at("alternatives");
  if (alternatives.empty()) {
    out += "\nnothing else could be chosen\n";
    return out;
  }
  out += "\nwhat would change the choice\n";
  for (const OrderedJson& alternative : alternatives) {
    append_wrapped(out, "  " + alternative.at("what").get<std::string>(), 4);
  }
  return out;
}

}  // namespace

Result<std::string> plan_table(std::string_view json) {
  try {
    return table_of(OrderedJson::parse(json));
  } catch (const OrderedJson::exception&) {
    return fail(ErrorCode::kUpstream, Stage::kRouter, "the answer is no plan of a router");
  }
}

}  // namespace baton::orchestrator
