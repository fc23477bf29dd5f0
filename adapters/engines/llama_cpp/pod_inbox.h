#pragma once

#include <boost/asio/any_io_executor.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <variant>
#include <vector>

#include "adapters/engines/llama_cpp/engine.h"
#include "adapters/http/server.h"

namespace baton::adapters {

struct FirstTokenEvent {
  EngineUsage usage;
  EngineTimes times;
};
struct TokenEvent {
  EngineToken token;
  TimePoint made_at;
};
struct FinishEvent {
  FinishReason reason;
  EngineUsage usage;
  EngineTimes times;
};
struct ErrorEvent {
  Error error;
};
using AnswerEvent = std::variant<FirstTokenEvent, TokenEvent, FinishEvent, ErrorEvent>;

// Carries one request's events from the engine thread to the HTTP thread. Shared by the engine
// (which only adds) and the coroutine that answers (which only takes). Promises: adding never waits
// for the reader; what came while the reader was busy is taken at once, so that many tokens share a
// write; a reader that falls behind by more than the bound loses the request, not the engine.
class AnswerInbox final : public EngineSink, public std::enable_shared_from_this<AnswerInbox> {
 public:
  static constexpr std::size_t kMaxHeldBytes = 256U << 10;

  explicit AnswerInbox(http::asio::any_io_executor http_thread);

  // HTTP thread. Waits for something; nothing in the result means woken, by wake() or overrun.
  http::Task<std::vector<AnswerEvent>> next();
  void wake();
  // The reader fell behind; no more events come. `action` runs on the HTTP thread when it happens,
  // while the reader may still be busy.
  [[nodiscard]] bool overrun() const;
  void on_overrun(std::function<void()> action) { overrun_action_ = std::move(action); }

  // Engine thread.
  void on_first_token(const EngineUsage& usage, const EngineTimes& times) override;
  void on_token(EngineToken token) override;
  void on_finish(FinishReason reason, EngineUsage usage, EngineTimes times) override;
  void on_error(Error error, EngineUsage usage) override;

 private:
  void add(AnswerEvent event, std::size_t bytes);
  [[nodiscard]] std::vector<AnswerEvent> take();
  void notify(bool overrun_now);  // HTTP thread

  http::asio::any_io_executor http_thread_;
  http::asio::steady_timer woken_;  // never expires; cancelled to wake the reader
  bool wake_asked_ = false;
  std::function<void()> overrun_action_;

  mutable std::mutex mutex_;
  std::vector<AnswerEvent> events_;
  std::size_t held_bytes_ = 0;
  bool notified_ = false;
  bool overrun_ = false;
};

}  // namespace baton::adapters
