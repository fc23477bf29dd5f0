#include <array>

#include "adapters/engines/baton/baton_connector.h"
#include "adapters/engines/connector.h"
#include "adapters/engines/plain/plain_connector.h"
#include "adapters/engines/sglang/sglang_connector.h"
#include "adapters/engines/trtllm/trtllm_connector.h"
#include "adapters/engines/vllm/mooncake_connector.h"
#include "adapters/engines/vllm/nixl_connector.h"
#include "adapters/engines/vllm/nixl_push_connector.h"

namespace baton::adapters {
namespace {

const auto& all_connectors() {
  static const BatonConnector baton;
  static const VllmNixlConnector vllm_nixl;
  static const VllmNixlPushConnector vllm_nixl_push;
  static const VllmMooncakeConnector vllm_mooncake;
  static const SglangConnector sglang;
  static const TrtllmConnector trtllm;
  static const PlainConnector plain;
  static const std::array<const Connector*, 7> all = {
      &baton, &vllm_nixl, &vllm_nixl_push, &vllm_mooncake, &sglang, &trtllm, &plain};
  return all;
}

}  // namespace

const Connector* find_connector(std::string_view name) {
  for (const Connector* connector : all_connectors()) {
    if (connector->name() == name) return connector;
  }
  return nullptr;
}

std::vector<std::string> connector_names() {
  std::vector<std::string> names;
  for (const Connector* connector : all_connectors()) names.emplace_back(connector->name());
  return names;
}

}  // namespace baton::adapters
