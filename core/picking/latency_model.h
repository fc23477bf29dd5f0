#pragma once

#include "core/picking/lora_residency.h"
#include "core/units.h"

namespace baton {

// What is assumed of a pool's pods before anything was observed: an 8B model on one data-centre
// GPU. Only the proportions matter for picking.
struct LatencyPrior {
  double prefill_seconds_per_token = 100e-6;
  double step_seconds = 8e-3;  // one decode step at batch 0
  double step_seconds_per_sequence = 40e-6;
  double step_seconds_per_kv_token = 10e-9;  // of all sequences together
  double transfer_bytes_per_second = 4e9;
  double handoff_seconds = 2e-3;  // fixed cost of a split: second leg, handshake, last piece
  double lora_load_seconds = 0.1;
  double lora_evict_seconds = 0.2;
};

// Predicted times of one pool's pods. A value, copied into each thread's planner; pure.
class LatencyModel {
 public:
  LatencyModel() = default;
  explicit LatencyModel(const LatencyPrior& prior) : prior_(prior) {}

  // Computing `uncached` prompt tokens.
  [[nodiscard]] double prefill_seconds(Tokens uncached) const;
  // One decode step of `batch` sequences that hold `kv` tokens together.
  [[nodiscard]] double step_seconds(int batch, Tokens kv) const;
  // The part of moving `bytes` that `hidden_seconds` of prefill does not cover, plus the fixed cost
  // of a hand-off.
  [[nodiscard]] double exposed_transfer_seconds(Bytes bytes, double hidden_seconds) const;
  [[nodiscard]] double lora_seconds(LoraResidency residency) const;

 private:
  LatencyPrior prior_;
};

}  // namespace baton
