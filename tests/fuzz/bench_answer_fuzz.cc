// Whatever a server answers: the load generator makes the same of it wherever pieces end. The first
// byte is the size of the pieces and says whether it is a stream.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "orchestrator/bench/generator/answer_reader.h"

using baton::orchestrator::bench::AnswerReader;
using baton::orchestrator::bench::Outcome;
using baton::orchestrator::bench::RequestRecord;

namespace {

constexpr baton::Duration kAt = std::chrono::milliseconds(1);

RequestRecord read_in_pieces(std::string_view body, std::size_t piece, bool stream) {
  RequestRecord record;
  AnswerReader reader(record, stream, true);
  for (std::size_t at = 0; at < body.size(); at += piece) reader.feed(body.substr(at, piece), kAt);
  reader.finish(kAt);
  if (reader.state() == AnswerReader::State::kMore) std::abort();
  return record;
}

bool same(const RequestRecord& a, const RequestRecord& b) {
  return a.outcome == b.outcome && a.reason == b.reason && a.text == b.text &&
         a.token_events == b.token_events && a.gaps_us == b.gaps_us &&
         a.first_event == b.first_event && a.first_token == b.first_token && a.ended == b.ended &&
         a.prompt_tokens == b.prompt_tokens && a.output_tokens == b.output_tokens &&
         a.cached_tokens == b.cached_tokens && a.usage_reports == b.usage_reports;
}

void check(const RequestRecord& record) {
  const bool answered = record.outcome == Outcome::kCompleted;
  if (answered != record.reason.empty()) std::abort();
  if (answered && record.token_events == 0) std::abort();
  if (record.prompt_tokens < 0 || record.output_tokens < 0 || record.reason.size() > 64) {
    std::abort();
  }
  const std::size_t gaps = record.token_events > 0 ? std::size_t(record.token_events) - 1 : 0;
  if (record.gaps_us.size() != gaps) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const bool stream = (data[0] & 1) != 0;
  const std::size_t piece = std::size_t{data[0]} / 2 + 1;
  const std::string_view body(reinterpret_cast<const char*>(data) + 1, size - 1);
  const RequestRecord whole = read_in_pieces(body, body.size() + 1, stream);
  check(whole);
  if (!same(whole, read_in_pieces(body, piece, stream))) std::abort();
  return 0;
}
