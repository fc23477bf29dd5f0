#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace baton::orchestrator {

enum class FieldKind : std::uint8_t {
  kText,
  kFlag,
  kInteger,
  kNumber,
  kSize,  // bytes, with suffix: 10MiB
  kChoice,
  kEndpoint,
  kUrl,
  kTextList,
  kTextMap,
  kObject,
  kObjectList,
};

// A field's value on its way between the file and its member. Sizes are std::int64_t in bytes;
// endpoints, URLs and choices are text; nothing (monostate) is an optional that is not set.
using FieldValue = std::variant<std::monostate, bool, std::int64_t, double, std::string,
                                std::vector<std::string>, std::map<std::string, std::string>>;

struct ObjectSpec;

// One key of the configuration file: what parsing checks and what the reference says.
struct FieldSpec {
  std::string key;
  FieldKind kind = FieldKind::kText;
  std::string help;
  bool required = false;
  double min = 0.0;  // of kInteger, kNumber and kSize
  double max = 0.0;
  std::vector<std::string> choices;

  // `owner` is the struct that the enclosing ObjectSpec describes.
  std::function<void(void* owner, const FieldValue& value)> store;
  std::function<FieldValue(const void* owner)> load;

  // kObject and kObjectList: `open` gives the struct to fill, a new element of a list.
  const ObjectSpec* object = nullptr;
  std::function<void*(void* owner)> open;
  std::function<std::vector<const void*>(const void* owner)> elements;
  std::function<const void*()> defaults;  // a struct of the object's type as it is by default
};

struct ObjectSpec {
  std::string title;
  std::vector<FieldSpec> fields;
};

// The whole file; its owner is a Config.
[[nodiscard]] const ObjectSpec& config_spec();

}  // namespace baton::orchestrator
