#pragma once

#include <string>

#include "core/error.h"

namespace baton::adapters {

// Tells one GGUF file from another: XXH3-128 over its metadata and tensor table, samples of the
// tensor data and the file's size, as 32 hex digits. Reads at most a few MiB however large the file
// is. Errors: kInvalidArgument, stage kConfig, for a file that cannot be read or is no GGUF.
[[nodiscard]] Result<std::string> fingerprint_of_gguf(const std::string& path);

}  // namespace baton::adapters
