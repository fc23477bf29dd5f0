#include "adapters/engines/mock/generation.h"

#include <algorithm>
#include <utility>

#include "adapters/engines/mock/shaped_text.h"

namespace baton::adapters::mock {

using engine_model::EngineEvent;
using engine_model::Finish;
using engine_model::SequenceSpec;

Work::Work(http::asio::io_context& io, std::shared_ptr<Rank> rank, const MockTokenizer& tokenizer,
           Generation generation, std::shared_ptr<RequestRecord> request_record,
           std::shared_ptr<void> owner)
    : wanted(std::move(generation)),
      record(std::move(request_record)),
      changed(io),
      arrived(Clock::now()),
      owner_(std::move(owner)),
      rank_(std::move(rank)),
      tokenizer_(tokenizer) {
  for (const std::string& stop : wanted.stop) hold_back_ = std::max(hold_back_, stop.size() - 1);
  if (wanted.include_stop) hold_back_ = 0;
}

Work::~Work() { abort(); }

void Work::submit(const std::function<void(std::size_t, SequenceSpec&)>& tune,
                  const std::function<engine_model::SequenceId()>& next_id) {
  const std::size_t count = wanted.prompts.size() * static_cast<std::size_t>(wanted.n);
  choices.resize(count);
  unfinished_ = count;
  for (std::size_t i = 0; i < count; ++i) {
    Choice& choice = choices[i];
    choice.prompt = i / static_cast<std::size_t>(wanted.n);
    choice.sequence = next_id();
    const Prompt& prompt = prompt_of(choice);
    SequenceSpec spec;
    spec.prompt = prompt.ids;
    spec.salt = wanted.salt;
    spec.lora = wanted.lora;
    spec.max_tokens = prompt.max_tokens;
    spec.min_tokens = wanted.min_tokens;
    spec.stop_tokens = wanted.stop_tokens;
    spec.ignore_end = wanted.ignore_end;
    spec.sampling = {wanted.greedy, wanted.seed + i};
    spec.top = wanted.logprobs.value_or(0);
    if (wanted.tool_shape) {
      spec.script = [shape = *wanted.tool_shape, this](std::uint64_t content) {
        return tokenizer_.encode(shaped_text(shape, content, tokenizer_), false);
      };
    }
    if (tune) tune(i, spec);
    if (held && !released_.contains(i)) {
      held_.emplace(i, std::move(spec));
    } else {
      rank_->submit(choice.sequence, std::move(spec), *this);
    }
  }
}

void Work::release(std::size_t choice) {
  released_.insert(choice);
  auto spec = held_.extract(choice);
  if (spec && !over()) rank_->submit(choices[choice].sequence, std::move(spec.mapped()), *this);
}

void Work::abort() {
  for (Choice& choice : choices) {
    if (!choice.finish) rank_->abort(choice.sequence);
  }
}

void Work::fail(Failure what) {
  if (over()) return;
  abort();
  failure = std::move(what);
  changed.raise();
}

void Work::leave() {
  if (over()) return;
  abort();
  left = true;
  changed.raise();
}

void Work::on_event(const EngineEvent& event) {
  const auto found = std::ranges::find(choices, event.sequence, &Choice::sequence);
  const auto index = static_cast<std::size_t>(found - choices.begin());
  switch (event.kind) {
    case EngineEvent::Kind::kWantsKv:
      if (wants_kv) wants_kv(index);
      return;
    case EngineEvent::Kind::kFinished:
      found->finish = event.finish;
      --unfinished_;
      break;
    case EngineEvent::Kind::kToken: add_token(index, event); break;
  }
  changed.raise();
}

void Work::add_token(std::size_t index, const EngineEvent& event) {
  Choice& choice = choices[index];
  if (!first_token_at) {
    first_token_at = event.at;
    scheduled_at = event.scheduled_at;
    cached_tokens = static_cast<int>(event.cached_tokens.count());
  }
  last_token_at = event.at;
  const TokenId token = event.token.token;
  choice.tokens.push_back(token);
  choice.logprobs.push_back(event.token);
  choice.tops.push_back(event.top);
  choice.finish = event.finish;
  const std::size_t before = choice.text.size();
  const bool stops = event.finish == Finish::kStop;
  if (!stops) choice.text += tokenizer_.piece(token);
  if (stops && std::ranges::find(wanted.stop_tokens, token) != wanted.stop_tokens.end()) {
    choice.stop_reason = token;
  }
  if (!stops) stop_at_string(choice, before);
  if (!choice.finish) return;
  --unfinished_;
  if (on_finished) on_finished(index);
}

// Where the text has a stop string since `from`, it ends there.
void Work::stop_at_string(Choice& choice, std::size_t from) {
  if (static_cast<int>(choice.tokens.size()) <= wanted.min_tokens) return;
  std::size_t first = std::string::npos;
  const std::string* which = nullptr;
  for (const std::string& stop : wanted.stop) {
    const std::size_t back = std::min(from, stop.size() - 1);
    const std::size_t at = choice.text.find(stop, from - back);
    if (at < first) {
      first = at;
      which = &stop;
    }
  }
  if (which == nullptr) return;
  choice.text.resize(first + (wanted.include_stop ? which->size() : 0));
  choice.stop_reason = *which;
  if (!choice.finish) rank_->abort(choice.sequence);
  choice.finish = Finish::kStop;
}

std::size_t Work::showable(const Choice& choice) const {
  if (choice.finish) return choice.text.size();
  const std::size_t size = choice.text.size();
  return std::max(choice.shown, size - std::min(size, hold_back_));
}

std::vector<Piece> Work::take_pieces() {
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    Choice& choice = choices[i];
    if (choice.sent == choice.tokens.size()) continue;
    Piece piece;
    piece.choice = i;
    piece.first = choice.sent;
    piece.last = choice.tokens.size();
    const std::size_t until = showable(choice);
    piece.text = choice.text.substr(choice.shown, until - choice.shown);
    piece.ends = choice.finish.has_value();
    choice.shown = until;
    choice.sent = piece.last;
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

int Work::prompt_tokens() const {
  std::size_t sum = 0;
  for (const Prompt& prompt : wanted.prompts) sum += prompt.ids.size();
  return static_cast<int>(sum);
}

int Work::completion_tokens() const {
  std::size_t sum = 0;
  for (const Choice& choice : choices) sum += choice.tokens.size();
  return static_cast<int>(sum);
}

}  // namespace baton::adapters::mock
