#include "adapters/engines/vllm/mooncake_connector.h"

#include <fmt/format.h>

#include <map>
#include <nlohmann/json.hpp>

#include "adapters/engines/openai_facts.h"
#include "adapters/engines/openai_legs.h"
#include "adapters/engines/vllm/nixl_params.h"

namespace baton::adapters {
namespace {

std::string transfer_of(const HandoffKey& key) { return "xfer-" + key.transfer_id.str(); }

// The data-parallel rank that computes this hand-off's prompt.
std::size_t rank_of(const EngineFacts& source, const HandoffKey& key) {
  return source.rank_engine_ids.empty() ? 0 : key.number() % source.rank_engine_ids.size();
}

const std::string& engine_of(const EngineFacts& source, const HandoffKey& key) {
  return source.rank_engine_ids.empty() ? source.engine_id
                                        : source.rank_engine_ids[rank_of(source, key)];
}

std::unexpected<Error> no_registry(std::string what) {
  return fail(ErrorCode::kUpstream, Stage::kRouter, "/query of the bootstrap server " + what, true);
}

// Rank and engine id of each entry (mooncake_utils.py: MooncakeBootstrapServer.query).
Result<void> read_engines(const Pod& pod, std::string_view registry, EngineFacts& facts) {
  const auto parsed = nlohmann::json::parse(registry, nullptr, false);
  if (!parsed.is_object()) return no_registry("is no JSON object");
  std::map<std::size_t, std::string> engines;
  for (const auto& [rank, entry] : parsed.items()) {
    const bool is_rank = !rank.empty() && rank.size() < 6 &&
                         rank.find_first_not_of("0123456789") == std::string::npos;
    std::string engine = entry.is_object() ? text_member(entry, "engine_id") : std::string();
    if (!is_rank || engine.empty()) return no_registry("names no engine");
    engines[std::stoul(rank)] = std::move(engine);
    const auto workers = entry.find("worker_addr");
    if (workers != entry.end() && workers->is_object()) {
      facts.tensor_parallel = static_cast<int>(workers->size());
    }
  }
  if (engines.empty()) return no_registry("lists no worker yet");
  if (engines.rbegin()->first + 1 != engines.size()) return no_registry("lacks a rank yet");
  facts.engine_id = engines.begin()->second;
  if (engines.size() > 1) {
    for (auto& [rank, engine] : engines) facts.rank_engine_ids.push_back(std::move(engine));
  }
  const bool is_v6 = pod.host.contains(':');
  facts.kv_address =
      fmt::format("{}{}{}:{}", is_v6 ? "[" : "", pod.host, is_v6 ? "]" : "", pod.bootstrap_port);
  return {};
}

}  // namespace

std::string VllmMooncakeConnector::refuses_split(const OpenAiRequest& request) const {
  return refuses_handoff(request);
}

Result<LegRequest> VllmMooncakeConnector::prefill_leg(const OpenAiRequest& request,
                                                      const Plan& plan,
                                                      const HandoffKey& key) const {
  JsonPatch patch;
  limit_to_prefill(patch, request);
  patch.set("max_tokens", "1");
  patch.set("ignore_eos", "true");
  patch.erase("stop");
  patch.erase("stop_token_ids");
  patch.set(
      kTransferParams,
      fmt::format(R"({{"do_remote_decode":true,"do_remote_prefill":false,"transfer_id":"{}"}})",
                  transfer_of(key)));
  LegRequest leg = patched_leg(request, key, std::move(patch));
  const EngineFacts& own = plan.prefill->pod.facts;
  if (!own.rank_engine_ids.empty()) {
    leg.fields.emplace_back("x-data-parallel-rank", std::to_string(rank_of(own, key)));
  }
  return leg;
}

Result<LegRequest> VllmMooncakeConnector::decode_leg(const OpenAiRequest& request, const Plan& plan,
                                                     const HandoffKey& key,
                                                     const PrefillResponse*) const {
  if (plan.kind == PlanKind::kDecodeOnly) return client_leg(request, key);
  const Pod& source = plan.prefill->pod;
  const std::string& engine = engine_of(source.facts, key);
  if (engine.empty() || source.facts.kv_address.empty()) {
    return fail(ErrorCode::kUnavailable, Stage::kHandoff,
                "pod " + source.name + " has told no hand-off address", true);
  }
  JsonPatch patch;
  patch.set(kTransferParams,
            fmt::format(R"({{"do_remote_decode":false,"do_remote_prefill":true,)"
                        R"("transfer_id":"{}","remote_engine_id":{},"remote_bootstrap_addr":{}}})",
                        transfer_of(key), json_quote(engine),
                        json_quote("http://" + source.facts.kv_address)));
  return patched_leg(request, key, std::move(patch));
}

Result<void> VllmMooncakeConnector::check_prefill(const OpenAiRequest&, const Plan&,
                                                  const PrefillResponse& prefill) const {
  const auto refuse = [](std::string what) {
    return fail(ErrorCode::kCorrupt, Stage::kHandoff, "the prefill answer " + std::move(what),
                true);
  };
  const auto answer = nlohmann::json::parse(prefill.body, nullptr, false);
  if (!answer.is_object()) return refuse("is no JSON object");
  const auto choices = answer.find("choices");
  const bool is_one = choices != answer.end() && choices->is_array() && choices->size() == 1 &&
                      choices->front().is_object();
  if (!is_one) return refuse("has not one choice");
  const std::string reason = text_member(choices->front(), "finish_reason");
  // The API's word for a token that is all of a call; the engine's own is the same.
  const bool was_capped = reason == "length" || reason == "tool_calls";
  if (!was_capped) return refuse("ended with `" + reason + "`, and keeps no blocks then");
  return {};
}

LegAction VllmMooncakeConnector::on_leg_failure(const Error& error) const {
  return nixl::on_leg_failure(error);
}

Error VllmMooncakeConnector::read_error(unsigned status, std::string_view body, Stage leg) const {
  return nixl::read_error(status, body, leg);
}

std::vector<FactsTarget> VllmMooncakeConnector::facts_targets(const Pod& pod) const {
  std::vector<FactsTarget> targets = vllm_facts_targets();
  if (can_prefill(pod.role)) targets.push_back({"/query", pod.bootstrap_port});
  return targets;
}

Result<EngineFacts> VllmMooncakeConnector::read_facts(const Pod& pod,
                                                      std::span<const std::string> bodies) const {
  auto facts = read_vllm_facts(bodies);
  if (!facts || !can_prefill(pod.role)) return facts;
  if (auto read = read_engines(pod, bodies[2], *facts); !read) return std::unexpected(read.error());
  return facts;
}

}  // namespace baton::adapters
