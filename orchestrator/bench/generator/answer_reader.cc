#include "orchestrator/bench/generator/answer_reader.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <utility>

#include "orchestrator/bench/generator/completion_facts.h"

namespace baton::orchestrator::bench {
namespace {

constexpr std::size_t kMaxEvent = 16 << 20;
constexpr std::size_t kMaxBody = 64 << 20;
constexpr std::string_view kDone = "[DONE]";

std::uint32_t to_gap_us(Duration gap) {
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(gap).count();
  return static_cast<std::uint32_t>(
      std::clamp<std::int64_t>(us, 0, std::numeric_limits<std::uint32_t>::max()));
}

char first_visible(std::string_view text) {
  const std::size_t at = text.find_first_not_of(" \t\r\n");
  return at == std::string_view::npos ? '\0' : text[at];
}

constexpr std::string_view kSseFields[] = {"data", "event", "id", "retry"};

bool is_sse_field(std::string_view name) {
  return std::ranges::find(kSseFields, name) != std::end(kSseFields);
}

bool is_sse_line(std::string_view line) { return is_sse_field(line.substr(0, line.find(':'))); }

// `line` may be the beginning of a field's name.
bool begins_field(std::string_view line) {
  return std::ranges::any_of(kSseFields,
                             [line](std::string_view field) { return field.starts_with(line); });
}

}  // namespace

AnswerReader::State AnswerReader::feed(std::string_view bytes, Duration at) {
  at_ = at;
  if (!stream_) {
    if (state_ == State::kMore) unread_ += bytes;
    if (unread_.size() > kMaxBody) fail(Outcome::kNotOpenAi, "answer too large");
    return state_;
  }
  while (state_ == State::kMore && !bytes.empty()) {
    const std::size_t newline = bytes.find('\n');
    const std::string_view line = bytes.substr(0, newline);
    bytes.remove_prefix(newline == std::string_view::npos ? bytes.size() : newline + 1);
    if (unread_.size() + line.size() + data_.size() > kMaxEvent) {
      fail(Outcome::kNotOpenAi, "event too large");
    } else if (newline == std::string_view::npos) {
      unread_ += line;
    } else if (unread_.empty()) {
      end_line(line);
    } else {
      unread_ += line;
      end_line(unread_);
      hold_data();
      unread_.clear();
    }
  }
  hold_data();
  return state_;
}

void AnswerReader::end_line(std::string_view line) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  if (line.empty()) {
    end_event();
    return;
  }
  if (line.front() == ':') return;
  const std::size_t colon = std::min(line.find(':'), line.size());
  const std::string_view name = line.substr(0, colon);
  std::string_view value = line.substr(std::min(colon + 1, line.size()));
  if (value.starts_with(' ')) value.remove_prefix(1);
  if (name == "data") {
    add_data(value);
  } else if (name == "event") {
    error_event_ = value == "error";
  } else if (!is_sse_field(name)) {
    on_garbage(line);
  }
}

void AnswerReader::add_data(std::string_view value) {
  if (!std::exchange(has_data_, true)) {
    data_ = value;
    return;
  }
  hold_data();
  held_.append(1, '\n').append(value);
  data_ = held_;
}

void AnswerReader::hold_data() {
  if (!has_data_ || data_.data() == held_.data()) return;
  held_.assign(data_);
  data_ = held_;
}

void AnswerReader::end_event() {
  if (std::exchange(has_data_, false)) on_event(std::exchange(data_, {}));
  error_event_ = false;
}

void AnswerReader::on_event(std::string_view data) {
  if (data == kDone) {
    settle();
    return;
  }
  if (data.empty() && !error_event_) return;
  const CompletionFacts facts = read_completion(data, keep_text_ ? &record_.text : nullptr);
  if (error_event_ || facts.has_error) {
    std::string reason = "error event";
    if (!facts.error_code.empty()) reason.append(" ").append(facts.error_code);
    fail(Outcome::kStreamError, std::move(reason));
    return;
  }
  if (!facts.is_object) {
    const bool html = first_visible(data) == '<';
    fail(Outcome::kNotOpenAi, html ? "HTML instead of JSON" : "event is no JSON");
    return;
  }
  if (!facts.has_choices && !facts.has_usage) {
    fail(Outcome::kNotOpenAi, "event without choices");
    return;
  }
  if (facts.any_choice && record_.first_event < Duration::zero()) record_.first_event = at_;
  if (facts.any_piece) note_token();
  note_usage(facts);
}

void AnswerReader::note_usage(const CompletionFacts& facts) {
  if (!facts.has_usage) return;
  record_.usage_reported = true;
  ++record_.usage_reports;
  if (facts.prompt_tokens >= 0) record_.prompt_tokens = facts.prompt_tokens;
  if (facts.cached_tokens >= 0) record_.cached_tokens = facts.cached_tokens;
  if (facts.completion_tokens >= 0) {
    record_.output_tokens = facts.completion_tokens;
    output_said_ = true;
  }
}

void AnswerReader::note_token() {
  if (record_.token_events++ == 0) {
    record_.first_token = at_;
  } else {
    record_.gaps_us.push_back(to_gap_us(at_ - record_.last_token));
  }
  record_.last_token = at_;
  if (!output_said_) record_.output_tokens = record_.token_events;
}

void AnswerReader::on_garbage(std::string_view text) {
  switch (first_visible(text)) {
    case '<': fail(Outcome::kNotOpenAi, "HTML instead of events"); break;
    case '{': fail(Outcome::kNotOpenAi, "JSON instead of events"); break;
    default: fail(Outcome::kNotOpenAi, "no event stream"); break;
  }
}

// The last line and the last event may lack their line ends.
void AnswerReader::flush() {
  if (unread_.ends_with('\r')) unread_.pop_back();
  const std::string_view line = unread_;
  if (is_sse_line(line)) {
    end_line(line);
  } else if (!line.empty() && !line.starts_with(':') && !begins_field(line)) {
    on_garbage(line);
    return;
  }
  if (has_data_ && data_ == kDone) end_event();
}

void AnswerReader::finish(Duration at) {
  if (state_ != State::kMore) return;
  at_ = at;
  if (!stream_) {
    read_whole();
    return;
  }
  flush();
  if (state_ == State::kMore) fail(Outcome::kCutStream, "ended without [DONE]");
}

void AnswerReader::cut(Duration at, std::string_view reason) {
  if (state_ != State::kMore) return;
  at_ = at;
  if (stream_) flush();
  if (state_ == State::kMore) fail(Outcome::kCutStream, std::string(reason));
}

void AnswerReader::read_whole() {
  const CompletionFacts facts = read_completion(unread_, keep_text_ ? &record_.text : nullptr);
  if (!facts.is_object) {
    const bool html = first_visible(unread_) == '<';
    fail(Outcome::kNotOpenAi, html ? "HTML instead of JSON" : "answer is no JSON");
  } else if (facts.has_error) {
    std::string reason = "200 with an error";
    if (!facts.error_code.empty()) reason.append(" ").append(facts.error_code);
    fail(Outcome::kNotOpenAi, std::move(reason));
  } else if (!facts.has_choices) {
    fail(Outcome::kNotOpenAi, "JSON without choices");
  } else {
    if (facts.any_choice) record_.first_event = at_;
    if (facts.any_piece) note_token();
    note_usage(facts);
    settle();
  }
}

void AnswerReader::settle() {
  state_ = State::kDone;
  record_.ended = at_;
  const bool answered = record_.token_events > 0;
  record_.outcome = answered ? Outcome::kCompleted : Outcome::kNoTokens;
  record_.reason = answered ? "" : "no tokens";
}

void AnswerReader::fail(Outcome outcome, std::string reason) {
  state_ = State::kFailed;
  record_.ended = at_;
  record_.outcome = outcome;
  record_.reason = std::move(reason);
}

}  // namespace baton::orchestrator::bench
