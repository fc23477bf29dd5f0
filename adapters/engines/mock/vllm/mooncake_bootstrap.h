#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "adapters/engines/mock/dress.h"

namespace baton::adapters::mock::vllm {

// vLLM 0.32.0's MooncakeBootstrapServer (mooncake/mooncake_utils.py): where decode servers learn
// the engines of a prefill server and where their workers listen. Owned by the hand-off, on the
// pod's thread.
//   POST /register  a worker makes itself known
//   GET  /query     all that are known, by data-parallel rank
class MooncakeBootstrap {
 public:
  [[nodiscard]] Answer serve(const http::Request& request);
  Answer add(const Json& worker);
  [[nodiscard]] Json engines() const;

 private:
  struct Engine {
    std::string id;
    std::map<std::int64_t, std::map<std::int64_t, std::string>> workers;  // by tp and pp rank
  };
  std::map<std::int64_t, Engine> engines_;  // by dp rank
};

}  // namespace baton::adapters::mock::vllm
