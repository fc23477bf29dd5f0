#include "orchestrator/check/inspect_pods.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <memory>
#include <utility>

namespace baton::orchestrator {

namespace asio = boost::asio;
namespace http = adapters::http;
using http::Task;

namespace {

// Connectors by whose rules the pod's facts can be read.
Task<std::vector<std::string>> ask_what_it_speaks(PodDoor door) {
  std::vector<std::string> speaks;
  const std::string_view configured = door.connector->name();
  for (const std::string& name : adapters::connector_names()) {
    door.connector = adapters::find_connector(name);
    if (name == configured || door.connector->facts_targets(door.pod).empty()) continue;
    const PodLook look = co_await look_at_pod(door, std::nullopt);
    if (look.facts && *look.facts) speaks.push_back(name);
  }
  co_return speaks;
}

Task<void> inspect(InspectedPod* inspected, PodDoor door, InspectionLimits limits) {
  inspected->look = co_await look_at_pod(door, std::nullopt);
  const auto& facts = inspected->look.facts;
  if (!facts) co_return;
  if (!*facts) {
    inspected->speaks = co_await ask_what_it_speaks(std::move(door));
    co_return;
  }
  inspected->pod.facts = **facts;
  auto request = door.connector->probe(inspected->pod, door.model);
  if (!request) co_return;
  const adapters::Connector& connector = *door.connector;
  door.limit = limits.probe;
  const auto answer = co_await send_probe(std::move(door), std::move(*request));
  inspected->probe = answer ? connector.read_probe(inspected->pod, answer->status, answer->body,
                                                   inspected->pod.facts)
                            : std::unexpected(answer.error());
}

http::ClientLimits client_limits(const InspectionLimits& limits) {
  http::ClientLimits client;
  client.connect_time = limits.question;
  client.header_time = std::max(limits.question, limits.probe);
  client.idle_time = client.header_time;
  return client;
}

std::vector<InspectedPod> configured_pods(const Config& config) {
  std::vector<InspectedPod> pods;
  for (const PoolConfig& pool : config.pools) {
    for (Pod& pod : pool.pods()) {
      InspectedPod& inspected = pods.emplace_back();
      inspected.pool = pool.name;
      inspected.model = pool.model;
      inspected.connector = pool.connector;
      for (const LoraConfig& lora : pool.loras) inspected.loras.push_back(lora.name);
      inspected.pod = std::move(pod);
    }
  }
  return pods;
}

}  // namespace

std::vector<InspectedPod> inspect_pods(const Config& config, const InspectionLimits& limits) {
  std::vector<InspectedPod> pods = configured_pods(config);
  asio::io_context io(1);
  const std::shared_ptr<http::Client> client = http::Client::create(io, client_limits(limits));
  std::size_t open = pods.size();
  std::exception_ptr failure;
  for (InspectedPod& pod : pods) {
    const PodDoor door{client, pod.pod, pod.model, adapters::find_connector(pod.connector),
                       limits.question};
    asio::co_spawn(io, inspect(&pod, door, limits), [&](std::exception_ptr failed) {
      if (failed) failure = std::move(failed);
      if (--open == 0) io.stop();  // kept connections would hold it
    });
  }
  if (open > 0) io.run();
  if (failure) std::rethrow_exception(failure);
  return pods;
}

}  // namespace baton::orchestrator
