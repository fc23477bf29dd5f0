#include "adapters/engines/llama_cpp/llama_handles.h"

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <string_view>

#include "core/log.h"

namespace baton::adapters {
namespace {

// libllama says this of every pool that is larger or smaller than one training context.
bool is_expected(std::string_view line) {
  return line.find("training context overflow") != std::string_view::npos ||
         line.find("full capacity of the model will not be utilized") != std::string_view::npos;
}

thread_local LlamaComplaints* heard_by = nullptr;

void log_line(ggml_log_level level, std::string_view line) {
  log(level == GGML_LOG_LEVEL_ERROR ? LogLevel::kError : LogLevel::kWarn, "llama.cpp",
      {{"message", line}});
}

}  // namespace

// What libllama calls with each piece of its log.
struct LlamaLog {
  static void write(ggml_log_level level, const char* text, void* user_data);
};

void LlamaLog::write(ggml_log_level level, const char* text, void* /*user_data*/) {
  if (level != GGML_LOG_LEVEL_WARN && level != GGML_LOG_LEVEL_ERROR) return;
  std::string_view line = text;
  while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.remove_suffix(1);
  if (line.empty() || is_expected(line)) return;
  if (heard_by != nullptr) {
    heard_by->lines_.push_back({level, std::string(line)});
  } else {
    log_line(level, line);
  }
}

LlamaComplaints::LlamaComplaints() { heard_by = this; }

LlamaComplaints::~LlamaComplaints() {
  heard_by = nullptr;
  for (const Line& line : lines_) log_line(line.level, line.text);
}

std::string LlamaComplaints::take_reason() {
  std::string reason = "libllama cannot read it";
  const auto first = std::ranges::find(lines_, GGML_LOG_LEVEL_ERROR, &Line::level);
  if (first != lines_.end()) reason = first->text;
  lines_.clear();
  return reason;
}

void init_llama() {
  static std::once_flag once;
  std::call_once(once, [] {
    setenv("GGML_NO_BACKTRACE", "1", 0);
    llama_log_set(&LlamaLog::write, nullptr);
    llama_backend_init();
  });
}

}  // namespace baton::adapters
