#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

namespace baton {

enum class LogLevel : std::uint8_t { kDebug, kInfo, kWarn, kError };
enum class LogFormat : std::uint8_t { kText, kJson };

struct LogOptions {
  LogLevel level = LogLevel::kInfo;
  LogFormat format = LogFormat::kText;
  std::string prefix;  // of every line, as "[prefill-0] "
};

// One key and its value in a log line. Values are escaped, so that a line stays one line whatever a
// client sent. Never put a prompt, a completion or a key of a tenant in one.
struct LogField {
  LogField(std::string_view key, std::string_view text) : key(key), value(text), quoted(true) {}
  LogField(std::string_view key, const char* text) : key(key), value(text), quoted(true) {}
  LogField(std::string_view key, const std::string& text) : key(key), value(text), quoted(true) {}
  LogField(std::string_view key, bool flag) : key(key), value(flag ? "true" : "false") {}
  LogField(std::string_view key, double number);
  template <class Int>
    requires std::is_integral_v<Int>
  LogField(std::string_view key, Int number) : key(key), value(std::to_string(number)) {}

  std::string_view key;
  std::string value;
  bool quoted = false;
};

// Sets up the process's log on stderr; call once at start, before other threads.
void init_log(const LogOptions& options);

// Writes one line: time, level, event, then the fields as key=value, or as one JSON object. `event`
// is a short constant phrase, so that lines of one kind can be counted. Any thread.
void log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields = {});
[[nodiscard]] bool log_enabled(LogLevel level);

}  // namespace baton
