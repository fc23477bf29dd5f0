// Whatever stands at the other end of a `baton kv-perf`: each line is refused or means what it
// says.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "orchestrator/kv_perf/words.h"

namespace {

using namespace baton::orchestrator::kv_perf;

void require(bool holds) {
  if (!holds) std::abort();
}

template <class Read>
void check_error(const Read& read) {
  if (read) return;
  require(!read.error().message.empty());
  for (const char c : read.error().message) require(static_cast<unsigned char>(c) >= 0x20);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view line(reinterpret_cast<const char*>(data), size);
  const auto request = read_request(line);
  if (request) {
    require(request->shape.blocks >= 1 && request->shape.bytes >= 1);
    require(request->shape.total().count() <= std::int64_t{1} << 47);
    require(read_request(std::string_view(request->line()).substr(0, request->line().size() - 1))
                ->shape == request->shape);
  }
  const auto ready = read_ready(line);
  if (ready) require(!ready->address.empty());
  const auto offer = read_offer(line);
  if (offer) require(read_offered("offered " + offer->str(), *offer).has_value());
  check_error(request);
  check_error(ready);
  check_error(offer);
  check_error(read_offered(line, baton::TransferId(1, 2)));
  return 0;
}
