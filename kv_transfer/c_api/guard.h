#pragma once

#include <cstddef>
#include <cstring>
#include <exception>
#include <expected>
#include <new>
#include <string>
#include <string_view>
#include <utility>

#include "core/error.h"
#include "kv_transfer/baton_kv.h"

// What every function of the C API is made with: failures become a status and a message of the
// thread, and nothing is thrown.
namespace baton::kv::c_api {

struct Failure {
  baton_kv_status status = BATON_KV_INTERNAL;
  std::string message;
};
template <class T>
using Outcome = std::expected<T, Failure>;

[[nodiscard]] baton_kv_status status_of(ErrorCode code);
// The other way; kInternal for what is no failure of a hand-off.
[[nodiscard]] ErrorCode code_of(baton_kv_status status);

[[nodiscard]] inline std::unexpected<Failure> wrong(std::string message) {
  return std::unexpected(Failure{BATON_KV_INVALID_ARGUMENT, std::move(message)});
}
[[nodiscard]] inline std::unexpected<Failure> failed(baton_kv_status status, std::string message) {
  return std::unexpected(Failure{status, std::move(message)});
}
[[nodiscard]] inline std::unexpected<Failure> failed(const Error& error) {
  return failed(status_of(error.code), error.message);
}
[[nodiscard]] inline std::unexpected<Failure> null(std::string_view what) {
  return wrong(std::string(what) + " is null: pass a pointer to one");
}

// Keeps the message for baton_kv_last_error().
baton_kv_status remember(baton_kv_status status, std::string_view message) noexcept;

// Runs what a function does, an Outcome<void>.
template <class Body>
baton_kv_status guarded(Body body) noexcept {
  try {
    const Outcome<void> outcome = body();
    if (outcome) return BATON_KV_OK;
    return remember(outcome.error().status, outcome.error().message);
  } catch (const std::bad_alloc&) {
    return remember(BATON_KV_NO_MEMORY, "the process has no memory left for this call");
  } catch (const std::exception& error) {
    return remember(BATON_KV_INTERNAL, error.what());
  } catch (...) {
    return remember(BATON_KV_INTERNAL, "an exception of unknown type");
  }
}

[[nodiscard]] Outcome<void> check_struct_size(std::size_t given, std::size_t known,
                                              std::string_view name);

// A struct of this or an older header; what that one did not have is zero.
template <class Struct>
Outcome<Struct> read(const Struct* given, std::string_view name) {
  if (given == nullptr) return null(name);
  if (auto good = check_struct_size(given->struct_size, sizeof(Struct), name); !good) {
    return std::unexpected(good.error());
  }
  Struct whole{};
  std::memcpy(&whole, given, given->struct_size);
  return whole;
}

// As much of `from` as the caller's header has.
template <class Struct>
Outcome<void> write(const Struct& from, Struct* into, std::string_view name) {
  if (into == nullptr) return null(name);
  const std::size_t size = into->struct_size;
  if (auto good = check_struct_size(size, sizeof(Struct), name); !good) return good;
  std::memcpy(into, &from, size);
  into->struct_size = size;
  return {};
}

[[nodiscard]] inline std::string text_or(const char* text, std::string_view fallback = {}) {
  return text == nullptr ? std::string(fallback) : std::string(text);
}

}  // namespace baton::kv::c_api
