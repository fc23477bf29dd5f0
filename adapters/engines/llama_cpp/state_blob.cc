#include "adapters/engines/llama_cpp/state_blob.h"

#include <cstdint>
#include <cstring>
#include <limits>

namespace baton::adapters {
namespace {

constexpr std::size_t kRowsAt = 3 * sizeof(std::uint32_t);  // after magic, sequence and streams
constexpr std::uint32_t kMaxLayers = 4096;

class Cursor {
 public:
  explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}
  template <class T>
  bool read(T& value) {
    if (bytes_.size() - at_ < sizeof(value)) return false;
    std::memcpy(&value, bytes_.data() + at_, sizeof(value));
    at_ += sizeof(value);
    return true;
  }
  bool skip(std::uint64_t count, std::uint64_t size) {
    if (size != 0 && count > (bytes_.size() - at_) / size) return false;
    at_ += count * size;
    return true;
  }
  [[nodiscard]] std::size_t at() const { return at_; }
  [[nodiscard]] bool at_end() const { return at_ == bytes_.size(); }

 private:
  std::span<const std::byte> bytes_;
  std::size_t at_ = 0;
};

struct CellMeta {
  std::int32_t position;
  std::uint32_t sequences;
  std::int32_t sequence;
};

bool read_cells(Cursor& cursor, std::uint32_t rows, std::int32_t sequence) {
  CellMeta before{};
  for (std::uint32_t row = 0; row < rows; ++row) {
    CellMeta cell;
    if (!cursor.read(cell) || cell.sequences != 1 || cell.sequence != sequence) return false;
    if (row > 0 && cell.position != before.position + 1) return false;
    before = cell;
  }
  return true;
}

}  // namespace

std::optional<StateBlob> StateBlob::parse(std::span<const std::byte> bytes) {
  Cursor cursor(bytes);
  std::uint32_t magic = 0, streams = 0, rows = 0, transposed = 0, layers = 0;
  std::int32_t sequence = 0;
  if (!cursor.read(magic) || !cursor.read(sequence) || !cursor.read(streams) ||
      !cursor.read(rows)) {
    return std::nullopt;
  }
  if (streams != 1 || rows == 0 || rows > std::numeric_limits<std::int32_t>::max()) {
    return std::nullopt;
  }
  StateBlob blob(bytes);
  blob.rows_ = static_cast<int>(rows);
  blob.parts_.push_back({0, cursor.at(), sizeof(CellMeta)});
  if (!read_cells(cursor, rows, sequence)) return std::nullopt;

  const std::size_t data = cursor.at();
  if (!cursor.read(transposed) || !cursor.read(layers)) return std::nullopt;
  if (transposed != 0 || layers == 0 || layers > kMaxLayers) return std::nullopt;
  std::size_t begin = data;
  // Keys of each layer, then values of those that have any.
  for (std::uint32_t tensor = 0; !cursor.at_end(); ++tensor) {
    std::int32_t type = 0;
    std::uint64_t row_bytes = 0;
    if (tensor == 2 * layers || !cursor.read(type) || !cursor.read(row_bytes)) return std::nullopt;
    blob.parts_.push_back({begin, cursor.at() - begin, row_bytes});
    if (!cursor.skip(rows, row_bytes)) return std::nullopt;
    begin = cursor.at();
  }
  if (blob.parts_.size() <= layers) return std::nullopt;
  return blob;
}

std::size_t StateBlob::copy_rows(int first, int count, std::span<std::byte> out) const {
  const auto wanted = static_cast<std::size_t>(count);
  std::size_t size = 0;
  for (const Part& part : parts_) {
    const std::size_t rows = wanted * part.row_bytes;
    if (part.head_bytes + rows > out.size() - size) return 0;
    std::memcpy(out.data() + size, bytes_.data() + part.begin, part.head_bytes);
    size += part.head_bytes;
    std::memcpy(out.data() + size,
                bytes_.data() + part.begin + part.head_bytes +
                    static_cast<std::size_t>(first) * part.row_bytes,
                rows);
    size += rows;
  }
  const auto row_count = static_cast<std::uint32_t>(count);
  std::memcpy(out.data() + kRowsAt, &row_count, sizeof(row_count));
  return size;
}

}  // namespace baton::adapters
