#include "orchestrator/admin/pods_json.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "core/pairing.h"

namespace baton::orchestrator {
namespace {

using Json = nlohmann::ordered_json;

Json facts_json(const EngineFacts& facts) {
  return {{"engine_id", facts.engine_id},
          {"epoch", facts.epoch},
          {"engine_version", facts.engine_version},
          {"model_hash", facts.model_hash},
          {"layout_hash", fmt::format("{:016x}", facts.layout_hash)},
          {"kv_address", facts.kv_address},
          {"block_tokens", facts.block_tokens.count()},
          {"max_context", facts.max_context.count()},
          {"bytes_per_token", facts.bytes_per_token.count()},
          {"served", facts.served},
          {"tensor_parallel", facts.tensor_parallel}};
}

// Decode pods that cannot read what this prefill pod computes, by what keeps them apart.
Json apart_json(const PodEntry& prefill, const Snapshot& snapshot) {
  std::map<std::string, std::vector<std::string>> apart;
  for (const auto& decode : snapshot.pods) {
    if (decode->index == prefill.index || !can_decode(decode->pod.role)) continue;
    std::string why = why_unpairable(prefill.pod.facts, decode->pod.facts);
    if (!why.empty()) apart[std::move(why)].push_back(decode->pod.name);
  }
  Json list = Json::array();
  for (const auto& [why, pods] : apart) list.push_back({{"because", why}, {"pods", pods}});
  return list;
}

Json observed_json(const PodState& state, TimePoint now) {
  if (!state.observed_at) return nullptr;
  return {{"age_seconds", to_seconds(now - *state.observed_at)},
          {"running", state.running},
          {"waiting", state.waiting},
          {"deferred", state.deferred},
          {"kv_usage", state.kv_usage},
          {"kv_capacity_tokens", state.kv_capacity.count()},
          {"prefix_query_tokens", state.prefix_queries.count()},
          {"prefix_hit_tokens", state.prefix_hits.count()},
          {"running_loras", state.running_loras},
          {"waiting_loras", state.waiting_loras},
          {"resident_loras", state.resident_loras},
          {"lora_slots_used", state.lora_slots_used},
          {"max_loras", state.max_loras}};
}

Json load_json(const PodLoad& load, TimePoint now) {
  const std::optional<double> computing = load.computing_seconds(now);
  return {{"in_flight", load.in_flight.load()},
          {"waiting_prompts", load.waiting_prompts.load()},
          {"waiting_pairs", load.waiting_pairs.load()},
          {"computing_seconds", computing ? Json(*computing) : Json()},
          {"prefill_share", load.prefills.share(now)},
          {"uncached_prefill_tokens", load.uncached_prefill_tokens.load()},
          {"running_decodes", load.running_decodes.load()},
          {"coming_decodes", load.coming_decodes.load()},
          {"reserved_kv_tokens", load.reserved_kv_tokens.load()},
          {"consecutive_errors", load.consecutive_errors.load()}};
}

Json learned_json(const std::string& pool, const LearnedTables& learned) {
  Json json;
  if (learned.latencies != nullptr) {
    const LatencyPrior fit = learned.latencies->of(pool).learned();
    json = {{"prefill_seconds", fit.prefill_seconds},
            {"prefill_seconds_per_token", fit.prefill_seconds_per_token},
            {"prefill_seconds_per_pair", fit.prefill_seconds_per_pair},
            {"step_seconds", fit.step_seconds},
            {"step_seconds_per_sequence", fit.step_seconds_per_sequence},
            {"step_seconds_per_kv_token", fit.step_seconds_per_kv_token},
            {"transfer_seconds", fit.transfer_seconds},
            {"transfer_bytes_per_second", fit.transfer_bytes_per_second},
            {"handoff_seconds", fit.handoff_seconds},
            {"lora_load_seconds", fit.lora_load_seconds},
            {"lora_evict_seconds", fit.lora_evict_seconds}};
  }
  if (learned.sizes != nullptr) {
    const LearnedSizes& sizes = learned.sizes->of(pool);
    json["bytes_per_token"] = sizes.bytes_per_token.load();
    json["output_tokens"] = sizes.output_tokens.load();
  }
  return json;
}

Json factors_json(const LatencyModel::Factors& factors) {
  return {{"prefill_factor", factors.prefill}, {"step_factor", factors.step}};
}

}  // namespace

std::string pods_json(std::span<const std::shared_ptr<const Snapshot>> snapshots, LoadTable& loads,
                      TimePoint now, const LearnedTables& learned) {
  Json pools = Json::array();
  for (const auto& snapshot : snapshots) {
    Json pods = Json::array();
    for (const auto& entry : snapshot->pods) {
      const Pod& pod = entry->pod;
      const PodLoad& load = loads.of(entry->index);
      const std::string& unusable = entry->state.unusable_because;
      pods.push_back({{"name", pod.name},
                      {"role", name_of(pod.role)},
                      {"url", pod.url},
                      {"health", name_of(entry->state.health)},
                      {"unusable_because", unusable.empty() ? Json() : Json(unusable)},
                      {"in_flight", load.in_flight.load()},
                      {"max_running", pod.max_running},
                      {"labels", pod.labels},
                      {"load", load_json(load, now)},
                      {"observed", observed_json(entry->state, now)},
                      {"facts", facts_json(pod.facts)}});
      if (learned.latencies != nullptr) {
        pods.back()["learned"] =
            factors_json(learned.latencies->of(snapshot->pool).factors(entry->index));
      }
      if (can_prefill(pod.role)) {
        pods.back()["cannot_pair_with"] = apart_json(*entry, *snapshot);
      }
    }
    pools.push_back({{"name", snapshot->pool},
                     {"version", snapshot->version},
                     {"learned", learned_json(snapshot->pool, learned)},
                     {"pods", pods}});
  }
  const Json answer = {{"pools", std::move(pools)}};
  return answer.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace baton::orchestrator
