// Readers of load traces: the first byte says which, the rest is the file.
#include <cctype>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "orchestrator/bench/workload/traces.h"

namespace {

using namespace baton::orchestrator::bench;

void require(bool holds) {
  if (!holds) std::abort();
}

template <class T>
void check_error(const baton::Result<T>& result) {
  const std::string& message = result.error().message;
  require(message.starts_with("f:") && message.size() > 4);
  std::size_t digits = 0;
  while (std::isdigit(static_cast<unsigned char>(message[2 + digits])) != 0) ++digits;
  require(digits > 0 && message[2] != '0' && message.substr(2 + digits).starts_with(": "));
}

// Times begin at 0 and ascend; lengths are within their bounds.
template <class Entry>
void check_timed(const baton::Result<Trace<Entry>>& trace) {
  if (!trace) return check_error(trace);
  require(!trace->entries.empty() && trace->out_of_order < trace->entries.size());
  baton::Duration latest{};
  require(trace->entries.front().at == latest);
  for (const Entry& entry : trace->entries) {
    require(entry.at >= latest);
    latest = entry.at;
    require(entry.input_tokens >= 1 && entry.input_tokens <= kMostTraceTokens);
    require(entry.output_tokens >= 0 && entry.output_tokens <= kMostTraceTokens);
  }
}

void check_sharegpt(std::string_view text) {
  const auto trace = read_sharegpt(text, "f");
  if (!trace) return check_error(trace);
  require(!trace->entries.empty());
  for (const ShareGptEntry& entry : trace->entries) {
    require(!entry.turns.empty() && entry.turns.back().role == "user" && !entry.answer.empty());
  }
}

void check_custom(std::string_view text) {
  const auto trace = read_custom(text, "f");
  if (!trace) return check_error(trace);
  require(!trace->entries.empty());
  const bool timed = trace->entries.front().at.has_value();
  baton::Duration latest{};
  for (const CustomEntry& entry : trace->entries) {
    require(!entry.turns.empty() && entry.at.has_value() == timed);
    require(entry.max_tokens.value_or(1) >= 1);
    if (timed) require(*entry.at >= latest);
    if (timed) latest = *entry.at;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::string_view text(reinterpret_cast<const char*>(data) + 1, size - 1);
  switch (data[0] % 4) {
    case 0: check_timed(read_mooncake(text, "f")); break;
    case 1: check_timed(read_azure(text, "f")); break;
    case 2: check_sharegpt(text); break;
    default: check_custom(text);
  }
  return 0;
}
