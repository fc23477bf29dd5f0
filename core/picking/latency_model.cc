#include "core/picking/latency_model.h"

#include <algorithm>

namespace baton {
namespace {

double as_double(std::int64_t count) {
  return static_cast<double>(std::max<std::int64_t>(count, 0));
}

}  // namespace

double LatencyModel::prefill_seconds(Tokens uncached) const {
  return as_double(uncached.count()) * prior_.prefill_seconds_per_token;
}

double LatencyModel::step_seconds(int batch, Tokens kv) const {
  return prior_.step_seconds + as_double(batch) * prior_.step_seconds_per_sequence +
         as_double(kv.count()) * prior_.step_seconds_per_kv_token;
}

double LatencyModel::exposed_transfer_seconds(Bytes bytes, double hidden_seconds) const {
  const double moving = as_double(bytes.count()) / prior_.transfer_bytes_per_second;
  return std::max(0.0, moving - hidden_seconds) + prior_.handoff_seconds;
}

double LatencyModel::lora_seconds(LoraResidency residency) const {
  switch (residency) {
    case LoraResidency::kResident: return 0.0;
    case LoraResidency::kLoadable: return prior_.lora_load_seconds;
    case LoraResidency::kFull: return prior_.lora_load_seconds + prior_.lora_evict_seconds;
  }
  return 0.0;
}

}  // namespace baton
