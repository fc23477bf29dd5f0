#include <nlohmann/json.hpp>

#include "orchestrator/config/config.h"
#include "orchestrator/config/spec.h"
#include "orchestrator/config/values.h"

namespace baton::orchestrator {
namespace {

using Json = nlohmann::ordered_json;

bool is_blank(const Json& value) {
  return value.empty() || (value.is_string() && value.get_ref<const std::string&>().empty());
}

Json to_json(const FieldValue& value) {
  return std::visit(
      [](const auto& held) -> Json {
        if constexpr (std::is_same_v<std::decay_t<decltype(held)>, std::monostate>) {
          return nullptr;
        } else {
          return held;
        }
      },
      value);
}

// Durations are sums of powers of two; six digits give back what the file said.
Json rounded(const Json& value) {
  if (!value.is_number_float()) return value;
  const double number = value.get<double>();
  if (number == static_cast<double>(static_cast<std::int64_t>(number))) {
    return static_cast<std::int64_t>(number);
  }
  return std::stod(nlohmann::json(number).dump());
}

Json object_to_json(const ObjectSpec& spec, const void* owner) {
  Json out = Json::object();
  for (const FieldSpec& field : spec.fields) {
    if (field.kind == FieldKind::kObject) {
      out[field.key] = object_to_json(*field.object, field.elements(owner).front());
    } else if (field.kind == FieldKind::kObjectList) {
      Json& list = out[field.key] = Json::array();
      for (const void* element : field.elements(owner)) {
        list.push_back(object_to_json(*field.object, element));
      }
    } else {
      out[field.key] = rounded(to_json(field.load(owner)));
    }
  }
  return out;
}

Json schema_of(const ObjectSpec& spec, const void* defaults);

Json schema_of_field(const FieldSpec& field, const void* defaults) {
  Json schema = {{"description", field.help}};
  switch (field.kind) {
    case FieldKind::kText: schema["type"] = "string"; break;
    case FieldKind::kFlag: schema["type"] = "boolean"; break;
    case FieldKind::kInteger: schema["type"] = "integer"; break;
    case FieldKind::kNumber: schema["type"] = "number"; break;
    case FieldKind::kSize:
      schema["type"] = {"integer", "string"};
      schema["pattern"] = "^[0-9]+ ?(TiB|GiB|MiB|KiB|GB|MB|kB)?$";
      break;
    case FieldKind::kChoice: schema["enum"] = field.choices; break;
    case FieldKind::kEndpoint:
      schema["type"] = "string";
      schema["pattern"] = "^.*:[0-9]+$";
      break;
    case FieldKind::kUrl:
      schema["type"] = "string";
      schema["pattern"] = "^http://[^/]+:[0-9]+/?$";
      break;
    case FieldKind::kTextList:
      schema["type"] = "array";
      schema["items"] = {{"type", "string"}};
      break;
    case FieldKind::kTextMap:
      schema["type"] = "object";
      schema["additionalProperties"] = {{"type", "string"}};
      break;
    case FieldKind::kObject:
      schema.update(schema_of(*field.object, field.elements(defaults).front()));
      return schema;
    case FieldKind::kObjectList:
      schema["type"] = "array";
      schema["items"] = schema_of(*field.object, field.defaults());
      if (field.required) schema["minItems"] = 1;
      return schema;
  }
  if (field.min != 0.0 || field.max != 0.0) {
    schema["minimum"] = rounded(field.min);
    schema["maximum"] = rounded(field.max);
  }
  if (!field.required) {
    const Json value = rounded(to_json(field.load(defaults)));
    if (!is_blank(value)) schema["default"] = value;
  }
  return schema;
}

Json schema_of(const ObjectSpec& spec, const void* defaults) {
  Json schema = {{"type", "object"}, {"additionalProperties", false}};
  Json required = Json::array();
  for (const FieldSpec& field : spec.fields) {
    if (field.required) required.push_back(field.key);
  }
  if (!required.empty()) schema["required"] = required;
  for (const FieldSpec& field : spec.fields) {
    schema["properties"][field.key] = schema_of_field(field, defaults);
  }
  return schema;
}

std::string type_text(const FieldSpec& field) {
  switch (field.kind) {
    case FieldKind::kText: return "text";
    case FieldKind::kFlag: return "true or false";
    case FieldKind::kInteger:
    case FieldKind::kNumber:
      return (field.kind == FieldKind::kInteger ? "whole number, " : "number, ") +
             rounded(field.min).dump() + " to " + rounded(field.max).dump();
    case FieldKind::kSize:
      return "size, " + format_size(static_cast<std::int64_t>(field.min)) + " to " +
             format_size(static_cast<std::int64_t>(field.max));
    case FieldKind::kChoice: {
      std::string names;
      for (const std::string& name : field.choices) {
        names += (names.empty() ? "`" : ", `") + name + "`";
      }
      return names;
    }
    case FieldKind::kEndpoint: return "`HOST:PORT`";
    case FieldKind::kUrl: return "URL";
    case FieldKind::kTextList: return "list of texts";
    case FieldKind::kTextMap: return "map of texts";
    case FieldKind::kObject: return "map";
    case FieldKind::kObjectList: return "list of maps";
  }
  return "";
}

std::string default_text(const FieldSpec& field, const void* defaults) {
  if (field.required) return "required";
  if (!field.load) return "";
  const FieldValue value = field.load(defaults);
  if (field.kind == FieldKind::kSize) return "`" + format_size(std::get<std::int64_t>(value)) + "`";
  const Json json = rounded(to_json(value));
  if (is_blank(json)) return "none";
  return "`" + (json.is_string() ? json.get<std::string>() : json.dump()) + "`";
}

void append_reference(std::string& out, const ObjectSpec& spec, const void* defaults,
                      const std::string& prefix) {
  for (const FieldSpec& field : spec.fields) {
    const bool is_list = field.kind == FieldKind::kObjectList;
    const std::string path = prefix + field.key + (is_list ? "[]" : "");
    out += "| `" + path + "` | " + type_text(field) + " | " + default_text(field, defaults) +
           " | " + field.help + " |\n";
    if (field.object == nullptr) continue;
    const void* inner = is_list ? field.defaults() : field.elements(defaults).front();
    append_reference(out, *field.object, inner, path + ".");
  }
}

constexpr std::string_view kReferenceHead =
    R"(<!-- Made by `baton check --reference`; a test compares. -->
# Configuration

`baton serve --config FILE` reads one YAML file. `baton check --config FILE` reads it and prints
every error with its line and column; `baton check --schema` prints its JSON Schema, kept in
[deploy/baton.schema.json](../deploy/baton.schema.json) for editors. An example is
[deploy/baton.yaml](../deploy/baton.yaml).

Flags go before environment variables (`BATON_...`, named by `baton serve --help`), and these before
the file. On SIGHUP the file is read again: pools and pods are exchanged at once, or, if anything is
wrong with the file, everything stays as it is and the log says what is wrong. What belongs to
sockets, threads and memory (`listen`, `admin.listen`, `threads`, `limits`, `log`,
`prefix_index_bytes`) is read at the start only.

Sizes are written in bytes or with a suffix: `KiB`, `MiB`, `GiB`, `TiB` (powers of 1024), `kB`, `MB`,
`GB` (of 1000).

| key | type | default | meaning |
|---|---|---|---|
)";

}  // namespace

std::string config_to_json(const Config& config) {
  return object_to_json(config_spec(), &config).dump(2);
}

std::string config_json_schema() {
  const Config defaults;
  Json schema = {{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                 {"title", "Baton configuration"}};
  schema.update(schema_of(config_spec(), &defaults));
  return schema.dump(2) + "\n";
}

std::string config_reference() {
  const Config defaults;
  std::string out(kReferenceHead);
  append_reference(out, config_spec(), &defaults, "");
  return out;
}

}  // namespace baton::orchestrator
