#include "orchestrator/kv_perf/words.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>
#include <vector>

namespace baton::orchestrator::kv_perf {
namespace {

constexpr std::string_view kGreeting = "baton-kv-perf/1";

// What follows from a peer is shown to people: no control characters, not too long.
std::string shown(std::string_view text) {
  std::string out(text.substr(0, 200));
  std::ranges::replace_if(out, [](unsigned char c) { return c < 0x20 || c == 0x7F; }, '?');
  return out;
}

std::unexpected<Error> not_understood(std::string_view line) {
  return fail(ErrorCode::kUpstream, Stage::kHandoff,
              fmt::format("\"{}\" is nothing that {} says: is a `baton kv-perf` of this version at "
                          "the other end?",
                          shown(line), kGreeting));
}

// Exactly so many words with one space between them.
std::optional<std::vector<std::string_view>> words_of(std::string_view line, std::size_t count) {
  std::vector<std::string_view> words;
  for (;;) {
    const std::size_t space = line.find(' ');
    words.push_back(line.substr(0, space));
    if (words.back().empty() || words.size() > count) return std::nullopt;
    if (space == std::string_view::npos) break;
    line.remove_prefix(space + 1);
  }
  if (words.size() != count) return std::nullopt;
  return words;
}

// What the server could not do, if that is what the line says.
std::optional<Error> read_error(std::string_view line) {
  constexpr std::string_view kBegin = "error ";
  if (!line.starts_with(kBegin)) return std::nullopt;
  line.remove_prefix(kBegin.size());
  const std::size_t space = line.find(' ');
  if (space == std::string_view::npos) return std::nullopt;
  const std::string_view code = line.substr(0, space);
  Error error{ErrorCode::kUnavailable, Stage::kHandoff,
              "the other side: " + shown(line.substr(space + 1))};
  for (const ErrorCode known : {ErrorCode::kUnsupported, ErrorCode::kInvalidArgument}) {
    if (code == name_of(known)) error.code = known;
  }
  return error;
}

}  // namespace

std::string Request::line() const {
  return fmt::format("{} {} {}\n", kGreeting, transport, shape.str());
}
std::string Ready::line() const { return fmt::format("ready {} {}\n", address, epoch); }
std::string offer_line(TransferId transfer) { return "offer " + transfer.str() + "\n"; }
std::string offered_line(TransferId transfer) { return "offered " + transfer.str() + "\n"; }
std::string error_line(const Error& error) {
  return fmt::format("error {} {}\n", name_of(error.code), shown(error.message));
}

Result<Request> read_request(std::string_view line) {
  const auto words = words_of(line, 3);
  if (!words || words->at(0) != kGreeting) return not_understood(line);
  const auto shape = kv::BlockShape::parse(words->at(2));
  if (!shape) return not_understood(line);
  return Request{std::string(words->at(1)), *shape};
}

Result<Ready> read_ready(std::string_view line) {
  if (auto error = read_error(line)) return std::unexpected(std::move(*error));
  const auto words = words_of(line, 3);
  if (!words || words->at(0) != "ready") return not_understood(line);
  Ready ready{.address = std::string(words->at(1))};
  const std::string_view number = words->at(2);
  const char* const end = number.data() + number.size();
  const auto [at, failure] = std::from_chars(number.data(), end, ready.epoch);
  if (failure != std::errc() || at != end) return not_understood(line);
  return ready;
}

Result<TransferId> read_offer(std::string_view line) {
  const auto words = words_of(line, 2);
  const auto id = words && words->at(0) == "offer" ? TransferId::parse(words->at(1)) : std::nullopt;
  if (!id) return not_understood(line);
  return *id;
}

Result<void> read_offered(std::string_view line, TransferId transfer) {
  if (auto error = read_error(line)) return std::unexpected(std::move(*error));
  if (line != "offered " + transfer.str()) return not_understood(line);
  return {};
}

}  // namespace baton::orchestrator::kv_perf
