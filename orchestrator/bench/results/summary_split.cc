// Where the TTFT went, from what a Baton router tells of each answer (x-baton-timing).
#include <array>
#include <map>
#include <utility>

#include "orchestrator/bench/results/summary_parts.h"

namespace baton::orchestrator::bench {
namespace {

// The stages that follow one another on the way to the first token. Their sum and the rest are the
// TTFT, so stacked bars of their means are as high as its mean.
//
// Of a split request both legs go out at once: the decode pod's queue runs beside the prefill, and
// where it lasts longer the exposed transfer, counted from the prefill's end until the last block
// is in place, holds what is left of it. It is therefore on the way only where nothing was split.
struct Path {
  double plan = 0;
  double prefill_queue = 0;
  double prefill = 0;
  double decode_queue = 0;
  double exposed_transfer = 0;
  double first_step = 0;
  double other = 0;
};

constexpr std::array<std::pair<const char*, double Path::*>, 7> kStages = {{
    {"plan", &Path::plan},
    {"prefill_queue", &Path::prefill_queue},
    {"prefill", &Path::prefill},
    {"decode_queue", &Path::decode_queue},
    {"exposed_transfer", &Path::exposed_transfer},
    {"first_step", &Path::first_step},
    {"other", &Path::other},
}};

bool is_split(const StageTimes& stages) { return !stages.prefill_pod.empty(); }

Path path_of(const StageTimes& stages, double ttft) {
  const bool split = is_split(stages);
  Path path{.plan = stages.plan_ms,
            .prefill_queue = split ? stages.prefill_queue_ms : 0,
            .prefill = stages.prefill_ms,
            .decode_queue = split ? 0 : stages.decode_queue_ms,
            .exposed_transfer = split ? stages.exposed_transfer_ms : 0,
            .first_step = stages.first_step_ms};
  path.other = ttft - path.plan - path.prefill_queue - path.prefill - path.decode_queue -
               path.exposed_transfer - path.first_step;
  return path;
}

Json stages_json(const std::vector<Path>& paths) {
  Json stages = Json::object();
  for (const auto& [name, field] : kStages) {
    std::vector<double> values;
    values.reserve(paths.size());
    for (const Path& path : paths) values.push_back(path.*field);
    stages[name] = figures_json(Sample(std::move(values)));
  }
  return stages;
}

struct Account {
  std::vector<Path> paths;  // of streams, whose first token was seen
  std::vector<double> ttft_ms;
  std::vector<double> concurrent_decode_queue_ms;
  std::int64_t requests = 0;
  std::int64_t split = 0;
  std::int64_t kv_bytes = 0;
  std::int64_t cached_tokens = 0;
  std::int64_t input_tokens = 0;
  std::int64_t retries = 0;
  std::map<std::string, std::int64_t> transports;
  std::map<std::string, std::int64_t> prefill_pods;
  std::map<std::string, std::int64_t> decode_pods;
};

void add_to(Account& account, const RequestRecord& record) {
  const StageTimes& stages = *record.stages;
  ++account.requests;
  account.kv_bytes += stages.kv_bytes;
  account.cached_tokens += record.cached_tokens;
  account.input_tokens += record.prompt_tokens;
  account.retries += stages.retries;
  if (!stages.transport.empty()) ++account.transports[stages.transport];
  if (!stages.decode_pod.empty()) ++account.decode_pods[stages.decode_pod];
  if (is_split(stages)) {
    ++account.split;
    ++account.prefill_pods[stages.prefill_pod];
    account.concurrent_decode_queue_ms.push_back(stages.decode_queue_ms);
  }
  if (const auto ttft = ttft_ms(record)) {
    account.ttft_ms.push_back(*ttft);
    account.paths.push_back(path_of(stages, *ttft));
  }
}

Json counts_json(const std::map<std::string, std::int64_t>& counts) {
  Json json = Json::object();
  for (const auto& [name, count] : counts) json[text_json(name).get<std::string>()] = count;
  return json;
}

double ratio(std::int64_t part, std::int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

}  // namespace

std::optional<Json> split_json(const Measured& measured) {
  Account account;
  for (const RequestRecord* record : measured.requests) {
    if (record->completed() && record->stages) add_to(account, *record);
  }
  if (account.requests == 0) return std::nullopt;
  const Sample ttft(std::move(account.ttft_ms));
  return Json{
      {"requests", account.requests},
      {"mean_ttft_ms", ttft.empty() ? Json() : Json(ttft.mean())},
      {"stages_ms", ttft.empty() ? Json::object() : stages_json(account.paths)},
      {"concurrent_ms",
       {{"decode_queue", figures_json(Sample(std::move(account.concurrent_decode_queue_ms)))}}},
      {"kv_bytes", {{"total", account.kv_bytes}, {"mean", ratio(account.kv_bytes, account.split)}}},
      {"transports", counts_json(account.transports)},
      {"prefill_pods", counts_json(account.prefill_pods)},
      {"decode_pods", counts_json(account.decode_pods)},
      {"decode_only", account.requests - account.split},
      {"cached_tokens",
       {{"total", account.cached_tokens},
        {"share_of_input", ratio(account.cached_tokens, account.input_tokens)}}},
      {"retries", account.retries}};
}

Json requests_json(const Measured& measured) {
  Json json = Json::object();
  for (const char* key :
       {"cached_lens", "prefill_pods", "decode_pods", "prefill_times", "first_step_times"}) {
    json[key] = Json::array();
  }
  const StageTimes untold;
  for (const RequestRecord* record : measured.requests) {
    const StageTimes& stages = record->stages ? *record->stages : untold;
    json["cached_lens"].push_back(record->cached_tokens);
    json["prefill_pods"].push_back(text_json(stages.prefill_pod));
    json["decode_pods"].push_back(text_json(stages.decode_pod));
    json["prefill_times"].push_back(stages.prefill_ms / 1e3);
    json["first_step_times"].push_back(stages.first_step_ms / 1e3);
  }
  return json;
}

}  // namespace baton::orchestrator::bench
