#include "core/utf8.h"

#include <algorithm>

#include "core/json_scan.h"

namespace baton {

std::string well_formed_utf8(std::string_view text, std::size_t most) {
  std::string out;
  const char* const end = text.data() + text.size();
  for (const char* at = text.data(); at < end;) {
    const std::size_t length =
        static_cast<unsigned char>(*at) < 0x80 ? 1 : json::utf8_length(at, end);
    const std::size_t taken = std::max<std::size_t>(length, 1);
    if (out.size() + taken > most) break;
    out.append(length == 0 ? "?" : at, taken);
    at += taken;
  }
  return out;
}

}  // namespace baton
