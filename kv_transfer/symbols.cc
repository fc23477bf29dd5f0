#include "kv_transfer/symbols.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <utility>

namespace baton::kv {

Symbols::Symbols(std::string file)
    : file_(std::move(file)), library_(::dlopen(file_.c_str(), RTLD_NOW | RTLD_LOCAL)) {
  if (library_ != nullptr) return;
  const char* why = ::dlerror();
  refusal_ = why != nullptr ? why : "unknown error";
}

void* Symbols::find(const char* name) {
  if (library_ == nullptr) return nullptr;
  void* symbol = ::dlsym(library_, name);
  if (symbol == nullptr) missing_ += (missing_.empty() ? "" : ", ") + std::string(name);
  return symbol;
}

Result<void> Symbols::result(const std::string& remedy) const {
  if (library_ == nullptr) {
    return fail(ErrorCode::kUnsupported, Stage::kConfig,
                fmt::format("{} cannot be opened ({}): {}", file_, refusal_, remedy));
  }
  if (!missing_.empty()) {
    return fail(ErrorCode::kUnsupported, Stage::kConfig,
                fmt::format("{} has no {}: {}", file_, missing_, remedy));
  }
  return {};
}

}  // namespace baton::kv
