#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <set>
#include <sstream>
#include <tuple>
#include <utility>

#include "orchestrator/config/config.h"
#include "orchestrator/config/spec.h"
#include "orchestrator/config/values.h"
#include "orchestrator/config/whole.h"

namespace baton::orchestrator {
namespace {

struct Place {
  int line = 0;
  int column = 0;
};

Place place_of(const YAML::Mark& mark) {
  if (mark.is_null()) return {};
  return {mark.line + 1, mark.column + 1};
}

std::string join(const std::vector<std::string>& names) {
  std::string out;
  for (const std::string& name : names) {
    if (!out.empty()) out += ", ";
    out += name;
  }
  return out;
}

std::string format_number(double number) {
  char text[32];
  const auto end = std::to_chars(text, text + sizeof text, number).ptr;
  return {text, end};
}

std::string range_text(const FieldSpec& field) {
  if (field.kind == FieldKind::kSize) {
    return format_size(static_cast<std::int64_t>(field.min)) + " to " +
           format_size(static_cast<std::int64_t>(field.max));
  }
  return format_number(field.min) + " to " + format_number(field.max);
}

std::string_view wanted(FieldKind kind) {
  switch (kind) {
    case FieldKind::kText: return "a text";
    case FieldKind::kFlag: return "true or false";
    case FieldKind::kInteger: return "a whole number";
    case FieldKind::kNumber: return "a number";
    case FieldKind::kSize: return "a size in bytes, such as 4096, 256KiB or 10MiB";
    case FieldKind::kChoice: return "a name";
    case FieldKind::kEndpoint: return "HOST:PORT, such as 127.0.0.1:8080";
    case FieldKind::kUrl: return "http://HOST:PORT without a path";
    case FieldKind::kTextList: return "a list of texts";
    case FieldKind::kTextMap: return "a map of texts";
    case FieldKind::kObject: return "a map";
    case FieldKind::kObjectList: return "a list of maps";
  }
  return "a value";
}

// What stands in the file where something else was wanted.
std::string found(const YAML::Node& node) {
  switch (node.Type()) {
    case YAML::NodeType::Null: return "nothing";
    case YAML::NodeType::Sequence: return "this list";
    case YAML::NodeType::Map: return "this map";
    default: break;
  }
  constexpr std::size_t kShown = 60;
  std::string text = node.Scalar();
  if (text.size() > kShown) text = text.substr(0, kShown) + "...";
  std::ranges::replace_if(text, [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return "\"" + text + "\"";
}

bool is_quoted(const YAML::Node& node) { return node.Tag() == "!"; }

template <class Number>
std::optional<Number> parse_number(const std::string& text) {
  Number number{};
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (text.empty() || status != std::errc{} || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return number;
}

// Reads one file against the table. Lives for one parse_config(); collects every issue.
class Reader {
 public:
  void read(const YAML::Node& root) {
    read_object(root, config_spec(), &config_, "", place_of(root.Mark()));
  }

  // What only the file as a whole tells, once every field has been read.
  void finish() {
    for (PoolConfig& pool : config_.pools) {
      for (Pod& pod : pool.prefill) pod.role = Role::kPrefill;
      for (Pod& pod : pool.decode) pod.role = Role::kDecode;
      for (Pod& pod : pool.both) pod.role = Role::kBoth;
    }
    for (WholeIssue& issue : whole_issues(config_)) {
      report(nearest_place(issue.path), std::move(issue.message));
    }
  }

  void report(Place place, std::string message) {
    issues_.push_back({place.line, place.column, std::move(message)});
  }

  std::expected<Config, std::vector<ConfigIssue>> take() {
    if (issues_.empty()) return std::move(config_);
    std::ranges::sort(issues_, {}, [](const ConfigIssue& issue) {
      return std::tie(issue.line, issue.column, issue.message);
    });
    return std::unexpected(std::move(issues_));
  }

 private:
  void read_object(const YAML::Node& node, const ObjectSpec& spec, void* owner,
                   const std::string& path, Place start) {
    places_[path] = start;
    if (!node.IsMap()) {
      report(start, label(path) + " must be a map, not " + found(node));
      return;
    }
    std::set<std::string> seen;
    for (const auto& entry : node) {
      const Place place = place_of(entry.first.Mark());
      if (!entry.first.IsScalar()) {
        report(place, "a key must be a text");
        continue;
      }
      const std::string& key = entry.first.Scalar();
      const auto field = std::ranges::find(spec.fields, key, &FieldSpec::key);
      if (field == spec.fields.end()) {
        report_unknown_key(place, key, spec, path);
      } else if (!seen.insert(key).second) {
        report(place, "key \"" + key + "\" stands here a second time");
      } else {
        read_field(entry.second, *field, owner, path.empty() ? key : path + "." + key, place);
      }
    }
    for (const FieldSpec& field : spec.fields) {
      if (field.required && !seen.contains(field.key)) {
        report(start, label(path) + " lacks the key \"" + field.key + "\"");
      }
    }
  }

  void report_unknown_key(Place place, const std::string& key, const ObjectSpec& spec,
                          const std::string& path) {
    std::vector<std::string> valid;
    for (const FieldSpec& field : spec.fields) valid.push_back(field.key);
    const auto near = nearest(key, valid);
    report(place, "unknown key " + quoted(key) + (path.empty() ? "" : " in " + path) + "; " +
                      (near ? "did you mean \"" + *near + "\"?" : "valid keys: " + join(valid)));
  }

  void read_field(const YAML::Node& node, const FieldSpec& field, void* owner,
                  const std::string& path, Place key_place) {
    // An empty value's mark is that of whatever follows it.
    const Place place = node.IsNull() ? key_place : place_of(node.Mark());
    places_[path] = place;
    switch (field.kind) {
      case FieldKind::kObject:
        read_object(node, *field.object, field.open(owner), path, place);
        return;
      case FieldKind::kObjectList: read_list(node, field, owner, path, place); return;
      default: break;
    }
    std::expected<FieldValue, std::string> value = read_value(node, field);
    if (value) {
      field.store(owner, *value);
    } else {
      report(place, path + " " + value.error());
    }
  }

  void read_list(const YAML::Node& node, const FieldSpec& field, void* owner,
                 const std::string& path, Place place) {
    if (!node.IsSequence()) {
      report(place, path + " must be " + std::string(wanted(field.kind)) + ", not " + found(node));
      return;
    }
    if (field.required && node.size() == 0) {
      report(place, path + " is empty; at least one is needed");
    }
    for (std::size_t i = 0; i < node.size(); ++i) {
      const YAML::Node element = node[i];
      read_object(element, *field.object, field.open(owner), path + "[" + std::to_string(i) + "]",
                  element.IsNull() ? place : place_of(element.Mark()));
    }
  }

  static std::expected<FieldValue, std::string> read_value(const YAML::Node& node,
                                                           const FieldSpec& field) {
    if (field.kind == FieldKind::kTextList) return read_texts(node, field);
    if (field.kind == FieldKind::kTextMap) return read_text_map(node, field);
    if (!node.IsScalar()) return mismatch(node, field);
    const std::string& text = node.Scalar();
    switch (field.kind) {
      case FieldKind::kText:
        if (text.empty()) return std::unexpected("must not be empty");
        return text;
      case FieldKind::kFlag:
        if (is_quoted(node) || (text != "true" && text != "false")) return mismatch(node, field);
        return text == "true";
      case FieldKind::kInteger: {
        const auto number = parse_number<std::int64_t>(text);
        if (is_quoted(node) || !number) return mismatch(node, field);
        return in_range(static_cast<double>(*number), *number, node, field);
      }
      case FieldKind::kNumber: {
        const auto number = parse_number<double>(text);
        if (is_quoted(node) || !number || !std::isfinite(*number)) return mismatch(node, field);
        return in_range(*number, *number, node, field);
      }
      case FieldKind::kSize: {
        const auto size = parse_size(text);
        if (!size) return mismatch(node, field);
        return in_range(static_cast<double>(*size), *size, node, field);
      }
      case FieldKind::kChoice: return read_choice(node, field);
      case FieldKind::kEndpoint:
        if (!parse_endpoint(text)) return mismatch(node, field);
        return text;
      case FieldKind::kUrl:
        if (!parse_pod_url(text)) return mismatch(node, field);
        return text;
      default: break;
    }
    return mismatch(node, field);
  }

  static std::expected<FieldValue, std::string> read_choice(const YAML::Node& node,
                                                            const FieldSpec& field) {
    if (std::ranges::find(field.choices, node.Scalar()) != field.choices.end()) {
      return node.Scalar();
    }
    const auto near = nearest(node.Scalar(), field.choices);
    return std::unexpected("must be one of: " + join(field.choices) + "; not " + found(node) +
                           (near ? " (did you mean \"" + *near + "\"?)" : ""));
  }

  static std::expected<FieldValue, std::string> read_texts(const YAML::Node& node,
                                                           const FieldSpec& field) {
    if (!node.IsSequence()) return mismatch(node, field);
    std::vector<std::string> texts;
    for (const YAML::Node& element : node) {
      if (!element.IsScalar() || element.Scalar().empty()) return mismatch(node, field);
      texts.push_back(element.Scalar());
    }
    return texts;
  }

  static std::expected<FieldValue, std::string> read_text_map(const YAML::Node& node,
                                                              const FieldSpec& field) {
    if (!node.IsMap()) return mismatch(node, field);
    std::map<std::string, std::string> texts;
    for (const auto& entry : node) {
      if (!entry.first.IsScalar() || !entry.second.IsScalar()) return mismatch(node, field);
      if (!texts.emplace(entry.first.Scalar(), entry.second.Scalar()).second) {
        return std::unexpected("has the key " + quoted(entry.first.Scalar()) + " twice");
      }
    }
    return texts;
  }

  template <class Value>
  static std::expected<FieldValue, std::string> in_range(double number, Value value,
                                                         const YAML::Node& node,
                                                         const FieldSpec& field) {
    if (number >= field.min && number <= field.max) return value;
    return std::unexpected("must be " + range_text(field) + ", not " + found(node));
  }

  static std::unexpected<std::string> mismatch(const YAML::Node& node, const FieldSpec& field) {
    return std::unexpected("must be " + std::string(wanted(field.kind)) + ", not " + found(node));
  }

  static std::string quoted(const std::string& text) { return found(YAML::Node(text)); }
  static std::string label(const std::string& path) {
    return path.empty() ? "the configuration" : path;
  }

  // Of `path`, or of what encloses it where the file does not mention it.
  Place nearest_place(std::string path) const {
    for (;;) {
      const auto found_place = places_.find(path);
      if (found_place != places_.end()) return found_place->second;
      const std::size_t cut = path.find_last_of(".[");
      if (cut == std::string::npos) return {1, 1};
      path.resize(cut);
    }
  }

  Config config_;
  std::vector<ConfigIssue> issues_;
  std::map<std::string, Place> places_;  // by path, as pools[0].prefill[1].name
};

}  // namespace

std::expected<Config, std::vector<ConfigIssue>> parse_config(std::string_view yaml) {
  Reader reader;
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(std::string(yaml));
    if (documents.empty()) {
      reader.report({1, 1}, "the configuration is empty; it needs at least the key \"pools\"");
    } else if (documents.size() > 1) {
      reader.report(place_of(documents[1].Mark()), "a second YAML document; one is wanted");
    } else {
      reader.read(documents.front());
      reader.finish();
    }
  } catch (const YAML::Exception& error) {
    reader.report(place_of(error.mark), "not YAML: " + error.msg);
  }
  return reader.take();
}

std::expected<Config, std::vector<ConfigIssue>> load_config(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  if (!file || !text) {
    return std::unexpected(std::vector<ConfigIssue>{
        {0, 0, "cannot be read; name a configuration file with --config"}});
  }
  return parse_config(text.str());
}

std::string format_issue(std::string_view file, const ConfigIssue& issue) {
  std::string line(file);
  if (issue.line > 0) {
    line += ":" + std::to_string(issue.line) + ":" + std::to_string(issue.column);
  }
  return line + ": " + issue.message;
}

}  // namespace baton::orchestrator
