#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/units.h"

namespace baton::engine_model {

// Prompt tokens that one step computes, of one sequence or several.
struct PrefillWork {
  Tokens uncached{0};  // computed now
  double pairs = 0;    // sum of (cached + uncached)² − cached² over the sequences

  // `cached` tokens are read by the attention, but computed by nobody.
  void add(Tokens cached, Tokens uncached_too);
};

// Sequences that get one token each.
struct DecodeWork {
  int batch = 0;
  Tokens context{0};      // of all of them together
  double kv_usage = 0.0;  // share of the KV blocks in use, 0 to 1
};

// How long an engine on some machine takes, as formulae. A value; pure. A number that comes from
// here is simulated, never measured.
//   prefill  = base + per token·uncached + square·pairs + square of the step·uncached²
//   decode   = base + per sequence·batch + per token·context, or Dynamo's parabola of kv_usage
//   transfer = setup + bytes / bandwidth
struct LatencyProfile {
  std::string name = "instant";
  std::string source = "nothing takes time";

  double prefill_base_s = 0;
  double prefill_token_s = 0;
  double prefill_square_s = 0;
  double prefill_step_square_s = 0;     // · (uncached tokens of the step)²
  bool first_token_takes_step = false;  // a decode step behind the prefill that ends a prompt
  double step_base_s = 0;
  double step_sequence_s = 0;
  double step_context_token_s = 0;
  double step_usage_s = 0;         // · kv_usage
  double step_usage_square_s = 0;  // · kv_usage²
  double step_least_s = 0;
  double transfer_setup_s = 0;
  double transfer_byte_s = 0;
  double adapter_load_s = 0;
  double factor = 1.0;  // of everything

  [[nodiscard]] Duration prefill(PrefillWork work) const;
  [[nodiscard]] Duration decode(const DecodeWork& work) const;
  // One step with both in it: a chunk of a prompt makes the streams beside it wait.
  [[nodiscard]] Duration step(PrefillWork prefill, const DecodeWork& decode) const;
  [[nodiscard]] Duration transfer(Bytes bytes) const;
  [[nodiscard]] Duration adapter_load() const;
};

// The profiles that have a name, the instant one first.
[[nodiscard]] const std::vector<LatencyProfile>& latency_profiles();

// Reads NAME, NAME*FACTOR (slower by FACTOR; 0.5 is twice as fast), or settings such as
// `prefill_ms=20,prefill_token_us=30,step_ms=8,transfer_ms=1`, which change the profile named
// before them (`h100-8b,step_ms=20`), else the instant one. Errors: kInvalidArgument with what is
// known.
[[nodiscard]] Result<LatencyProfile> parse_latency_profile(std::string_view text);

}  // namespace baton::engine_model
