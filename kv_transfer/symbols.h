#pragma once

#include <string>

#include "core/error.h"

namespace baton::kv {

// The functions of a library that is opened at run time, so that one program runs with and without
// it. The library is never closed again: it may have threads of its own.
class Symbols {
 public:
  explicit Symbols(std::string file);

  template <class Function>
  Symbols& bind(Function*& into, const char* name) {
    into = reinterpret_cast<Function*>(find(name));
    return *this;
  }

  // Errors: kUnsupported, where the library cannot be opened, or with each function that it lacks.
  // `remedy` says how to get one that will do.
  [[nodiscard]] Result<void> result(const std::string& remedy) const;

 private:
  [[nodiscard]] void* find(const char* name);

  const std::string file_;
  void* library_ = nullptr;
  std::string refusal_;  // of the loader
  std::string missing_;
};

}  // namespace baton::kv
