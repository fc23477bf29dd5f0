#include "orchestrator/check/misfits.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <utility>

#include "core/pairing.h"

namespace baton::orchestrator {
namespace {

bool has(const std::vector<std::string>& names, std::string_view name) {
  return std::ranges::find(names, name) != names.end();
}

bool is_loopback(std::string_view host) {
  return host == "localhost" || host.starts_with("127.") || host == "::1" || host == "[::1]";
}

std::string_view host_of(std::string_view address) {
  return address.substr(0, std::min(address.rfind(':'), address.size()));
}

Misfit of_one(const InspectedPod& pod, std::string what, std::string remedy) {
  return {{pod.pod.name}, std::move(what), std::move(remedy)};
}

Misfit wrong_facts(const InspectedPod& pod) {
  const std::string& said = pod.look.facts->error().message;
  if (pod.speaks.empty()) {
    return of_one(pod, said, fmt::format("is it a pod for the connector {}?", pod.connector));
  }
  return of_one(pod, fmt::format("does not speak {}: {}", pod.connector, said),
                fmt::format("its answers are those of connector {}: set that for the pool",
                            fmt::join(pod.speaks, " or ")));
}

void add_models(std::vector<Misfit>& misfits, const InspectedPod& pod) {
  if (!pod.look.served) {
    misfits.push_back(
        of_one(pod, "lists no models at /v1/models", "is it an OpenAI server? Requests may fail"));
    return;
  }
  const ServedModels& served = *pod.look.served;
  if (auto serves = check_served(served, pod.model); !serves) {
    misfits.push_back(of_one(pod, serves.error().message, ""));
  }
  for (const std::string& lora : pod.loras) {
    if (has(served.adapters, lora) || has(served.models, lora)) continue;
    misfits.push_back(of_one(pod, fmt::format("does not serve the pool's adapter {}", lora),
                             "load it on every pod of the pool"));
  }
}

void add_of_pod(std::vector<Misfit>& misfits, const InspectedPod& pod) {
  const PodLook& look = pod.look;
  if (!look.health) {
    misfits.push_back(of_one(
        pod, fmt::format("is not reached at {}: {}", pod.pod.url, look.health.error().message),
        "is it started, and the address right?"));
    return;
  }
  if (!look.facts || !*look.facts) {
    misfits.push_back(wrong_facts(pod));
    return;
  }
  add_models(misfits, pod);
  if (pod.probe && !*pod.probe) {
    misfits.push_back(of_one(pod, "its probe failed: " + pod.probe->error().message, ""));
  }
  if (!look.metrics) {
    misfits.push_back(of_one(pod, "tells no load: " + look.metrics.error().message,
                             "start it with its metrics (SGLang: --enable-metrics; TensorRT-LLM: "
                             "return_perf_metrics); restarts are noticed late without"));
  }
}

bool understood(const InspectedPod& pod) {
  return pod.look.health && pod.look.facts && *pod.look.facts;
}

using Pods = std::vector<const InspectedPod*>;

// The pods of each pool that told what they are, in the order of the configuration.
std::vector<Pods> by_pool(std::span<const InspectedPod> pods) {
  std::vector<Pods> pools;
  for (const InspectedPod& pod : pods) {
    if (!understood(pod)) continue;
    if (pools.empty() || pools.back().front()->pool != pod.pool) pools.emplace_back();
    pools.back().push_back(&pod);
  }
  return pools;
}

void add_name(std::vector<std::string>& names, const std::string& name) {
  if (!has(names, name)) names.push_back(name);
}

void add_unpairable(std::vector<Misfit>& misfits, const Pods& pool) {
  std::map<std::string, std::vector<std::string>> apart;
  for (const InspectedPod* prefill : pool) {
    for (const InspectedPod* decode : pool) {
      if (prefill == decode || !can_prefill(prefill->pod.role) || !can_decode(decode->pod.role)) {
        continue;
      }
      const std::string why = why_unpairable(prefill->pod.facts, decode->pod.facts);
      if (why.empty()) continue;
      add_name(apart[why], prefill->pod.name);
      add_name(apart[why], decode->pod.name);
    }
  }
  for (auto& [why, names] : apart) {
    misfits.push_back({std::move(names), "cannot exchange KV: " + why,
                       "start them with the same version, model and block size"});
  }
}

// A prefill pod that hands over at an address of its own host only.
void add_unreachable_kv(std::vector<Misfit>& misfits, const Pods& pool) {
  for (const InspectedPod* prefill : pool) {
    const std::string& address = prefill->pod.facts.kv_address;
    if (!can_prefill(prefill->pod.role) || !is_loopback(host_of(address))) continue;
    const bool elsewhere = std::ranges::any_of(pool, [prefill](const InspectedPod* decode) {
      return can_decode(decode->pod.role) && decode->pod.host != prefill->pod.host;
    });
    if (!elsewhere) continue;
    misfits.push_back(of_one(*prefill,
                             fmt::format("hands over at {}, which decode pods on other hosts do "
                                         "not reach",
                                         address),
                             "give it an address of its host (vLLM: VLLM_NIXL_SIDE_CHANNEL_HOST)"));
  }
}

void add_contexts(std::vector<Misfit>& misfits, const Pods& pool) {
  std::map<std::int64_t, std::vector<std::string>> pods;
  for (const InspectedPod* pod : pool) {
    const std::int64_t tokens = pod->pod.facts.max_context.count();
    if (tokens > 0) pods[tokens].push_back(pod->pod.name);
  }
  if (pods.size() < 2) return;
  misfits.push_back({pods.begin()->second,
                     fmt::format("take at most {} tokens, other pods of the pool {}",
                                 pods.begin()->first, pods.rbegin()->first),
                     "start all with the same longest context, or long requests fail on these"});
}

// One process under several names, which the addresses do not show.
void add_same_engine(std::vector<Misfit>& misfits, std::span<const InspectedPod> pods) {
  std::map<std::string, std::vector<std::string>> engines;
  for (const InspectedPod& pod : pods) {
    if (!pod.pod.facts.engine_id.empty()) engines[pod.pod.facts.engine_id].push_back(pod.pod.name);
  }
  for (auto& [id, names] : engines) {
    if (names.size() < 2) continue;
    misfits.push_back({std::move(names), "are one process, engine " + id,
                       "list each pod once; one that does both stages goes under `both`"});
  }
}

}  // namespace

std::vector<Misfit> find_misfits(std::span<const InspectedPod> pods) {
  std::vector<Misfit> misfits;
  for (const InspectedPod& pod : pods) add_of_pod(misfits, pod);
  add_same_engine(misfits, pods);
  for (const Pods& pool : by_pool(pods)) {
    add_unpairable(misfits, pool);
    add_unreachable_kv(misfits, pool);
    add_contexts(misfits, pool);
  }
  return misfits;
}

}  // namespace baton::orchestrator
