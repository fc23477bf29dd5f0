#include <fmt/format.h>

#include <array>

#include "adapters/engines/mock/dress.h"
#include "adapters/engines/mock/sglang/sglang_dress.h"
#include "adapters/engines/mock/trtllm/trtllm_dress.h"
#include "adapters/engines/mock/vllm/vllm_dress.h"

namespace baton::adapters::mock {
namespace {

struct Known {
  std::string_view engine;
  std::unique_ptr<Dress> (*make)(PodParts&);
};

template <class T>
std::unique_ptr<Dress> make(PodParts& parts) {
  return std::make_unique<T>(parts);
}

constexpr std::array kKnown = {
    Known{"vllm-nixl", &make<vllm::VllmDress>}, Known{"vllm-nixl-push", &make<vllm::VllmDress>},
    Known{"vllm-mooncake", &make<vllm::VllmDress>}, Known{"sglang", &make<sglang::SglangDress>},
    Known{"trtllm", &make<trtllm::TrtllmDress>}};

}  // namespace

std::vector<std::string> known_dresses() {
  std::vector<std::string> names;
  for (const Known& known : kKnown) names.emplace_back(known.engine);
  return names;
}

Result<std::unique_ptr<Dress>> make_dress(PodParts& parts) {
  for (const Known& known : kKnown) {
    if (known.engine == parts.options.engine) return known.make(parts);
  }
  std::string list;
  for (const std::string& name : known_dresses()) list += (list.empty() ? "" : ", ") + name;
  return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
              fmt::format("no engine '{}'; known: {}", parts.options.engine, list));
}

}  // namespace baton::adapters::mock
