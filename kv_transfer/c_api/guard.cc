#include "kv_transfer/c_api/guard.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace baton::kv::c_api {
namespace {

// Of a fixed size, so that telling of a lack of memory takes none.
thread_local std::array<char, 1024> t_last_error{};

struct Pair {
  ErrorCode code;
  baton_kv_status status;
};
constexpr Pair kPairs[] = {
    {ErrorCode::kInternal, BATON_KV_INTERNAL},
    {ErrorCode::kInvalidArgument, BATON_KV_INVALID_ARGUMENT},
    {ErrorCode::kUnsupported, BATON_KV_UNSUPPORTED},
    {ErrorCode::kUnavailable, BATON_KV_UNAVAILABLE},
    {ErrorCode::kTimeout, BATON_KV_TIMEOUT},
    {ErrorCode::kCancelled, BATON_KV_CANCELLED},
    {ErrorCode::kStale, BATON_KV_STALE},
    {ErrorCode::kCorrupt, BATON_KV_CORRUPT},
    {ErrorCode::kUpstream, BATON_KV_UPSTREAM},
};

}  // namespace

baton_kv_status status_of(ErrorCode code) {
  const auto* const pair = std::ranges::find(kPairs, code, &Pair::code);
  return pair == std::end(kPairs) ? baton_kv_status{BATON_KV_INTERNAL} : pair->status;
}

ErrorCode code_of(baton_kv_status status) {
  const auto* const pair = std::ranges::find(kPairs, status, &Pair::status);
  return pair == std::end(kPairs) ? ErrorCode::kInternal : pair->code;
}

baton_kv_status remember(baton_kv_status status, std::string_view message) noexcept {
  std::size_t size = std::min(message.size(), t_last_error.size() - 1);
  const auto is_cut = [&] {  // within a character
    return size < message.size() && (static_cast<unsigned char>(message[size]) & 0xC0) == 0x80;
  };
  while (size > 0 && is_cut()) --size;
  std::copy_n(message.begin(), size, t_last_error.begin());
  t_last_error[size] = '\0';
  return status;
}

Outcome<void> check_struct_size(std::size_t given, std::size_t known, std::string_view name) {
  if (given < sizeof(std::size_t)) {
    return wrong(fmt::format("{}.struct_size is {}: set it to sizeof({}) before the call", name,
                             given, name));
  }
  if (given > known) {
    return failed(BATON_KV_UNSUPPORTED,
                  fmt::format("{}.struct_size is {}, and this library knows {} bytes of it: the "
                              "program was built with a newer baton_kv.h; install the libbaton_kv "
                              "that came with it",
                              name, given, known));
  }
  return {};
}

}  // namespace baton::kv::c_api

using baton::kv::c_api::t_last_error;

extern "C" {

const char* baton_kv_last_error(void) { return t_last_error.data(); }

const char* baton_kv_version(void) { return BATON_VERSION; }

const char* baton_kv_status_name(baton_kv_status status) {
  switch (status) {
    case BATON_KV_OK: return "ok";
    case BATON_KV_INVALID_ARGUMENT: return "invalid_argument";
    case BATON_KV_UNSUPPORTED: return "unsupported";
    case BATON_KV_UNAVAILABLE: return "unavailable";
    case BATON_KV_TIMEOUT: return "timeout";
    case BATON_KV_CANCELLED: return "cancelled";
    case BATON_KV_STALE: return "stale";
    case BATON_KV_CORRUPT: return "corrupt";
    case BATON_KV_UPSTREAM: return "upstream";
    case BATON_KV_INTERNAL: return "internal";
    case BATON_KV_NO_MEMORY: return "no_memory";
    case BATON_KV_NO_SLOT: return "no_slot";
    case BATON_KV_NO_EVENT: return "no_event";
    case BATON_KV_STOPPED: return "stopped";
    default: return "unknown";
  }
}
}
