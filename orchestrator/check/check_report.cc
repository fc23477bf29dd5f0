#include "orchestrator/check/check_report.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <vector>

namespace baton::orchestrator {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::string_view kNothing = "-";
constexpr std::array<std::string_view, 13> kTitles = {
    "pool",    "pod", "role",  "reached", "engine",   "model", "block",
    "context", "tp",  "kv at", "load",    "adapters", "probe"};
using Row = std::array<std::string, kTitles.size()>;

std::string or_nothing(std::string text) { return text.empty() ? std::string(kNothing) : text; }
std::string or_nothing(std::int64_t number) {
  return number == 0 ? std::string(kNothing) : std::to_string(number);
}

std::string reached(const InspectedPod& pod) {
  if (pod.look.health) return "yes";
  return pod.look.health.error().code == ErrorCode::kTimeout ? "hangs" : "no";
}

// The pool's model if it is served, else what is.
std::string model_of(const InspectedPod& pod) {
  if (!pod.look.served) return std::string(kNothing);
  if (check_served(*pod.look.served, pod.model)) return pod.model;
  return fmt::format("{} (!)", fmt::join(pod.look.served->models, ","));
}

std::string load_of(const InspectedPod& pod) {
  if (!pod.look.metrics) return std::string(kNothing);
  const PodState& state = pod.look.metrics->state;
  return fmt::format("{} running, {} waiting, {:.0f}% KV", state.running, state.waiting,
                     100 * state.kv_usage);
}

std::string probe_of(const InspectedPod& pod) {
  if (!pod.probe) return std::string(kNothing);
  return *pod.probe ? "good" : "failed";
}

std::string adapters_of(const InspectedPod& pod) {
  if (!pod.look.served) return std::string(kNothing);
  return or_nothing(fmt::format("{}", fmt::join(pod.look.served->adapters, ",")));
}

Row row_of(const InspectedPod& pod) {
  const EngineFacts& facts = pod.pod.facts;
  return {pod.pool,
          pod.pod.name,
          std::string(name_of(pod.pod.role)),
          reached(pod),
          or_nothing(facts.engine_version),
          model_of(pod),
          or_nothing(facts.block_tokens.count()),
          or_nothing(facts.max_context.count()),
          or_nothing(facts.tensor_parallel),
          or_nothing(facts.kv_address),
          load_of(pod),
          adapters_of(pod),
          probe_of(pod)};
}

void append_row(std::string& text, const Row& row,
                const std::array<std::size_t, kTitles.size()>& widths) {
  const std::size_t begin = text.size();
  for (std::size_t i = 0; i < row.size(); ++i) {
    text += fmt::format("{:<{}}  ", row[i], widths[i]);
  }
  text.erase(std::max(begin, text.find_last_not_of(' ') + 1));
  text += '\n';
}

std::string line_of(const Misfit& misfit) {
  std::string line = fmt::format("{}: {}", fmt::join(misfit.pods, ", "), misfit.what);
  if (!misfit.remedy.empty()) line += "; " + misfit.remedy;
  return line;
}

Json json_of(const InspectedPod& pod) {
  const PodLook& look = pod.look;
  Json json = {{"pool", pod.pool},
               {"pod", pod.pod.name},
               {"role", name_of(pod.pod.role)},
               {"url", pod.pod.url},
               {"connector", pod.connector},
               {"reached", look.health.has_value()},
               {"models", look.served ? Json(look.served->models) : Json()},
               {"adapters", look.served ? Json(look.served->adapters) : Json()}};
  const EngineFacts& facts = pod.pod.facts;
  json["engine"] = facts.engine_version;
  json["block_tokens"] = facts.block_tokens.count();
  json["max_context"] = facts.max_context.count();
  json["tensor_parallel"] = facts.tensor_parallel;
  json["kv_address"] = facts.kv_address;
  if (look.metrics) {
    const PodState& state = look.metrics->state;
    json["load"] = {
        {"running", state.running}, {"waiting", state.waiting}, {"kv_usage", state.kv_usage}};
  } else {
    json["load"] = nullptr;
  }
  json["probe"] = pod.probe ? Json(probe_of(pod)) : Json();
  return json;
}

}  // namespace

std::string check_text(std::span<const InspectedPod> pods, std::span<const Misfit> misfits) {
  Row titles;
  std::ranges::copy(kTitles, titles.begin());
  std::vector<Row> rows = {titles};
  for (const InspectedPod& pod : pods) rows.push_back(row_of(pod));
  std::array<std::size_t, kTitles.size()> widths{};
  for (const Row& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const Row& row : rows) append_row(text, row, widths);
  text += '\n';
  for (const Misfit& misfit : misfits) text += line_of(misfit) + '\n';
  if (misfits.empty()) text += "all fits\n";
  return text;
}

std::string check_json(std::span<const InspectedPod> pods, std::span<const Misfit> misfits) {
  Json listed = Json::array();
  for (const InspectedPod& pod : pods) listed.push_back(json_of(pod));
  Json wrong = Json::array();
  for (const Misfit& misfit : misfits) {
    wrong.push_back({{"pods", misfit.pods}, {"what", misfit.what}, {"remedy", misfit.remedy}});
  }
  const Json all = {
      {"fits", misfits.empty()}, {"pods", std::move(listed)}, {"misfits", std::move(wrong)}};
  return all.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace baton::orchestrator
