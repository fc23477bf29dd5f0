#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "core/units.h"
#include "orchestrator/bench/generator/request_record.h"

namespace baton::orchestrator::bench {

struct CompletionFacts;

// Reads the body of one 200 answer into its record while it comes: server-sent events, or one JSON
// text. Owned by one request; pieces may begin and end anywhere. Looks at each byte once, and keeps
// only what is unfinished at the end of a piece.
class AnswerReader {
 public:
  enum class State : std::uint8_t { kMore, kDone, kFailed };

  AnswerReader(RequestRecord& record, bool stream, bool keep_text)
      : record_(record), stream_(stream), keep_text_(keep_text) {}

  // `at`: when the bytes came, since the run's start; all events of one piece share it. kDone:
  // [DONE] was seen. kDone and kFailed are final, and the record's outcome is set.
  State feed(std::string_view bytes, Duration at);
  // The body ended as HTTP has it: the outcome is set, whatever it is.
  void finish(Duration at);
  // The connection broke within the body, for this reason.
  void cut(Duration at, std::string_view reason);
  [[nodiscard]] State state() const { return state_; }

 private:
  void end_line(std::string_view line);
  void add_data(std::string_view value);
  void hold_data();  // what the piece's bytes showed outlives them
  void end_event();
  void on_event(std::string_view data);
  void on_garbage(std::string_view text);
  void flush();
  void note_token();
  void note_usage(const CompletionFacts& facts);
  void read_whole();
  void settle();  // the end was proper
  void fail(Outcome outcome, std::string reason);

  RequestRecord& record_;
  bool stream_;
  bool keep_text_;
  State state_ = State::kMore;
  Duration at_{};
  bool has_data_ = false;
  bool error_event_ = false;  // `event: error`
  bool output_said_ = false;  // by usage
  std::string_view data_;     // of the event that is not over; in the piece, or in held_
  std::string held_;
  std::string unread_;  // of a line that is not over; of an answer that is no stream: all of it
};

}  // namespace baton::orchestrator::bench
