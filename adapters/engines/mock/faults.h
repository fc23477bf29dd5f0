#pragma once

#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/engines/mock/json.h"
#include "core/error.h"

namespace baton::adapters::mock {

enum class FaultKind : std::uint8_t {
  kStatus,           // answers `value` (a 4xx or 5xx)
  kReset,            // resets the connection without an answer
  kHang,             // says nothing until the client leaves
  kDieAfterPrefill,  // answers, then the pod is gone: no port answers any more
  kHalfClose,        // half of the answer, then closes its sending side only
  kGarbage,          // bytes that are no HTTP
  kHalfJson,         // a good head, and half of the answer's JSON
  kTwoResponses,     // the answer twice
  kErrorIn200,       // 200 with an error object, or as a stream's first event
  kCutUtf8,          // a stream that ends in the middle of a character
  kChunk10Mib,       // one chunk of 10 MiB before the answer's end
  kNothing,          // closes in order without an answer
  kWrongKv,          // hands over KV of another prompt, and says nothing
  kVersionMismatch,  // has another version than it says, when asked for KV
  kSlowHeaders,      // answers `value` milliseconds later
  kIdleClose,        // answers well, then closes the kept connection unannounced
  kAbsentParams,     // a prefill answer without parameters of the hand-off
};

// Which leg of a hand-off a request is; kPlain: none.
enum class Leg : std::uint8_t { kPlain, kPrefill, kDecode };
[[nodiscard]] std::string_view name_of(Leg leg);

// One scripted fault. Text form: KIND[=VALUE][@LEG][:COUNT][%PROBABILITY].
struct Fault {
  FaultKind kind = FaultKind::kStatus;
  std::int64_t value = 0;
  std::optional<Leg> leg;   // none: any
  std::int64_t count = -1;  // times that it may happen yet; -1: always
  double probability = 1.0;
};

[[nodiscard]] std::string_view name_of(FaultKind kind);

// Reads a list of faults: text with commas between them, or a JSON array of texts and of objects
// {kind, value, leg, count, probability}. Errors: kInvalidArgument with the known kinds.
[[nodiscard]] Result<std::vector<Fault>> parse_faults(std::string_view text);
[[nodiscard]] Result<std::vector<Fault>> read_faults(const Json& json);

// The faults that are switched on in one pod. Owned by it, on its thread.
class Faults {
 public:
  explicit Faults(std::uint64_t seed) : rng_(seed) {}
  void set(std::vector<Fault> faults) { faults_ = std::move(faults); }
  // The first of the given kinds that is to happen to this leg now; it is then used up once.
  [[nodiscard]] std::optional<Fault> take(Leg leg, std::initializer_list<FaultKind> kinds);
  // The same of every kind that spoils an answer as a whole.
  [[nodiscard]] std::optional<Fault> take_for_answer(Leg leg);
  [[nodiscard]] Json json() const;

 private:
  template <class Wanted>
  std::optional<Fault> take_if(Leg leg, Wanted wanted);
  std::mt19937_64 rng_;
  std::vector<Fault> faults_;
};

}  // namespace baton::adapters::mock
