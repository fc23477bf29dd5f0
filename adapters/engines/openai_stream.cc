#include "adapters/engines/openai_stream.h"

#include <utility>

#include "core/json_cursor.h"
#include "core/json_fields.h"

namespace baton::adapters {
namespace {

std::unexpected<Error> no_answer(std::string what) {
  return fail(ErrorCode::kUpstream, Stage::kPrefill, "the answer " + std::move(what), true);
}

JsonValue member(const JsonFields& fields, std::string_view text, std::string_view key) {
  const JsonField* field = fields.find(key);
  return field == nullptr ? JsonValue{} : value_of(*field, text);
}

// The calls with their numbers, by which a client puts the pieces of a stream together.
std::string numbered(JsonValue calls) {
  std::string numbered = "[";
  int index = 0;
  for (JsonCursor call(calls); call.next(); ++index) {
    if (index > 0) numbered += ',';
    const std::string_view text = call.value().text;
    const auto fields = JsonFields::scan(text);
    if (!fields) {
      numbered += text;
      continue;
    }
    JsonPatch patch;
    patch.set("index", std::to_string(index));
    numbered += patch.apply(text, *fields);
  }
  return numbered + "]";
}

// A message as the delta that brings all of it: without what it does not have.
Result<std::string> delta_of(std::string_view message) {
  const auto fields = JsonFields::scan(message);
  if (!fields) return no_answer("has a choice without a message");
  JsonPatch patch;
  for (const JsonField& field : fields->all()) {
    const JsonValue value = value_of(field, message);
    const bool is_list = field.key == "tool_calls" && value.kind == JsonKind::kArray;
    const bool is_empty = is_list && !JsonCursor(value).next();
    if (value.kind == JsonKind::kNull || is_empty) {
      patch.erase(field.key);
    } else if (is_list) {
      patch.set(field.key, numbered(value));
    }
  }
  return patch.apply(message, *fields);
}

// Makes the events of one answer.
class Renderer {
 public:
  Renderer(Api api, std::string_view answer, const JsonFields& fields)
      : api_(api), answer_(answer), fields_(fields) {}

  Result<void> add(std::string_view choice) {
    if (api_ == Api::kCompletions) {
      add_chunk(choice);
      return {};
    }
    const auto fields = JsonFields::scan(choice);
    if (!fields) return no_answer("has a choice that is no object");
    const auto delta = delta_of(member(*fields, choice, "message").text);
    if (!delta) return std::unexpected(delta.error());
    JsonPatch content;
    content.erase("message");
    content.erase("stop_reason");
    content.set("finish_reason", "null");
    content.set("delta", *delta);
    add_chunk(content.apply(choice, *fields));
    JsonPatch end;
    end.erase("message");
    end.erase("logprobs");
    end.set("delta", "{}");
    add_chunk(end.apply(choice, *fields));
    return {};
  }

  void add_usage() {
    const JsonValue usage = member(fields_, answer_, "usage");
    if (usage.kind == JsonKind::kObject) add_event("[]", usage.text);
  }

  [[nodiscard]] std::string finish() && { return std::move(stream_) + "data: [DONE]\n\n"; }

 private:
  void add_chunk(std::string_view choice) { add_event("[" + std::string(choice) + "]", {}); }

  void add_event(std::string_view choices, std::string_view usage) {
    JsonPatch patch;
    if (api_ == Api::kChat) patch.set("object", R"("chat.completion.chunk")");
    patch.set("choices", choices);
    if (usage.empty()) {
      patch.erase("usage");
    } else {
      patch.set("usage", usage);
    }
    stream_.append("data: ").append(one_line(patch.apply(answer_, fields_))).append("\n\n");
  }

  // A line of an event must not end inside it; JSON has line breaks between its parts only.
  static std::string one_line(std::string json) {
    std::erase_if(json, [](char c) { return c == '\n' || c == '\r'; });
    return json;
  }

  Api api_;
  std::string_view answer_;
  const JsonFields& fields_;
  std::string stream_;
};

}  // namespace

Result<std::string> stream_of_answer(Api api, std::string_view answer, bool include_usage) {
  const auto fields = JsonFields::scan(answer);
  if (!fields) return no_answer("is no JSON object");
  const JsonValue choices = member(*fields, answer, "choices");
  if (choices.kind != JsonKind::kArray) return no_answer("has no choices");
  Renderer renderer(api, answer, *fields);
  for (JsonCursor choice(choices); choice.next();) {
    if (auto added = renderer.add(choice.value().text); !added) {
      return std::unexpected(added.error());
    }
  }
  if (include_usage) renderer.add_usage();
  return std::move(renderer).finish();
}

}  // namespace baton::adapters
