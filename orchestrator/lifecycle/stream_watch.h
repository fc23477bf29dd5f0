#pragma once

#include <string>
#include <string_view>

namespace baton::orchestrator {

[[nodiscard]] inline bool is_event_stream(std::string_view content_type) {
  return content_type.starts_with("text/event-stream");
}

// Watches a stream of server-sent events while it is relayed byte for byte: counts events, sees its
// end, an error event of the engine, and whether it was cut inside an event. Looks at the first
// bytes of each line only; pieces may begin and end anywhere. Owned by one request.
class StreamWatch {
 public:
  void feed(std::string_view piece);

  [[nodiscard]] int events() const { return events_; }               // data events before [DONE]
  [[nodiscard]] bool done() const { return done_; }                  // `data: [DONE]` was seen
  [[nodiscard]] bool engine_error() const { return engine_error_; }  // `data: {"error"…`
  // Bytes came after the last blank line: what follows would belong to that event.
  [[nodiscard]] bool inside_event() const { return inside_event_; }
  // The last bytes of the stream, where its usage is; at least kTailBytes if there were as many.
  [[nodiscard]] std::string_view tail() const { return tail_; }

  static constexpr std::size_t kTailBytes = 1024;

 private:
  void end_line();
  void keep_tail(std::string_view piece);

  static constexpr std::size_t kHeadBytes = 16;
  char head_[kHeadBytes] = {};  // first bytes of the current line
  std::size_t head_size_ = 0;
  int events_ = 0;
  bool done_ = false;
  bool engine_error_ = false;
  bool inside_event_ = false;
  std::string tail_;
};

}  // namespace baton::orchestrator
