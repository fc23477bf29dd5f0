#include "core/openai_request.h"

#include <fmt/format.h>
#include <algorithm>
#include <array>
#include <charconv>
#include <limits>

#include "core/canonical_prompt.h"
#include "core/json_cursor.h"

namespace baton {
namespace {

std::unexpected<Error> wrong(std::string_view param, std::string_view problem) {
  return fail(ErrorCode::kInvalidArgument, Stage::kRouter, fmt::format("{} {}", param, problem),
              false, std::string(param));
}

// Fields by which engines are told how to hand KV over. Only the router may set them: through them
// a client could read another's KV or have a pod connect where it likes.
bool is_reserved(std::string_view key) {
  return key == "kv_transfer_params" || key == "disaggregated_params" || key == "disagg_params" ||
         key.starts_with("bootstrap_");
}

enum class Wants : std::uint8_t { kBool, kInteger, kNumber, kString, kObject, kArray };

struct TypedField {
  std::string_view key;
  Wants wants;
  std::string_view description;
};

// Types of the fields that every engine reads alike; null stands for absent in all of them.
constexpr std::array<TypedField, 17> kTypedFields{{
    {"stream", Wants::kBool, "must be true or false"},
    {"stream_options", Wants::kObject, "must be an object"},
    {"max_tokens", Wants::kInteger, "must be an integer"},
    {"max_completion_tokens", Wants::kInteger, "must be an integer"},
    {"n", Wants::kInteger, "must be an integer"},
    {"seed", Wants::kInteger, "must be an integer"},
    {"top_k", Wants::kInteger, "must be an integer"},
    {"temperature", Wants::kNumber, "must be a number"},
    {"top_p", Wants::kNumber, "must be a number"},
    {"min_p", Wants::kNumber, "must be a number"},
    {"presence_penalty", Wants::kNumber, "must be a number"},
    {"frequency_penalty", Wants::kNumber, "must be a number"},
    {"ignore_eos", Wants::kBool, "must be true or false"},
    {"echo", Wants::kBool, "must be true or false"},
    {"cache_salt", Wants::kString, "must be a string"},
    {"user", Wants::kString, "must be a string"},
    {"tools", Wants::kArray, "must be an array"},
}};

bool is_bool(JsonKind kind) { return kind == JsonKind::kTrue || kind == JsonKind::kFalse; }

bool fits(JsonValue value, Wants wants) {
  switch (wants) {
    case Wants::kBool: return is_bool(value.kind);
    case Wants::kInteger:
      return value.kind == JsonKind::kNumber &&
             value.text.find_first_of(".eE") == std::string_view::npos;
    case Wants::kNumber: return value.kind == JsonKind::kNumber;
    case Wants::kString: return value.kind == JsonKind::kString;
    case Wants::kObject: return value.kind == JsonKind::kObject;
    case Wants::kArray: return value.kind == JsonKind::kArray;
  }
  return false;
}

std::optional<std::int64_t> integer(JsonValue value) {
  std::int64_t number = 0;
  const char* end = value.text.data() + value.text.size();
  const auto [stopped, status] = std::from_chars(value.text.data(), end, number);
  if (value.kind != JsonKind::kNumber || status != std::errc{} || stopped != end) return {};
  return number;
}

// Reads one body into a request; each step stops at the first thing that is wrong.
class Parser {
 public:
  Parser(OpenAiRequest& request, const RequestLimits& limits)
      : request_(request), limits_(limits) {}

  Result<void> run() {
    for (auto step :
         {&Parser::check_keys, &Parser::check_types, &Parser::read_model, &Parser::read_streaming,
          &Parser::read_counts, &Parser::read_options, &Parser::read_prompt}) {
      if (auto done = (this->*step)(); !done) return done;
    }
    return {};
  }

 private:
  // The field's value; kNull where absent.
  [[nodiscard]] JsonValue value(std::string_view key) const {
    const JsonField* field = request_.fields.find(key);
    return field == nullptr ? JsonValue{} : value_of(*field, request_.body);
  }

  Result<void> check_keys() {
    std::vector<std::string_view> keys;
    for (const JsonField& field : request_.fields.all()) {
      if (is_reserved(field.key)) return wrong(field.key, "is set by the router alone");
      keys.push_back(field.key);
    }
    std::ranges::sort(keys);
    const auto twice = std::ranges::adjacent_find(keys);
    if (twice != keys.end()) return wrong(*twice, "is given twice");
    return check_passed_on("vllm_xargs");
  }

  // vLLM hands the members of this object on beside kv_transfer_params.
  Result<void> check_passed_on(std::string_view key) {
    if (value(key).kind != JsonKind::kObject) return {};
    for (JsonCursor member(value(key)); member.next();) {
      if (is_reserved(member.key())) {
        return wrong(fmt::format("{}.{}", key, member.key()), "is set by the router alone");
      }
    }
    return {};
  }

  Result<void> check_types() {
    for (const TypedField& field : kTypedFields) {
      const JsonValue found = value(field.key);
      if (found.kind != JsonKind::kNull && !fits(found, field.wants)) {
        return wrong(field.key, field.description);
      }
    }
    return {};
  }

  Result<void> read_model() {
    const JsonValue model = value("model");
    if (model.kind != JsonKind::kString || model.text.size() == 2) {
      return wrong("model", "must be given, as a string that is not empty");
    }
    request_.model = json_unquote(model.text);
    return {};
  }

  Result<void> read_streaming() {
    request_.stream = value("stream").kind == JsonKind::kTrue;
    const JsonValue options = value("stream_options");
    if (options.kind == JsonKind::kNull) return {};
    if (!request_.stream) return wrong("stream_options", "is allowed only where stream is true");
    for (JsonCursor member(options); member.next();) {
      if (member.key() != "include_usage") continue;
      const JsonKind kind = member.value().kind;
      if (!is_bool(kind) && kind != JsonKind::kNull) {
        return wrong("stream_options.include_usage", "must be true or false");
      }
      request_.include_usage = kind == JsonKind::kTrue;
    }
    return {};
  }

  Result<void> read_counts() {
    // The first one present wins, so it is read last.
    for (const std::string_view key : {"max_tokens", "max_completion_tokens"}) {
      const JsonValue found = value(key);
      if (found.kind == JsonKind::kNull) continue;
      const auto number = integer(found);
      if (!number || *number < 1) return wrong(key, "must be an integer of at least 1");
      request_.max_tokens = number;
    }
    if (value("n").kind == JsonKind::kNull) return {};
    const auto n = integer(value("n"));
    if (!n || *n < 1 || *n > limits_.max_n) {
      return wrong("n", fmt::format("must be an integer from 1 to {}", limits_.max_n));
    }
    request_.n = static_cast<int>(*n);
    return {};
  }

  Result<void> read_options() {
    const JsonValue logprobs = value("logprobs");
    const Wants wanted = request_.api == Api::kChat ? Wants::kBool : Wants::kInteger;
    if (logprobs.kind != JsonKind::kNull && !fits(logprobs, wanted)) {
      return wrong("logprobs",
                   wanted == Wants::kBool ? "must be true or false" : "must be an integer");
    }
    request_.has_logprobs = logprobs.kind == JsonKind::kTrue || logprobs.kind == JsonKind::kNumber;
    request_.has_echo = value("echo").kind == JsonKind::kTrue;
    if (value("cache_salt").kind == JsonKind::kString) {
      request_.cache_salt = json_unquote(value("cache_salt").text);
    }
    return check_stop();
  }

  Result<void> check_stop() {
    const JsonValue stop = value("stop");
    if (stop.kind == JsonKind::kNull || stop.kind == JsonKind::kString) return {};
    bool good = stop.kind == JsonKind::kArray;
    if (good) {
      for (JsonCursor element(stop); element.next();) {
        good = good && element.value().kind == JsonKind::kString;
      }
    }
    if (!good) return wrong("stop", "must be a string or an array of strings");
    return {};
  }

  Result<void> read_prompt() {
    if (request_.api == Api::kCompletions) return read_completion_prompt();
    const JsonValue messages = value("messages");
    if (messages.kind != JsonKind::kArray) return wrong("messages", "must be given, as an array");
    return append_chat_text(request_.canonical_text, messages, value("tools"));
  }

  Result<void> read_completion_prompt() {
    const JsonValue prompt = value("prompt");
    if (prompt.kind == JsonKind::kString) {
      request_.canonical_text = json_unquote(prompt.text);
      return {};
    }
    if (prompt.kind != JsonKind::kArray) {
      return wrong("prompt", "must be given, as a string or an array");
    }
    JsonCursor first(prompt);
    if (!first.next()) return wrong("prompt", "must not be empty");
    if (first.value().kind == JsonKind::kNumber) return read_ids(prompt);
    request_.prompt_is_batch = true;
    return read_batch(prompt, first.value().kind);
  }

  Result<void> read_ids(JsonValue array) {
    for (JsonCursor element(array); element.next();) {
      const auto id = integer(element.value());
      if (!id || *id < 0 || *id > std::numeric_limits<TokenId>::max()) {
        return wrong("prompt", "must hold token ids: integers from 0 to 2147483647");
      }
      request_.prompt_ids.push_back(static_cast<TokenId>(*id));
    }
    return {};
  }

  // Strings or id arrays, all of one kind. What they share with other requests is not matched: an
  // engine takes them apart into requests of their own.
  Result<void> read_batch(JsonValue prompts, JsonKind kind) {
    for (JsonCursor element(prompts); element.next();) {
      const bool same = element.value().kind == kind;
      if (!same || (kind != JsonKind::kString && kind != JsonKind::kArray)) {
        return wrong("prompt", "must be a string, token ids, or an array of either");
      }
      if (kind == JsonKind::kArray && JsonCursor(element.value()).next()) {
        if (auto done = read_ids(element.value()); !done) return done;
      } else if (kind == JsonKind::kArray) {
        return wrong("prompt", "must not hold an empty array");
      } else {
        json_unquote_to(request_.canonical_text, element.value().text);
      }
    }
    return {};
  }

  OpenAiRequest& request_;
  const RequestLimits& limits_;
};

}  // namespace

Result<OpenAiRequest> OpenAiRequest::parse(Api api, std::string body, const RequestLimits& limits) {
  OpenAiRequest request;
  request.api = api;
  request.body = std::move(body);
  auto fields = JsonFields::scan(request.body, limits.max_depth);
  if (!fields) return std::unexpected(std::move(fields).error());
  request.fields = std::move(*fields);
  if (auto read = Parser(request, limits).run(); !read)
    return std::unexpected(std::move(read).error());
  return request;
}

}  // namespace baton
