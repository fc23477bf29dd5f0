#include "adapters/engines/llama_cpp/llama_handles.h"

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

void log_from_llama(ggml_log_level level, const char* text, void* /*user_data*/) {
  if (level != GGML_LOG_LEVEL_WARN && level != GGML_LOG_LEVEL_ERROR) return;
  std::string_view line = text;
  while (!line.empty() && (line.back() == '\n' || line.back() == ' ')) line.remove_suffix(1);
  if (line.empty() || is_expected(line)) return;
  log(level == GGML_LOG_LEVEL_ERROR ? LogLevel::kError : LogLevel::kWarn, "llama.cpp",
      {{"message", line}});
}

}  // namespace

void init_llama() {
  static std::once_flag once;
  std::call_once(once, [] {
    setenv("GGML_NO_BACKTRACE", "1", 0);
    llama_log_set(log_from_llama, nullptr);
    llama_backend_init();
  });
}

}  // namespace baton::adapters
