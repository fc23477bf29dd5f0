#include "adapters/engines/llama_cpp/fingerprint.h"

#include <fmt/format.h>
#include <gguf.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <memory>
#include <vector>

#include "adapters/engines/llama_cpp/llama_handles.h"

namespace baton::adapters {
namespace {

constexpr std::uint64_t kPieceBytes = 64 << 10;
constexpr std::uint64_t kPieces = 32;  // spread evenly over the tensor data

struct GgufDeleter {
  void operator()(gguf_context* gguf) const { gguf_free(gguf); }
};

std::unexpected<Error> bad_file(const std::string& path, std::string_view reason) {
  return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
              fmt::format("{}: {}; give a readable GGUF file", path, reason), false, "model");
}

}  // namespace

Result<std::string> fingerprint_of_gguf(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return bad_file(path, std::strerror(errno));
  const auto size = static_cast<std::uint64_t>(std::max<std::streamoff>(file.tellg(), 0));
  LlamaComplaints complaints;
  const std::unique_ptr<gguf_context, GgufDeleter> gguf(
      gguf_init_from_file(path.c_str(), {.no_alloc = true, .ctx = nullptr}));
  if (gguf == nullptr) {
    return bad_file(path, "not a GGUF file, or a damaged one: " + complaints.take_reason());
  }
  const std::uint64_t data_offset = gguf_get_data_offset(gguf.get());
  if (data_offset > size) return bad_file(path, "the file is cut short");

  const std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state(XXH3_createState(),
                                                                       &XXH3_freeState);
  XXH3_128bits_reset(state.get());
  XXH3_128bits_update(state.get(), &size, sizeof(size));
  std::vector<char> buffer(kPieceBytes);
  const auto add = [&](std::uint64_t begin, std::uint64_t end) {
    file.seekg(static_cast<std::streamoff>(begin));
    while (begin < end) {
      const std::uint64_t n = std::min<std::uint64_t>(buffer.size(), end - begin);
      if (!file.read(buffer.data(), static_cast<std::streamsize>(n))) return false;
      XXH3_128bits_update(state.get(), buffer.data(), n);
      begin += n;
    }
    return true;
  };
  if (!add(0, data_offset)) return bad_file(path, "cannot be read");
  const std::uint64_t stride = std::max((size - data_offset) / kPieces, kPieceBytes);
  for (std::uint64_t at = data_offset; at < size; at += stride) {
    if (!add(at, std::min(size, at + kPieceBytes))) return bad_file(path, "cannot be read");
  }
  const XXH128_hash_t hash = XXH3_128bits_digest(state.get());
  return fmt::format("{:016x}{:016x}", hash.high64, hash.low64);
}

}  // namespace baton::adapters
