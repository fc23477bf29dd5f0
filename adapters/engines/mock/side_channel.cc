#include "adapters/engines/mock/side_channel.h"

#include "core/log.h"

namespace baton::adapters::mock {

Answer json_answer(unsigned status, const Json& body) { return {status, dump(body)}; }

Answer violation(std::string_view name, const std::string& message) {
  return json_answer(409, {{"violation", name}, {"message", message}});
}

void report(const std::exception_ptr& failure) {
  if (failure) log(LogLevel::kError, "a mock's background task failed");
}

}  // namespace baton::adapters::mock
