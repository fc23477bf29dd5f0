#include "orchestrator/registry/exposition.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>

namespace baton::orchestrator {
namespace {

constexpr std::array<bool, 256> name_characters() {
  std::array<bool, 256> in_names{};
  for (const char c : std::string_view("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                       "0123456789_:")) {
    in_names[static_cast<unsigned char>(c)] = true;
  }
  return in_names;
}
constexpr std::array<bool, 256> kInNames = name_characters();

// A line of the text, consumed from the front.
class Line {
 public:
  explicit Line(std::string_view text) : rest_(text) {}

  void skip_blanks() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\t')) {
      rest_.remove_prefix(1);
    }
  }
  bool take(char wanted) {
    if (rest_.empty() || rest_.front() != wanted) return false;
    rest_.remove_prefix(1);
    return true;
  }
  std::string_view take_name() {
    std::size_t length = 0;
    while (length < rest_.size() && kInNames[static_cast<unsigned char>(rest_[length])]) ++length;
    const std::string_view name = rest_.substr(0, length);
    rest_.remove_prefix(length);
    return name;
  }
  // A label's value after its opening quote; nothing where the line ends before the closing one.
  std::optional<std::string> take_quoted() {
    std::string value;
    while (!rest_.empty()) {
      const char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"') return value;
      if (c != '\\') {
        value += c;
      } else if (!rest_.empty()) {
        value += rest_.front() == 'n' ? '\n' : rest_.front();
        rest_.remove_prefix(1);
      }
    }
    return std::nullopt;
  }
  std::optional<double> take_number() {
    const std::size_t length = std::min(rest_.find_first_of(" \t\r"), rest_.size());
    std::string_view text = rest_.substr(0, length);
    rest_.remove_prefix(length);
    if (text.starts_with('+')) text.remove_prefix(1);
    double number = 0.0;
    const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (text.empty() || status != std::errc{} || end != text.data() + text.size()) {
      return std::nullopt;
    }
    return number;
  }

 private:
  std::string_view rest_;
};

std::optional<MetricSample> read_sample(std::string_view text,
                                        const std::function<bool(std::string_view)>& wanted) {
  Line line(text);
  line.skip_blanks();
  MetricSample sample;
  sample.name = line.take_name();
  if (sample.name.empty() || !wanted(sample.name)) return std::nullopt;
  line.skip_blanks();
  if (line.take('{')) {
    for (line.skip_blanks(); !line.take('}'); line.skip_blanks()) {
      const std::string_view name = line.take_name();
      line.skip_blanks();
      if (name.empty() || !line.take('=')) return std::nullopt;
      line.skip_blanks();
      if (!line.take('"')) return std::nullopt;
      auto value = line.take_quoted();
      if (!value) return std::nullopt;
      sample.labels.emplace_back(name, std::move(*value));
      line.skip_blanks();
      line.take(',');
    }
  }
  line.skip_blanks();
  const auto value = line.take_number();
  if (!value) return std::nullopt;
  sample.value = *value;
  return sample;
}

}  // namespace

std::string_view MetricSample::label(std::string_view wanted) const {
  for (const auto& [label_name, text] : labels) {
    if (label_name == wanted) return text;
  }
  return {};
}

void for_each_sample(std::string_view text, const std::function<bool(std::string_view)>& wanted,
                     const std::function<void(const MetricSample&)>& sample) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const auto read = read_sample(text.substr(0, end), wanted);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (read) sample(*read);
  }
}

}  // namespace baton::orchestrator
