#include "core/log.h"

#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <memory>

namespace baton {
namespace {

LogFormat g_format = LogFormat::kText;  // set once by init_log, before other threads start

spdlog::level::level_enum level_of(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug: return spdlog::level::debug;
    case LogLevel::kInfo: return spdlog::level::info;
    case LogLevel::kWarn: return spdlog::level::warn;
    case LogLevel::kError: return spdlog::level::err;
  }
  return spdlog::level::info;
}

void append_quoted(std::string& out, std::string_view text) {
  constexpr std::string_view kHex = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else if (byte < 0x20 || byte == 0x7F) {
      out += "\\u00";
      out += kHex[byte >> 4];
      out += kHex[byte & 0xF];
    } else {
      out += c;
    }
  }
  out += '"';
}

bool is_plain(std::string_view text) {
  if (text.empty()) return false;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte <= 0x20 || byte >= 0x7F || c == '"' || c == '=' || c == '\\') return false;
  }
  return true;
}

}  // namespace

LogField::LogField(std::string_view key, double number)
    : key(key), value(fmt::format("{:.6g}", number)) {}

void init_log(const LogOptions& options) {
  g_format = options.format;
  auto logger = spdlog::stderr_logger_mt("baton");
  std::string prefix = options.prefix;
  for (std::size_t at = 0; (at = prefix.find('%', at)) != std::string::npos; at += 2) {
    prefix.insert(at, 1, '%');
  }
  logger->set_pattern(options.format == LogFormat::kJson ? "%v"
                                                         : prefix + "%Y-%m-%dT%H:%M:%S.%e %L %v");
  logger->set_level(level_of(options.level));
  logger->flush_on(spdlog::level::debug);
  spdlog::set_default_logger(std::move(logger));
}

bool log_enabled(LogLevel level) { return spdlog::should_log(level_of(level)); }

void log(LogLevel level, std::string_view event, std::initializer_list<LogField> fields) {
  if (!log_enabled(level)) return;
  std::string line;
  if (g_format == LogFormat::kJson) {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    line = fmt::format(R"({{"time":{:.3f},"level":"{}","event":)",
                       std::chrono::duration<double>(now).count(),
                       spdlog::level::to_string_view(level_of(level)));
    append_quoted(line, event);
    for (const LogField& field : fields) {
      line += ',';
      append_quoted(line, field.key);
      line += ':';
      if (field.quoted) {
        append_quoted(line, field.value);
      } else {
        line += field.value;
      }
    }
    line += '}';
  } else {
    line = event;
    for (const LogField& field : fields) {
      line += ' ';
      line += field.key;
      line += '=';
      if (is_plain(field.value)) {
        line += field.value;
      } else {
        append_quoted(line, field.value);
      }
    }
  }
  spdlog::default_logger_raw()->log(level_of(level), spdlog::string_view_t(line));
}

}  // namespace baton
