// Any bytes as requests to the server and as a pod's answer, whole and in pieces: both must decide
// the same, and what passes must be plain.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "adapters/http/request_reader.h"
#include "adapters/http/response_reader.h"

namespace {

using namespace baton::adapters::http;

void require(bool holds) {
  if (!holds) std::abort();
}

bool plain(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c > 0x20 && c < 0x7F; });
}

// The next piece's size, from a small generator so that one input always splits the same way.
class Splitter {
 public:
  explicit Splitter(std::uint32_t seed) : state_(seed) {}
  std::size_t next(std::size_t left) {
    if (state_ == 0) return left;  // whole
    state_ = state_ * 1664525 + 1013904223;
    return std::min<std::size_t>(left, 1 + (state_ >> 16) % 23);
  }

 private:
  std::uint32_t state_;
};

std::string read_requests(std::string_view bytes, Splitter pieces) {
  baton::adapters::http::ServerLimits limits;
  limits.body = baton::Bytes(256);
  limits.header = baton::Bytes(1024);
  limits.fields = 12;
  RequestReader reader(limits);
  std::string unread;
  std::string seen;
  while (!bytes.empty()) {
    const std::size_t size = pieces.next(bytes.size());
    unread += bytes.substr(0, size);
    bytes.remove_prefix(size);
    for (;;) {
      const std::size_t taken = reader.take(unread);
      require(taken <= unread.size());
      unread.erase(0, taken);
      if (reader.state() == RequestReader::State::kRefused) {
        seen += std::to_string(reader.refusal().status) + '/' +
                std::string(name_of(reader.refusal().reason)) + '\n';
        if (reader.refusal().close) return seen;
      } else if (reader.state() == RequestReader::State::kComplete) {
        const Request& request = reader.request();
        require(plain(request.method) && plain(request.target) && request.target.front() == '/');
        require(request.fields.size() <= 12 && request.body.size() <= 256);
        require(reader.head().http10 || !request.field("host").empty());
        require(request.field("content-length").empty() ||
                request.field("transfer-encoding").empty());
        seen += request.method + ' ' + request.target + ' ' + request.body + '\n';
        for (const auto& [name, value] : request.fields) {
          require(plain(name) && value.find_first_of("\r\n") == std::string::npos);
          seen += name + '=' + value + '\n';
        }
      } else {
        break;
      }
      reader.reset();
    }
  }
  return seen;
}

std::string read_answer(std::string_view bytes, Splitter pieces) {
  ResponseReader reader(1024, false);
  std::string unread;
  std::string body;
  while (!bytes.empty()) {
    const std::size_t size = pieces.next(bytes.size());
    unread += bytes.substr(0, size);
    bytes.remove_prefix(size);
    if (reader.state() == ResponseReader::State::kHead) {
      const std::size_t taken = reader.take_head(unread);
      require(taken <= unread.size());
      unread.erase(0, taken);
    }
    while (reader.state() == ResponseReader::State::kBody) {
      const ResponseReader::Piece piece = reader.take_body(unread);
      require(piece.taken <= unread.size() && piece.data.size() <= piece.taken);
      if (piece.taken == 0) break;
      body += piece.data;
      unread.erase(0, piece.taken);
    }
  }
  reader.end_of_stream();
  std::string seen(reader.fault());
  if (reader.state() == ResponseReader::State::kBad) return seen;
  return std::to_string(reader.status()) + (reader.keep_alive() ? "+" : "-") + body;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string bytes(data + 2, data + size);
  const std::uint32_t seed = 1u + data[0] + (std::uint32_t{data[1]} << 8);
  require(read_requests(bytes, Splitter(0)) == read_requests(bytes, Splitter(seed)));
  require(read_answer(bytes, Splitter(0)) == read_answer(bytes, Splitter(seed)));
  return 0;
}
