#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "adapters/http/server.h"
#include "core/units.h"
#include "orchestrator/bench/generator/reference_server.h"
#include "orchestrator/bench/generator/reference_texts.h"

namespace baton::orchestrator::bench {

// One answer of the reference server: bytes of HTTP, and when they go out.
struct ReferenceAnswer {
  enum class End : std::uint8_t {
    kKeep,   // the connection is ready for the next request
    kClose,  // in the middle of the body
    kReset,
    kHold,  // nothing more until the client leaves
  };
  std::string head;           // up to the first token
  bool head_at_once = false;  // else with the first token
  Duration first{};           // from the request, read whole, to the first token
  Duration gap{};             // between tokens; 0: all in one write
  int tokens = 0;             // 0: head and tail go out at once
  std::string_view token;     // belongs to ReferenceAnswers
  std::string tail;           // goes out with the last token
  End end = End::kKeep;
  bool completion = false;
  std::int64_t id = -1;  // of a completion, as its prompt says
};

// Decides answers, and which of them go wrong. Does no I/O.
class ReferenceAnswers {
 public:
  explicit ReferenceAnswers(const ReferenceOptions& options);
  [[nodiscard]] ReferenceAnswer answer(const adapters::http::Request& request);
  // Of requests that no answer() can be asked for. With a body of JSON.
  [[nodiscard]] static std::string whole(unsigned status, std::string_view body,
                                         std::string_view fields = {},
                                         std::string_view content_type = "application/json");

 private:
  [[nodiscard]] ReferenceAnswer completion(std::string_view body, bool chat);
  void answer_whole(ReferenceAnswer& answer, const ReferenceAsk& ask, ReferenceFault fault) const;
  void answer_stream(ReferenceAnswer& answer, const ReferenceAsk& ask, ReferenceFault fault) const;
  [[nodiscard]] std::string events_at_end(const ReferenceAsk& ask, ReferenceFault fault) const;
  [[nodiscard]] std::string own_fields() const;

  ReferenceTiming timing_;
  ReferenceFault fault_;
  int fault_every_;
  unsigned fault_status_;
  ReferenceTexts texts_;
  std::string fields_;                          // lines of each 200 answer to a completion
  std::string chat_token_, text_token_, role_;  // as chunks
  int completions_ = 0;
};

}  // namespace baton::orchestrator::bench
