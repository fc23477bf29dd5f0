#include "core/canonical_prompt.h"

#include <xxhash.h>

#include <fmt/format.h>
#include <cstddef>

namespace baton {
namespace {

constexpr char kToolsMark = '\x1d';    // GS
constexpr char kMessageMark = '\x1e';  // RS
constexpr char kPartMark = '\x1f';     // US

std::unexpected<Error> wrong(std::string param, std::string_view problem) {
  std::string message = fmt::format("{} {}", param, problem);
  return fail(ErrorCode::kInvalidArgument, Stage::kRouter, std::move(message), false,
              std::move(param));
}

void append_hash(std::string& out, std::string_view bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  fmt::format_to(std::back_inserter(out), "{:016x}{:016x}", hash.high64, hash.low64);
}

Result<void> append_part(std::string& out, JsonValue part, std::size_t message, std::size_t index) {
  const auto path = [&](std::string_view member) {
    return fmt::format("messages[{}].content[{}]{}", message, index, member);
  };
  if (part.kind != JsonKind::kObject) return wrong(path(""), "must be an object");
  JsonValue type;
  JsonValue text;
  for (JsonCursor member(part); member.next();) {
    const std::string key = member.key();
    if (key == "type") type = member.value();
    if (key == "text") text = member.value();
  }
  if (type.kind != JsonKind::kString) return wrong(path(".type"), "must be a string");
  out += kPartMark;
  const std::string type_name = json_unquote(type.text);
  if (type_name == "text") {
    if (text.kind != JsonKind::kString) return wrong(path(".text"), "must be a string");
    json_unquote_to(out, text.text);
  } else {
    out += type_name;
    out += ':';
    append_hash(out, part.text);
  }
  return {};
}

Result<void> append_content(std::string& out, JsonValue content, std::size_t message) {
  if (content.kind == JsonKind::kNull) return {};
  if (content.kind == JsonKind::kString) {
    out += kPartMark;
    json_unquote_to(out, content.text);
    return {};
  }
  if (content.kind != JsonKind::kArray) {
    return wrong(fmt::format("messages[{}].content", message),
                 "must be a string, an array of parts, or null");
  }
  std::size_t index = 0;
  for (JsonCursor part(content); part.next(); ++index) {
    if (auto done = append_part(out, part.value(), message, index); !done) return done;
  }
  return {};
}

Result<void> append_message(std::string& out, JsonValue message, std::size_t index) {
  if (message.kind != JsonKind::kObject) {
    return wrong(fmt::format("messages[{}]", index), "must be an object");
  }
  JsonValue role;
  JsonValue content;
  std::string others;
  for (JsonCursor member(message); member.next();) {
    const std::string key = member.key();
    if (key == "role") {
      role = member.value();
    } else if (key == "content") {
      content = member.value();
    } else if (member.value().kind != JsonKind::kNull) {
      others += kPartMark;
      others += key;
      others += '=';
      others += member.value().text;
    }
  }
  if (role.kind != JsonKind::kString || role.text.size() == 2) {
    return wrong(fmt::format("messages[{}].role", index), "must be a string that is not empty");
  }
  out += kMessageMark;
  json_unquote_to(out, role.text);
  if (auto done = append_content(out, content, index); !done) return done;
  out += others;
  return {};
}

}  // namespace

Result<void> append_chat_text(std::string& out, JsonValue messages, JsonValue tools) {
  out.reserve(out.size() + messages.text.size() + tools.text.size());
  if (tools.kind != JsonKind::kNull) {
    out += kToolsMark;
    out += tools.text;
  }
  std::size_t index = 0;
  for (JsonCursor message(messages); message.next(); ++index) {
    if (auto done = append_message(out, message.value(), index); !done) return done;
  }
  if (index == 0) return wrong("messages", "must not be empty");
  return {};
}

}  // namespace baton
