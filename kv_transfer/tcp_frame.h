#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <cstddef>
#include <span>

#include "kv_transfer/wire.h"

namespace baton::kv {

// Adds to `places` what is left of a piece, header and body, when `done` bytes of it are through.
inline void add_rest(std::span<iovec> places, std::size_t& count, wire::PieceHeader& header,
                     std::span<std::byte> body, std::size_t done) {
  const std::size_t of_header = std::min(done, sizeof(header));
  if (of_header < sizeof(header)) {
    places[count++] = {reinterpret_cast<std::byte*>(&header) + of_header,
                       sizeof(header) - of_header};
  }
  const auto rest = body.subspan(done - of_header);
  if (!rest.empty()) places[count++] = {rest.data(), rest.size()};
}

}  // namespace baton::kv
