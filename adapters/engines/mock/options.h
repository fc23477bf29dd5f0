#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "adapters/engines/mock/faults.h"
#include "adapters/kv_events/event_encoder.h"
#include "core/engine_model/engine.h"
#include "core/pod.h"
#include "core/units.h"

namespace baton::adapters::mock {

// What one mock pod is. Engines differ in which of these they heed.
struct MockOptions {
  std::string engine = "vllm-nixl";
  Role role = Role::kBoth;
  std::string name;  // empty: the listening address
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;
  std::string side_channel_host = "127.0.0.1";  // where peers fetch KV
  std::uint16_t side_channel_port = 0;
  std::string engine_id;  // empty: drawn

  std::string model = "mock-model";
  std::vector<std::pair<std::string, std::string>> loras;  // name, path
  Tokens max_model_len{8192};
  Bytes kv_bytes_per_token{131072};
  engine_model::EngineModelOptions model_options;
  int data_parallel_size = 1;
  // Where the first rank publishes and replays KV events, the others at the next ports; 0: nowhere.
  std::uint16_t kv_events_port = 0;
  std::uint16_t kv_replay_port = 0;
  KvEventEncoding kv_events_encoding = KvEventEncoding::kVllmMap;

  // How long blocks are kept; of vllm-mooncake VLLM_MOONCAKE_ABORT_REQUEST_TIMEOUT, 480 s there.
  Duration lease = std::chrono::seconds(30);
  // How long an SGLang prefill leg waits for its decode leg, and a decode leg for its KV
  // (SGLANG_DISAGGREGATION_BOOTSTRAP_TIMEOUT and ..._WAITING_TIMEOUT; with vllm-mooncake the
  // timeout above and 60 s).
  Duration bootstrap_timeout = std::chrono::seconds(300);
  Duration waiting_timeout = std::chrono::seconds(300);
  bool recompute_failed_loads = false;  // else they fail the request
  bool prompt_tokens_details = false;
  Duration slow_start{};                  // 503 for that long
  std::string tool_call_parser = "mock";  // empty: tool choices are refused
  std::uint64_t seed = 0;                 // of what is drawn: ids, sampling without a seed, faults
  std::vector<Fault> faults;
};

}  // namespace baton::adapters::mock
