// Whatever a pod streams: the same is seen wherever pieces end, and nothing is read out of bounds.
// The first byte is the size of the pieces.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "orchestrator/lifecycle/stream_watch.h"
#include "orchestrator/lifecycle/usage.h"

using baton::orchestrator::StreamWatch;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::size_t piece = std::size_t{data[0]} + 1;
  const std::string_view stream(reinterpret_cast<const char*>(data) + 1, size - 1);
  StreamWatch whole;
  whole.feed(stream);
  StreamWatch pieces;
  for (std::size_t at = 0; at < stream.size(); at += piece) {
    pieces.feed(stream.substr(at, piece));
  }
  const bool same = whole.events() == pieces.events() && whole.done() == pieces.done() &&
                    whole.engine_error() == pieces.engine_error() &&
                    whole.inside_event() == pieces.inside_event();
  if (!same || !stream.ends_with(pieces.tail())) std::abort();
  if (const auto usage = baton::orchestrator::read_usage(stream)) {
    if (usage->prompt.count() < 0 || usage->cached.count() < 0) std::abort();
  }
  (void)baton::orchestrator::read_number(stream, "kv_bytes");
  (void)baton::orchestrator::read_text(stream, "transport");
  return 0;
}
