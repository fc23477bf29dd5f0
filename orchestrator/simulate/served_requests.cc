#include "orchestrator/simulate/served_requests.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <numeric>
#include <utility>

#include "orchestrator/bad_input.h"

namespace baton::orchestrator::simulate {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::array kLists = {"input_lens", "output_lens", "ttfts", "itls", "start_times"};

std::vector<const Json*> runs_of(const Json& result) {
  std::vector<const Json*> runs;
  const auto add_all = [&runs](const Json& list) {
    if (!list.is_array()) return;
    for (const Json& one : list) {
      runs.push_back(one.is_object() && one.contains("run") ? &one.at("run") : &one);
    }
  };
  if (result.contains("points")) {
    add_all(result.at("points"));
  } else if (result.contains("sides") && result.at("sides").is_array()) {
    for (const Json& side : result.at("sides")) {
      if (side.is_object() && side.contains("runs")) add_all(side.at("runs"));
    }
  } else {
    runs.push_back(&result);
  }
  return runs;
}

Result<void> check_lists(const std::string& file, const Json& run) {
  if (!run.is_object() || !run.contains("mean_ttft_ms")) {
    return bad(file + ": is no result of baton bench: it has no mean_ttft_ms");
  }
  for (const char* list : kLists) {
    if (!run.contains(list) || !run.at(list).is_array()) {
      return bad(
          fmt::format("{}: has no {}, the requests one by one: write it with "
                      "--save-detailed",
                      file, list));
    }
    if (run.at(list).size() != run.at(kLists[0]).size()) {
      return bad(fmt::format("{}: {} has {} entries, {} has {}", file, list, run.at(list).size(),
                             kLists[0], run.at(kLists[0]).size()));
    }
  }
  return {};
}

// Entry `i` of a list of the run's `baton.requests`; null where there is none.
Json told(const Json& run, const char* list, std::size_t i) {
  const auto baton = run.find("baton");
  if (baton == run.end() || !baton->is_object() || !baton->contains("requests")) return {};
  const Json& lists = baton->at("requests");
  if (!lists.is_object() || !lists.contains(list) || !lists.at(list).is_array()) return {};
  return i < lists.at(list).size() ? lists.at(list)[i] : Json();
}

double number_or_0(const Json& json) { return json.is_number() ? json.get<double>() : 0; }
std::string text_or_none(const Json& json) {
  return json.is_string() ? json.get<std::string>() : std::string();
}

bool is_time(const Json& json) {
  return json.is_number() && std::isfinite(json.get<double>()) && json.get<double>() >= 0;
}

Result<ServedRequest> read_request(const std::string& file, const Json& run, std::size_t i) {
  const auto wrong = [&](const char* list) {
    return bad(fmt::format(
        "{}: {}[{}]: must be {}", file, list, i,
        std::string_view(list) == "itls" ? "a list of times in seconds" : "a number from 0"));
  };
  for (const char* list : {"input_lens", "output_lens", "ttfts", "start_times"}) {
    if (!is_time(run.at(list)[i])) return wrong(list);
  }
  ServedRequest request;
  request.input_tokens = static_cast<int>(run.at("input_lens")[i].get<double>());
  request.output_tokens = static_cast<int>(run.at("output_lens")[i].get<double>());
  request.began = run.at("start_times")[i].get<double>();
  request.first_token = request.began + run.at("ttfts")[i].get<double>();
  const Json& gaps = run.at("itls")[i];
  if (!gaps.is_array()) return wrong("itls");
  for (const Json& gap : gaps) {
    if (!is_time(gap)) return wrong("itls");
    request.gaps.push_back(gap.get<double>());
  }
  request.last_token =
      std::accumulate(request.gaps.begin(), request.gaps.end(), request.first_token);
  request.cached_tokens = static_cast<int>(number_or_0(told(run, "cached_lens", i)));
  request.prefill_pod = text_or_none(told(run, "prefill_pods", i));
  request.decode_pod = text_or_none(told(run, "decode_pods", i));
  request.prefill_s = number_or_0(told(run, "prefill_times", i));
  request.first_step_s = number_or_0(told(run, "first_step_times", i));
  if (request.prefill_pod.empty()) request.prefill_pod = request.decode_pod;
  return request;
}

}  // namespace

Result<std::vector<std::vector<ServedRequest>>> read_served_requests(const std::string& file,
                                                                     const Json& result) {
  if (!result.is_object()) return bad(file + ": is no result of baton bench: no JSON object");
  std::vector<std::vector<ServedRequest>> all;
  for (const Json* run : runs_of(result)) {
    if (auto checked = check_lists(file, *run); !checked) return std::unexpected(checked.error());
    std::vector<ServedRequest>& requests = all.emplace_back();
    for (std::size_t i = 0; i < run->at("ttfts").size(); ++i) {
      auto request = read_request(file, *run, i);
      if (!request) return std::unexpected(request.error());
      if (request->first_token > request->began) requests.push_back(std::move(*request));
    }
  }
  return all;
}

}  // namespace baton::orchestrator::simulate
