#pragma once

#include <boost/asio/cancellation_signal.hpp>
#include <memory>
#include <optional>
#include <string>

#include "orchestrator/lifecycle/thread_context.h"

namespace baton::orchestrator {

class ServedRequest;

// One upstream exchange of a request, and what came of it. Shared by the request and the coroutine
// that runs the leg, both on the same thread; the coroutine ends soon after `cancel` is emitted.
struct Leg {
  ServedRequest* owner = nullptr;  // null: the request is gone
  Stage stage = Stage::kDecode;
  std::shared_ptr<const PodEntry> pod;
  asio::cancellation_signal cancel;
  bool cancelled = false;  // nobody waits for what comes of it
  TimePoint sent_at{};
  bool behind_others = false;  // the pod had work of another router waiting when it was sent
  bool is_alone = false;       // no other prompt was to be computed there

  // Set when the coroutine has ended.
  std::optional<Error> error;  // there was no answer, or it was cut short
  unsigned status = 0;
  TimePoint head_at{};
  Duration waited_for_us{};  // of prefill's answer: from its arrival here to its being read
  std::string content_type;
  std::string timing;                            // x-baton-timing
  std::string body;                              // read whole, or
  std::unique_ptr<http::ClientExchange> answer;  // still to be read, behind
  std::string begun;                             // what was read of it
};

// Answers of pods that are read whole are no longer than this.
inline constexpr Bytes kWholeAnswer{8LL << 20};

// Sends the request and reads the head of the answer; the body too, unless it is a good answer of
// unknown length or longer than `whole_up_to`, which is left in leg->answer. Nothing is thrown away
// on cancellation but the connection. With `await_event` a stream's first event is read as well,
// and one of an error makes it an answer with the status of its `code`, else 500. `client` outlives
// the coroutine.
[[nodiscard]] Task<void> run_leg(http::Client* client, std::shared_ptr<Leg> leg,
                                 http::ClientRequest request, Bytes whole_up_to, bool await_event);

}  // namespace baton::orchestrator
