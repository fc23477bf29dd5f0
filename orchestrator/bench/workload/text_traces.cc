#include <fmt/format.h>

#include <array>
#include <limits>
#include <string>
#include <utility>

#include "orchestrator/bench/workload/trace_lines.h"
#include "orchestrator/bench/workload/traces.h"

namespace baton::orchestrator::bench {
namespace {

// Splits a JSON array into its elements by brackets and quotes alone; what is between them is for
// the caller to scan. Keeps count of lines.
class ArrayElements {
 public:
  enum class Step : std::uint8_t { kElement, kEnd, kBroken };

  explicit ArrayElements(std::string_view text) : text_(text) {
    if (text_.starts_with("\xEF\xBB\xBF")) at_ = 3;
  }
  // kBroken: problem() says what, at line().
  Step next() {
    skip_space();
    if (!begun_) {
      begun_ = true;
      if (!take('[')) return stop("expected a JSON array of conversations");
      skip_space();
      if (take(']')) return end();
    } else {
      if (take(']')) return end();
      if (!take(',')) return stop("expected a comma or the end of the array");
      skip_space();
    }
    return element();
  }
  [[nodiscard]] std::string_view text() const { return element_; }
  [[nodiscard]] std::size_t line() const { return line_; }  // on which the element begins
  [[nodiscard]] const std::string& problem() const { return problem_; }

 private:
  Step stop(std::string what) {
    problem_ = std::move(what);
    line_ = here_;
    return Step::kBroken;
  }
  Step end() {
    skip_space();
    return at_ == text_.size() ? Step::kEnd : stop("unexpected text after the array");
  }
  Step element() {
    line_ = here_;
    if (at_ == text_.size() || text_[at_] != '{') return stop("expected a conversation, an object");
    const std::size_t begin = at_;
    std::size_t depth = 0;
    do {
      const char c = text_[at_];
      if (c == '"' && !skip_string()) break;
      if (c == '{' || c == '[') ++depth;
      if (c == '}' || c == ']') --depth;
      if (c == '\n') ++here_;
      if (c != '"') ++at_;
    } while (depth > 0 && at_ < text_.size());
    if (depth > 0) {
      here_ = line_;
      return stop("the file ends within the conversation that begins here");
    }
    element_ = text_.substr(begin, at_ - begin);
    return Step::kElement;
  }
  // False: the text ends first.
  bool skip_string() {
    for (++at_; at_ < text_.size(); ++at_) {
      at_ = std::min(text_.find_first_of("\"\\\n", at_), text_.size());
      if (at_ == text_.size()) return false;
      if (text_[at_] == '"') return ++at_, true;
      if (text_[at_] == '\n') ++here_;
      if (text_[at_] == '\\') ++at_;
    }
    at_ = text_.size();
    return false;
  }
  bool take(char c) {
    if (at_ == text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  void skip_space() {
    for (; at_ < text_.size(); ++at_) {
      const char c = text_[at_];
      if (c != ' ' && c != '\t' && c != '\r' && c != '\n') return;
      if (c == '\n') ++here_;
    }
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::size_t here_ = 1;
  std::size_t line_ = 1;
  bool begun_ = false;
  std::string_view element_;
  std::string problem_;
};

std::string_view role_of(std::string_view speaker) {
  if (speaker == "human" || speaker == "user") return "user";
  if (speaker == "system") return "system";
  constexpr std::array<std::string_view, 5> kAssistants = {"gpt", "assistant", "chatgpt", "bing",
                                                           "bard"};
  for (const std::string_view name : kAssistants) {
    if (speaker == name) return "assistant";
  }
  return {};
}

// Appends what one element of a conversation says; speakers that are none of ours say nothing.
Result<void> read_said(JsonValue element, Place place, std::vector<Turn>& said) {
  if (element.kind != JsonKind::kObject) return broken(place, "a turn that is no object");
  const auto turn = Members::scan(element.text, place);
  if (!turn) return std::unexpected(turn.error());
  for (const auto& [speaker, text] : {std::pair{"from", "value"}, std::pair{"role", "content"}}) {
    const auto from = turn->string(speaker);
    if (!from) return std::unexpected(from.error());
    if (!*from) continue;
    auto value = turn->string(text);
    if (!value) return std::unexpected(value.error());
    if (!*value) return broken(place, fmt::format("a turn has {} and no {}", speaker, text));
    const std::string_view role = role_of(**from);
    if (!role.empty()) said.push_back({std::string(role), std::move(**value)});
    return {};
  }
  for (const char* speaker : {"human", "assistant"}) {
    auto value = turn->string(speaker);
    if (!value) return std::unexpected(value.error());
    if (*value) said.push_back({std::string(role_of(speaker)), std::move(**value)});
  }
  return {};
}

// The first question, what the system said before it, and the next answer. nullopt: there is no
// such pair.
std::optional<ShareGptEntry> first_exchange(std::vector<Turn> said) {
  ShareGptEntry entry;
  bool asked = false;
  for (Turn& turn : said) {
    if (turn.text.empty()) continue;
    if (turn.role == "assistant" && asked) {
      entry.answer = std::move(turn.text);
      return entry;
    }
    const bool question = turn.role == "user" && !asked;
    asked = asked || question;
    if (question || (turn.role == "system" && entry.turns.empty())) {
      entry.turns.push_back(std::move(turn));
    }
  }
  return std::nullopt;
}

Result<std::optional<ShareGptEntry>> read_conversation(std::string_view text, Place place) {
  const auto members = Members::scan(text, place);
  if (!members) return std::unexpected(members.error());
  auto list = members->find("conversations");
  if (!list) list = members->find("conversation");
  if (!list) return broken(place, "conversations is missing");
  if (list->kind != JsonKind::kArray) return broken(place, "conversations is no list");
  std::vector<Turn> said;
  for (JsonCursor cursor(*list); cursor.next();) {
    if (const auto read = read_said(cursor.value(), place, said); !read) {
      return std::unexpected(read.error());
    }
  }
  return first_exchange(std::move(said));
}

Result<std::string> read_content(const Members& message) {
  const auto content = message.find("content");
  const Place place = message.place();
  if (!content) return broken(place, "a message has no content");
  if (content->kind == JsonKind::kString) return json_unquote(content->text);
  if (content->kind != JsonKind::kArray) return broken(place, "content is neither text nor parts");
  std::string text;
  for (JsonCursor cursor(*content); cursor.next();) {
    if (cursor.value().kind != JsonKind::kObject) return broken(place, "a part is no object");
    const auto part = Members::scan(cursor.value().text, place);
    if (!part) return std::unexpected(part.error());
    const auto piece = part->string("text");
    if (!piece) return std::unexpected(piece.error());
    if (!*piece) return broken(place, "a part of content has no text; only text can be sent");
    text += **piece;
  }
  return text;
}

Result<std::vector<Turn>> read_messages(JsonValue list, Place place) {
  if (list.kind != JsonKind::kArray) return broken(place, "messages is no list");
  std::vector<Turn> turns;
  for (JsonCursor cursor(list); cursor.next();) {
    if (cursor.value().kind != JsonKind::kObject) return broken(place, "a message is no object");
    const auto message = Members::scan(cursor.value().text, place);
    if (!message) return std::unexpected(message.error());
    auto role = message->string("role");
    if (!role) return std::unexpected(role.error());
    if (!*role) return broken(place, "a message has no role");
    auto content = read_content(*message);
    if (!content) return std::unexpected(content.error());
    turns.push_back({std::move(**role), std::move(*content)});
  }
  if (turns.empty()) return broken(place, "messages is empty");
  return turns;
}

Result<std::vector<Turn>> read_turns(const Members& line) {
  if (const auto messages = line.find("messages")) return read_messages(*messages, line.place());
  auto prompt = line.string("prompt");
  if (!prompt) return std::unexpected(prompt.error());
  if (!*prompt) return broken(line.place(), "neither prompt nor messages");
  std::vector<Turn> turns;
  turns.push_back({"user", std::move(**prompt)});
  return turns;
}

Result<std::optional<int>> read_max_tokens(const Members& line) {
  for (const char* key : {"output_tokens", "max_tokens"}) {
    const auto tokens = line.integer(key, 1, kMostTraceTokens);
    if (!tokens) return std::unexpected(tokens.error());
    if (*tokens) return static_cast<int>(**tokens);
  }
  return std::nullopt;
}

Result<CustomEntry> read_custom_line(std::string_view text, Place place) {
  const auto line = Members::scan(text, place);
  if (!line) return std::unexpected(line.error());
  CustomEntry entry;
  auto turns = read_turns(*line);
  if (!turns) return std::unexpected(turns.error());
  entry.turns = std::move(*turns);
  const auto max_tokens = read_max_tokens(*line);
  if (!max_tokens) return std::unexpected(max_tokens.error());
  entry.max_tokens = *max_tokens;
  auto model = line->string("model");
  if (!model) return std::unexpected(model.error());
  entry.model = std::move(*model).value_or("");
  const auto priority =
      line->integer("priority", std::numeric_limits<int>::min(), std::numeric_limits<int>::max());
  if (!priority) return std::unexpected(priority.error());
  entry.priority = static_cast<int>(priority->value_or(0));
  const auto at = line->milliseconds("timestamp");
  if (!at) return std::unexpected(at.error());
  entry.at = *at;
  return entry;
}

}  // namespace

Result<Trace<ShareGptEntry>> read_sharegpt(std::string_view text, std::string_view file,
                                           const ShareGptFilter& filter) {
  using Step = ArrayElements::Step;
  Trace<ShareGptEntry> trace;
  ArrayElements elements(text);
  while (filter.limit == 0 || trace.entries.size() < filter.limit) {
    const Step step = elements.next();
    if (step == Step::kEnd) break;
    const Place place{file, elements.line()};
    if (step == Step::kBroken) return broken(place, elements.problem());
    auto entry = read_conversation(elements.text(), place);
    if (!entry) return std::unexpected(std::move(entry.error()));
    if (*entry && (!filter.keep || filter.keep(**entry))) {
      trace.entries.push_back(std::move(**entry));
    } else {
      ++trace.skipped;
    }
  }
  if (trace.entries.empty()) {
    return broken({file, 1},
                  trace.skipped == 0
                      ? std::string("the file holds no conversation")
                      : fmt::format("none of {} conversations has a question with its answer, of "
                                    "the lengths asked for",
                                    trace.skipped));
  }
  return trace;
}

Result<Trace<CustomEntry>> read_custom(std::string_view text, std::string_view file) {
  Trace<CustomEntry> trace;
  Lines lines(text);
  while (lines.next()) {
    const Place place{file, lines.number()};
    auto entry = read_custom_line(lines.line(), place);
    if (!entry) return std::unexpected(std::move(entry.error()));
    if (!trace.entries.empty() && trace.entries.front().at.has_value() != entry->at.has_value()) {
      return broken(place, "timestamp must be in every line or in none");
    }
    trace.entries.push_back(std::move(*entry));
  }
  if (trace.entries.empty()) return broken({file, 1}, "the file is empty");
  if (trace.entries.front().at) {
    trace.out_of_order =
        sort_by_time(trace.entries, [](CustomEntry& entry) -> Duration& { return *entry.at; });
  }
  return trace;
}

}  // namespace baton::orchestrator::bench
