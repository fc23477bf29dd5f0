#include "orchestrator/registry/pod_inspection.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <nlohmann/json.hpp>
#include <utility>

namespace baton::orchestrator {

namespace asio = boost::asio;
namespace http = adapters::http;
using http::Task;

namespace {

constexpr Bytes kAnswerLimit{4LL << 20};
constexpr std::string_view kModelsTarget = "/v1/models";
constexpr std::size_t kNamedModels = 4;  // in a message

Task<Result<ProbeAnswer>> exchange(std::shared_ptr<http::Client> client, std::string host,
                                   std::uint16_t port, http::ClientRequest request) {
  auto exchange = co_await client->send(std::move(host), port, std::move(request));
  if (!exchange) co_return std::unexpected(exchange.error());
  auto body = co_await (*exchange)->read_all(kAnswerLimit);
  if (!body) co_return std::unexpected(body.error());
  co_return ProbeAnswer{(*exchange)->status(), std::move(*body)};
}

Task<Result<ProbeAnswer>> exchange_within(Duration limit, std::shared_ptr<http::Client> client,
                                          std::string host, std::uint16_t port,
                                          http::ClientRequest request) {
  using asio::experimental::awaitable_operators::operator||;
  asio::steady_timer timer(co_await asio::this_coro::executor, limit);
  const std::string target = request.target;
  auto first = co_await (exchange(std::move(client), std::move(host), port, std::move(request)) ||
                         timer.async_wait(asio::use_awaitable));
  if (first.index() == 0) co_return std::get<0>(std::move(first));
  co_return fail(ErrorCode::kTimeout, Stage::kRouter, target + " took too long", true);
}

// A body that came with 200.
Task<Result<std::string>> get(const PodDoor& door, std::string target, std::uint16_t port = 0) {
  http::ClientRequest request;
  request.method = "GET";
  request.target = target;
  auto answer = co_await exchange_within(door.limit, door.client, door.pod.host,
                                         port == 0 ? door.pod.port : port, std::move(request));
  if (!answer) co_return std::unexpected(answer.error());
  if (answer->status != 200) {
    co_return fail(ErrorCode::kUpstream, Stage::kRouter,
                   fmt::format("{} answered {}", target, answer->status), true);
  }
  co_return std::move(answer->body);
}

// What engines say in their metrics alone. A look that brought none changes nothing.
void add_facts_of_metrics(EngineFacts& facts, const Result<EngineMetrics>& metrics,
                          const EngineFacts& before) {
  if (facts.epoch == 0) facts.epoch = metrics ? metrics->started_at : before.epoch;
  if (facts.block_tokens.count() == 0) {
    facts.block_tokens = metrics ? metrics->block_tokens : before.block_tokens;
  }
}

Task<Result<EngineMetrics>> ask_metrics(const PodDoor& door) {
  std::string target = door.pod.metrics_path;
  if (target.empty()) {
    target = door.connector == nullptr ? "/metrics" : door.connector->metrics_target();
  }
  const auto text = co_await get(door, target);
  if (!text) co_return std::unexpected(text.error());
  auto metrics = read_engine_metrics(*text);
  if (metrics) co_return std::move(*metrics);
  co_return fail(ErrorCode::kUpstream, Stage::kRouter,
                 target + " has none of the metrics of a known engine", true);
}

// The answers that the connector's facts are read from, and the list of models if it is one of
// them.
struct Told {
  std::vector<std::string> bodies;
  std::optional<std::string> models;
};

Task<Result<Told>> ask_facts(const PodDoor& door) {
  Told told;
  if (door.connector == nullptr) co_return told;
  for (const adapters::FactsTarget& wanted : door.connector->facts_targets(door.pod)) {
    auto body = co_await get(door, wanted.target, wanted.port);
    if (!body) co_return std::unexpected(body.error());
    if (wanted.target == kModelsTarget && wanted.port == 0) told.models = *body;
    told.bodies.push_back(std::move(*body));
  }
  co_return told;
}

Result<EngineFacts> read_facts(const PodDoor& door, const Told& told) {
  if (told.bodies.empty()) return EngineFacts();
  return door.connector->read_facts(door.pod, told.bodies);
}

Task<void> add_facts(PodLook& look, const PodDoor& door) {
  auto told = co_await ask_facts(door);
  look.facts = told ? read_facts(door, *told) : std::unexpected(told.error());
  if (!*look.facts) co_return;
  add_facts_of_metrics(**look.facts, look.metrics, door.pod.facts);

  if (!told->models) {
    auto body = co_await get(door, std::string(kModelsTarget));
    if (!body) co_return;
    told->models = std::move(*body);
  }
  look.served = read_models(*told->models);
  if (!look.served) co_return;
  std::vector<std::string>& served = (*look.facts)->served;
  served = look.served->models;
  served.insert(served.end(), look.served->adapters.begin(), look.served->adapters.end());
}

std::string text_of(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

Task<PodLook> look_at_pod(PodDoor door, std::optional<std::uint64_t> known_start) {
  PodLook look;
  if (auto answer = co_await get(door, door.pod.health_path); !answer) {
    look.health = std::unexpected(answer.error());
    look.metrics = std::unexpected(std::move(answer.error()));
    co_return look;
  }
  look.metrics = co_await ask_metrics(door);
  const bool same_start =
      known_start && (!look.metrics || look.metrics->started_at == *known_start);
  if (!same_start) co_await add_facts(look, door);
  co_return look;
}

Task<Result<ProbeAnswer>> send_probe(PodDoor door, adapters::LegRequest request) {
  http::ClientRequest sent;
  sent.method = std::move(request.method);
  sent.target = std::move(request.target);
  sent.body = std::move(request.body);
  if (!sent.body.empty()) sent.fields.emplace_back("content-type", "application/json");
  for (auto& [name, value] : request.fields) {
    sent.fields.emplace_back(std::move(name), std::move(value));
  }
  auto answer = co_await exchange_within(door.limit, door.client, door.pod.host, door.pod.port,
                                         std::move(sent));
  if (!answer) answer.error().retryable = true;
  co_return answer;
}

std::optional<ServedModels> read_models(std::string_view body) {
  const auto parsed = nlohmann::json::parse(body, nullptr, false);
  if (!parsed.is_object()) return std::nullopt;
  const auto data = parsed.find("data");
  if (data == parsed.end() || !data->is_array() || data->empty()) return std::nullopt;
  ServedModels served;
  for (const auto& model : *data) {
    if (!model.is_object()) return std::nullopt;
    std::string name = text_of(model, "id");
    if (name.empty()) return std::nullopt;
    const bool adapter = !text_of(model, "parent").empty();
    (adapter ? served.adapters : served.models).push_back(std::move(name));
  }
  return served;
}

Result<void> check_served(const ServedModels& served, std::string_view model) {
  const auto lists = [model](const std::vector<std::string>& names) {
    return std::ranges::find(names, model) != names.end();
  };
  if (lists(served.models) || lists(served.adapters)) return {};
  std::vector<std::string> named(served.models.begin(),
                                 served.models.begin() + static_cast<std::ptrdiff_t>(std::min(
                                                             served.models.size(), kNamedModels)));
  if (named.size() < served.models.size()) named.emplace_back("...");
  return fail(ErrorCode::kNotFound, Stage::kRouter,
              fmt::format("serves the model {}, not {}: set `model` of the pool, or the name "
                          "under which the pod serves it",
                          fmt::join(named, ", "), model));
}

}  // namespace baton::orchestrator
