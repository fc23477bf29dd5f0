#include "adapters/engines/mock/vllm/mooncake_bootstrap.h"

#include <fmt/format.h>

#include "adapters/engines/mock/side_channel.h"

namespace baton::adapters::mock::vllm {
namespace {

Answer detail(unsigned status, Json what) {
  return json_answer(status, {{"detail", std::move(what)}});
}

Json wrong_field(const char* type, Json place, const char* message, const Json& input) {
  return {{"type", type}, {"loc", std::move(place)}, {"msg", message}, {"input", input}};
}

// mooncake_utils.py:20, RegisterWorkerPayload: what is wrong with it; empty: nothing.
Json wrong_fields(const Json& worker) {
  if (!worker.is_object()) {
    return Json::array({wrong_field("model_attributes_type", Json::array({"body"}),
                                    "Input should be a valid dictionary or object to extract "
                                    "fields from",
                                    worker)});
  }
  Json wrong = Json::array();
  for (const char* name : {"engine_id", "dp_rank", "tp_rank", "pp_rank", "addr"}) {
    const bool is_text = std::string_view(name) == "engine_id" || std::string_view(name) == "addr";
    const Json place = {"body", name};
    const auto found = worker.find(name);
    if (found == worker.end()) {
      wrong.push_back(wrong_field("missing", place, "Field required", worker));
    } else if (is_text && !found->is_string()) {
      wrong.push_back(wrong_field("string_type", place, "Input should be a valid string", *found));
    } else if (!is_text && !found->is_number_integer()) {
      wrong.push_back(wrong_field("int_type", place, "Input should be a valid integer", *found));
    }
  }
  return wrong;
}

}  // namespace

Answer MooncakeBootstrap::serve(const http::Request& request) {
  const bool asks = request.path() == "/query";
  if (!asks && request.path() != "/register") return detail(404, "Not Found");
  if (request.method != (asks ? "GET" : "POST")) return detail(405, "Method Not Allowed");
  if (asks) return json_answer(200, engines());
  const Json worker = Json::parse(request.body, nullptr, false);
  return add(worker.is_discarded() ? Json() : worker);
}

// mooncake_utils.py:127, register_worker.
Answer MooncakeBootstrap::add(const Json& worker) {
  if (Json wrong = wrong_fields(worker); !wrong.empty()) return detail(422, std::move(wrong));
  const std::string id = worker["engine_id"];
  const std::string address = worker["addr"];
  const std::int64_t dp = worker["dp_rank"];
  const std::int64_t tp = worker["tp_rank"];
  const std::int64_t pp = worker["pp_rank"];
  Engine& engine = engines_.try_emplace(dp, Engine{id, {}}).first->second;
  if (engine.id != id) {
    return detail(400, fmt::format("Engine ID mismatch for dp_rank={}: expected {}, got {}", dp,
                                   engine.id, id));
  }
  const auto [place, is_new] = engine.workers[tp].try_emplace(pp, address);
  if (!is_new && place->second != address) {
    return detail(400, fmt::format("Worker with dp_rank={}, tp_rank={}, pp_rank={} is already "
                                   "registered at {}, but still want to register at {}",
                                   dp, tp, pp, place->second, address));
  }
  return json_answer(200, {{"status", "ok"}});
}

Json MooncakeBootstrap::engines() const {
  Json all = Json::object();
  for (const auto& [dp, engine] : engines_) {
    Json workers = Json::object();
    for (const auto& [tp, stages] : engine.workers) {
      for (const auto& [pp, address] : stages) {
        workers[std::to_string(tp)][std::to_string(pp)] = address;
      }
    }
    all[std::to_string(dp)] = {{"engine_id", engine.id}, {"worker_addr", std::move(workers)}};
  }
  return all;
}

}  // namespace baton::adapters::mock::vllm
