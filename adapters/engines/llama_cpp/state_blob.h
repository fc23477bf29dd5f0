#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace baton::adapters {

// The KV of consecutive tokens of one sequence as llama_state_seq_get_data writes it, seen as one
// row a token (llama.cpp: llama-kv-cache.cpp, state_write and what it calls). Borrows the bytes.
// Promises that copy_rows() gives, byte for byte, what libllama would have written for those tokens
// alone.
class StateBlob {
 public:
  // nullopt where the bytes are not of the plain form: one stream, cells of this sequence alone and
  // without extensions, V not transposed, one cache (sliding windows have two).
  [[nodiscard]] static std::optional<StateBlob> parse(std::span<const std::byte> bytes);

  [[nodiscard]] int rows() const { return rows_; }
  // Rows [first, first + count). Returns the bytes written; 0: `out` is too small.
  [[nodiscard]] std::size_t copy_rows(int first, int count, std::span<std::byte> out) const;

 private:
  struct Part {  // a head, copied as it is, and then a row for each token
    std::size_t begin = 0;
    std::size_t head_bytes = 0;
    std::size_t row_bytes = 0;
  };
  explicit StateBlob(std::span<const std::byte> bytes) : bytes_(bytes) {}

  std::span<const std::byte> bytes_;
  int rows_ = 0;
  std::vector<Part> parts_;
};

}  // namespace baton::adapters
