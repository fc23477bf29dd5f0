// A pod's text: token pieces to UTF-8 and stop strings, cut anywhere, against the whole text.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/engines/llama_cpp/pod_text.h"

namespace {

using baton::adapters::StopMatcher;
using baton::adapters::to_valid_utf8;
using baton::adapters::Utf8Stream;

void require(bool holds) {
  if (!holds) std::abort();
}

std::string answer(std::string_view text, const std::vector<std::string>& stops, std::size_t cut) {
  Utf8Stream characters;
  StopMatcher matcher(stops);
  std::string out;
  for (std::size_t i = 0; i < text.size(); i += cut) {
    out += matcher.push(characters.push(text.substr(i, cut)));
  }
  out += matcher.push(characters.flush());
  return out + matcher.flush();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t stop_bytes = 1 + static_cast<unsigned char>(input[0]) % 4;
  const std::size_t cut = 1 + static_cast<unsigned char>(input[1]) % 7;
  if (input.size() < 2 + 2 * stop_bytes) return 0;
  const std::vector<std::string> stops = {to_valid_utf8(input.substr(2, stop_bytes)),
                                          to_valid_utf8(input.substr(2 + stop_bytes, stop_bytes))};
  const std::string_view text = input.substr(2 + 2 * stop_bytes);

  const std::string in_pieces = answer(text, stops, cut);
  require(in_pieces == answer(text, stops, 1));
  require(to_valid_utf8(in_pieces) == in_pieces);
  require(to_valid_utf8(text).starts_with(in_pieces));
  for (const std::string& stop : stops) require(in_pieces.find(stop) == std::string::npos);
  return 0;
}
