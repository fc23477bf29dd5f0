#include "orchestrator/explain/saved_router.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

namespace baton::orchestrator {
namespace {

using Json = nlohmann::json;

constexpr int kFormat = 1;

Tokens tokens(const Json& from, const char* key) {
  return Tokens(from.at(key).get<std::int64_t>());
}

LatencyPrior read_prior(const Json& learned) {
  LatencyPrior prior;
  learned.at("prefill_seconds").get_to(prior.prefill_seconds);
  learned.at("prefill_seconds_per_token").get_to(prior.prefill_seconds_per_token);
  learned.at("prefill_seconds_per_pair").get_to(prior.prefill_seconds_per_pair);
  learned.at("step_seconds").get_to(prior.step_seconds);
  learned.at("step_seconds_per_sequence").get_to(prior.step_seconds_per_sequence);
  learned.at("step_seconds_per_kv_token").get_to(prior.step_seconds_per_kv_token);
  learned.at("transfer_seconds").get_to(prior.transfer_seconds);
  learned.at("transfer_bytes_per_second").get_to(prior.transfer_bytes_per_second);
  learned.at("handoff_seconds").get_to(prior.handoff_seconds);
  learned.at("lora_load_seconds").get_to(prior.lora_load_seconds);
  learned.at("lora_evict_seconds").get_to(prior.lora_evict_seconds);
  return prior;
}

EngineFacts read_facts(const Json& json) {
  EngineFacts facts;
  json.at("engine_id").get_to(facts.engine_id);
  json.at("epoch").get_to(facts.epoch);
  json.at("engine_version").get_to(facts.engine_version);
  json.at("model_hash").get_to(facts.model_hash);
  const auto hash = json.at("layout_hash").get<std::string>();
  std::from_chars(hash.data(), hash.data() + hash.size(), facts.layout_hash, 16);
  json.at("kv_address").get_to(facts.kv_address);
  facts.block_tokens = tokens(json, "block_tokens");
  facts.max_context = tokens(json, "max_context");
  facts.bytes_per_token = Bytes(json.at("bytes_per_token").get<std::int64_t>());
  json.at("served").get_to(facts.served);
  json.at("tensor_parallel").get_to(facts.tensor_parallel);
  return facts;
}

PodState read_state(const Json& pod, TimePoint now) {
  PodState state;
  for (const Health health :
       {Health::kUnknown, Health::kHealthy, Health::kEjected, Health::kDraining}) {
    if (pod.at("health") == name_of(health)) state.health = health;
  }
  if (pod.at("unusable_because").is_string())
    pod["unusable_because"].get_to(state.unusable_because);
  const Json& seen = pod.at("observed");
  if (seen.is_null()) return state;
  state.observed_at =
      now - std::chrono::duration_cast<Duration>(Seconds(seen.at("age_seconds").get<double>()));
  seen.at("running").get_to(state.running);
  seen.at("waiting").get_to(state.waiting);
  seen.at("deferred").get_to(state.deferred);
  seen.at("kv_usage").get_to(state.kv_usage);
  state.kv_capacity = tokens(seen, "kv_capacity_tokens");
  seen.at("running_loras").get_to(state.running_loras);
  seen.at("waiting_loras").get_to(state.waiting_loras);
  seen.at("resident_loras").get_to(state.resident_loras);
  seen.at("lora_slots_used").get_to(state.lora_slots_used);
  seen.at("max_loras").get_to(state.max_loras);
  return state;
}

void read_load(PodLoad& load, const Json& json, TimePoint now) {
  load.in_flight = json.at("in_flight").get<int>();
  load.waiting_prompts = json.at("waiting_prompts").get<int>();
  load.waiting_pairs = json.at("waiting_pairs").get<std::int64_t>();
  load.uncached_prefill_tokens = json.at("uncached_prefill_tokens").get<std::int64_t>();
  load.running_decodes = json.at("running_decodes").get<int>();
  load.coming_decodes = json.value("coming_decodes", 0);
  load.reserved_kv_tokens = json.at("reserved_kv_tokens").get<std::int64_t>();
  load.prefills.assume_share(json.at("prefill_share").get<double>(), now);
  if (const Json& computing = json.at("computing_seconds"); computing.is_number()) {
    load.busy_since = now - std::chrono::duration_cast<Duration>(Seconds(computing.get<double>()));
  }
}

// A pod with what the configuration does not say of it.
std::shared_ptr<const PodEntry> read_pod(Pod pod, const Json& saved, std::uint32_t index,
                                         TimePoint now) {
  auto entry = std::make_shared<PodEntry>();
  entry->pod = std::move(pod);
  entry->pod.facts = read_facts(saved.at("facts"));
  entry->state = read_state(saved, now);
  entry->index = index;
  return entry;
}

bool is_blank(const Json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>().empty();
  return value.is_null() || value == 0 || (value.is_structured() && value.empty());
}

// A configuration in force spells out what its file left out, which a file must not do.
void drop_blanks(Json& json) {
  for (Json& item : json) {
    if (item.is_structured()) drop_blanks(item);
  }
  if (!json.is_object()) return;
  for (auto it = json.begin(); it != json.end();) {
    it = is_blank(*it) ? json.erase(it) : std::next(it);
  }
}

const Json* find_named(const Json& list, const std::string& name) {
  const auto found =
      std::ranges::find_if(list, [&name](const Json& item) { return item.at("name") == name; });
  return found == list.end() ? nullptr : &*found;
}

std::unexpected<Error> unfit(std::string message) {
  return fail(ErrorCode::kInvalidArgument, Stage::kRouter, std::move(message));
}

}  // namespace

std::string saved_router_json(std::string_view config, std::string_view pods) {
  const Json saved = {{"baton_explain", kFormat},
                      {"config", Json::parse(config)},
                      {"pods", Json::parse(pods).at("pools")}};
  return saved.dump(2) + "\n";
}

Result<std::unique_ptr<SavedRouter>> SavedRouter::read(std::string_view json) {
  try {
    Json saved = Json::parse(json);
    if (saved.at("baton_explain") != kFormat) return unfit("it is of another version");
    drop_blanks(saved.at("config"));
    auto config = parse_config(saved.at("config").dump());
    if (!config) {
      return unfit("its configuration is not valid: " + config.error().front().message);
    }
    std::unique_ptr<SavedRouter> router(new SavedRouter);
    const TimePoint now = Clock::now();
    std::uint32_t index = 0;
    std::vector<std::shared_ptr<const Snapshot>> snapshots;
    for (const PoolConfig& pool : config->pools) {
      const Json* known = find_named(saved.at("pods"), pool.name);
      if (known == nullptr) return unfit(fmt::format("it lacks the pods of pool {}", pool.name));
      const Json& learned = known->at("learned");
      LatencyModel& model = router->latencies_.of(pool.name, read_prior(learned));
      LearnedSizes& sizes = router->sizes_.of(pool.name);
      sizes.bytes_per_token = learned.at("bytes_per_token").get<double>();
      sizes.output_tokens = learned.at("output_tokens").get<double>();
      auto snapshot = std::make_shared<Snapshot>();
      snapshot->version = 1;
      snapshot->pool = pool.name;
      for (Pod& pod : pool.pods()) {
        const Json* its = find_named(known->at("pods"), pod.name);
        if (its == nullptr) return unfit(fmt::format("it lacks the pod {}", pod.name));
        read_load(router->loads_.of(index), its->at("load"), now);
        const Json& factors = its->at("learned");
        model.assume(index, {factors.at("prefill_factor"), factors.at("step_factor")});
        snapshot->pods.push_back(read_pod(std::move(pod), *its, index, now));
        ++index;
      }
      snapshots.push_back(std::move(snapshot));
    }
    router->context_ = std::make_unique<ThreadContext>(
        router->io_, std::make_shared<const Config>(std::move(*config)),
        SharedTables{router->loads_, router->prefixes_, router->latencies_, router->metrics_,
                     nullptr, &router->sizes_});
    for (auto& snapshot : snapshots) router->context_->set_snapshot(std::move(snapshot));
    return router;
  } catch (const Json::exception& error) {
    return unfit(std::string("it is no state that `baton explain --save` wrote: ") + error.what());
  }
}

}  // namespace baton::orchestrator
