#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace baton {

// At most `most` bytes of `text`, whole characters of it; each byte that is no UTF-8 becomes '?'.
[[nodiscard]] std::string well_formed_utf8(std::string_view text, std::size_t most);

}  // namespace baton
