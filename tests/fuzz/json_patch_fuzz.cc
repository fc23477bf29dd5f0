// Scanning, patching and reading OpenAI bodies from any bytes.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "core/json_cursor.h"
#include "core/json_fields.h"
#include "core/openai_request.h"

namespace {

using baton::Api;
using baton::JsonCursor;
using baton::JsonField;
using baton::JsonFields;
using baton::JsonKind;
using baton::JsonPatch;
using baton::JsonValue;
using baton::OpenAiRequest;

constexpr std::size_t kDepth = 64;

void require(bool holds) {
  if (!holds) std::abort();
}

// Visits every value; the scan limits how deep that goes.
void walk(JsonValue value) {
  if (value.kind == JsonKind::kString) {
    const std::string text = baton::json_unquote(value.text);
    require(baton::json_unquote(baton::json_quote(text)) == text);
  }
  if (value.kind != JsonKind::kObject && value.kind != JsonKind::kArray) return;
  for (JsonCursor cursor(value); cursor.next();) walk(cursor.value());
}

void check_patch(std::string_view text, const JsonFields& fields) {
  JsonPatch patch;
  patch.set("stream", "false");
  patch.set("kv_transfer_params", R"({"x":[1,"y"]})");
  patch.erase("stream_options");
  const std::string patched = patch.apply(text, fields);
  const auto again = JsonFields::scan(patched, kDepth);
  require(again.has_value());
  require(value_of(*again->find("stream"), patched).text == "false");
  require(again->find("stream_options") == nullptr);
  for (const JsonField& field : fields.all()) {
    if (field.key == "stream" || field.key == "kv_transfer_params") continue;
    if (field.key == "stream_options") continue;
    require(value_of(*again->find(field.key), patched).text ==
            value_of(*fields.find(field.key), text).text);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  if (const auto fields = JsonFields::scan(text, kDepth)) {
    for (const JsonField& field : fields->all()) walk(value_of(field, text));
    check_patch(text, *fields);
  }
  for (const Api api : {Api::kChat, Api::kCompletions}) {
    const auto request = OpenAiRequest::parse(api, text, {});
    require(request || !request.error().message.empty());
  }
  return 0;
}
