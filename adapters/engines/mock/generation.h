#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "adapters/engines/mock/faults.h"
#include "adapters/engines/mock/json.h"
#include "adapters/engines/mock/ledger.h"
#include "adapters/engines/mock/rank.h"
#include "adapters/engines/mock/signal.h"
#include "adapters/engines/mock/tokenizer.h"
#include "core/openai_request.h"

namespace baton::adapters::mock {

struct Prompt {
  std::string text;
  std::vector<TokenId> ids;
  int max_tokens = 16;  // of its answers
};

// How an answer failed: an HTTP answer, or an event of a stream.
struct Failure {
  unsigned status = 500;
  std::string body;
};

// One checked request: what is to be generated, and how it is to be answered.
struct Generation {
  Api api = Api::kChat;
  Leg leg = Leg::kPlain;
  std::string id;     // of the answer
  std::string model;  // as the answer names it
  std::string lora;   // empty: the base model
  int rank = 0;
  std::vector<Prompt> prompts;  // several for completions only
  int n = 1;
  int min_tokens = 0;
  std::vector<std::string> stop;
  std::vector<TokenId> stop_tokens;
  bool ignore_end = false;
  bool include_stop = false;
  bool greedy = true;
  std::uint64_t seed = 0;
  std::optional<int> logprobs;  // likeliest tokens wanted beside each token
  std::optional<int> prompt_logprobs;
  std::string salt;
  bool stream = false;
  bool include_usage = false;
  bool continuous_usage = false;
  bool echo = false;
  bool echo_only = false;  // completions with max_tokens 0
  bool return_token_ids = false;
  bool tokens_as_ids = false;
  std::string tool;                // the function that is called; empty: none
  std::optional<Json> tool_shape;  // JSON schema that the answer's text obeys; null: any object
  Json body;                       // all of the request
  // What the engine refuses after a stream has begun, whose client learns of it within.
  std::optional<Failure> late_failure;
};

// One answer of a request as it grows.
struct Choice {
  engine_model::SequenceId sequence = 0;
  std::size_t prompt = 0;
  std::vector<TokenId> tokens;
  std::vector<engine_model::Candidate> logprobs;           // of the tokens
  std::vector<std::vector<engine_model::Candidate>> tops;  // beside them
  std::string text;
  std::size_t shown = 0;  // bytes of the text that were streamed
  std::size_t sent = 0;   // tokens that were streamed
  std::optional<engine_model::Finish> finish;
  Json stop_reason;  // the stop string or token; else null
};

// What may be streamed of one choice now.
struct Piece {
  std::size_t choice = 0;
  std::string text;
  std::size_t first = 0;  // tokens [first, last) of the choice
  std::size_t last = 0;
  bool ends = false;
};

// One request on its way through the engine. Shared by the coroutine that answers and by the
// hand-off that fetches its KV; on the pod's thread.
class Work final : public SequenceListener {
 public:
  // `owner` is kept alive as long as this is.
  Work(http::asio::io_context& io, std::shared_ptr<Rank> rank, const MockTokenizer& tokenizer,
       Generation wanted, std::shared_ptr<RequestRecord> record, std::shared_ptr<void> owner);
  Work(const Work&) = delete;
  Work& operator=(const Work&) = delete;
  ~Work() override;

  // Queues every choice, or, with `held`, keeps it until its release(). `tune` may change what one
  // asks of the engine; `next_id` gives ids.
  void submit(const std::function<void(std::size_t, engine_model::SequenceSpec&)>& tune,
              const std::function<engine_model::SequenceId()>& next_id);
  // Queues one choice that is held, or is to be; once for each.
  void release(std::size_t choice);
  // Ends what still runs; a listener of the hand-off sees over().
  void abort();
  void fail(Failure failure);
  void leave();

  [[nodiscard]] bool over() const {
    return failure.has_value() || left || (!choices.empty() && unfinished_ == 0);
  }
  // Takes what may be streamed since the last call.
  [[nodiscard]] std::vector<Piece> take_pieces();

  [[nodiscard]] int prompt_tokens() const;
  [[nodiscard]] int completion_tokens() const;
  [[nodiscard]] const Prompt& prompt_of(const Choice& choice) const {
    return wanted.prompts[choice.prompt];
  }
  [[nodiscard]] const MockTokenizer& tokenizer() const { return tokenizer_; }
  [[nodiscard]] Rank& rank() const { return *rank_; }

  void on_event(const engine_model::EngineEvent& event) override;

  Generation wanted;
  std::shared_ptr<RequestRecord> record;
  std::vector<Choice> choices;
  std::optional<int> cached_tokens;  // of the first prompt, once it was scheduled
  std::optional<int> told_cached;    // that the usage tells instead
  std::optional<Failure> failure;
  bool left = false;  // the client
  bool held = false;  // choices wait for their release(); set before submit()
  Signal changed;     // something above is new
  Json handoff;       // what the answer says of one, set by the engine's dress
  TimePoint arrived;
  std::optional<TimePoint> scheduled_at;
  std::optional<TimePoint> first_token_at;
  TimePoint last_token_at;
  std::function<void(std::size_t choice)> wants_kv;     // set before submit()
  std::function<void(std::size_t choice)> on_finished;  // of one choice, in the engine's step

 private:
  void add_token(std::size_t index, const engine_model::EngineEvent& event);
  void stop_at_string(Choice& choice, std::size_t from);
  [[nodiscard]] std::size_t showable(const Choice& choice) const;

  std::shared_ptr<void> owner_;
  std::shared_ptr<Rank> rank_;
  const MockTokenizer& tokenizer_;
  std::size_t unfinished_ = 0;
  std::map<std::size_t, engine_model::SequenceSpec> held_;  // by choice
  std::set<std::size_t> released_;                          // choices
  std::size_t hold_back_ = 0;  // bytes that might be the beginning of a stop string
};

}  // namespace baton::adapters::mock
