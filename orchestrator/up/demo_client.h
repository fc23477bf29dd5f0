#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/http/client.h"
#include "core/units.h"
#include "orchestrator/config/config.h"

namespace baton::orchestrator {

// What a streamed OpenAI answer said and when.
struct StreamedAnswer {
  std::string text;
  std::string finish_reason;
  int prompt_tokens = 0;
  int cached_tokens = 0;
  int completion_tokens = 0;
  Duration first_token{};  // from sending the request
  Duration last_token{};
  std::string prefill_pod;
  std::string decode_pod;
  std::string timing;  // x-baton-timing
};

// Collects the events of a stream. Feed it the body's bytes as they come.
class StreamReader {
 public:
  explicit StreamReader(StreamedAnswer& answer) : answer_(answer) {}
  // `since` is the time since the request was sent. Errors: kUpstream, for an error event or an
  // event that is no JSON.
  [[nodiscard]] Result<void> feed(std::string_view bytes, Duration since);
  [[nodiscard]] bool done() const { return done_; }

 private:
  [[nodiscard]] Result<void> on_event(std::string_view data, Duration since);

  StreamedAnswer& answer_;
  std::string unread_;
  bool done_ = false;
};

// Posts a request whose `stream` is true and reads the answer to its end.
[[nodiscard]] adapters::http::Task<Result<StreamedAnswer>> ask(adapters::http::Client& client,
                                                               Endpoint endpoint,
                                                               std::string target,
                                                               std::string body);

}  // namespace baton::orchestrator
