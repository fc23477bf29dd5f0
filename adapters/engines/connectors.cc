#include "adapters/engines/baton/baton_connector.h"
#include "adapters/engines/connector.h"

namespace baton::adapters {

const Connector* find_connector(std::string_view name) {
  static const BatonConnector baton;
  if (name == baton.name()) return &baton;
  return nullptr;
}

}  // namespace baton::adapters
