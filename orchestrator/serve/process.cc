#include "orchestrator/serve/process.h"

#include <sys/resource.h>

namespace baton::orchestrator {

LogOptions log_options(const Config& config) {
  LogOptions options;
  if (config.log_level == "debug") options.level = LogLevel::kDebug;
  if (config.log_level == "warn") options.level = LogLevel::kWarn;
  if (config.log_level == "error") options.level = LogLevel::kError;
  if (config.log_format == "json") options.format = LogFormat::kJson;
  return options;
}

void raise_file_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max) return;
  limit.rlim_cur = limit.rlim_max;
  if (::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    log(LogLevel::kWarn, "cannot raise the limit of open files");
  }
}

}  // namespace baton::orchestrator
