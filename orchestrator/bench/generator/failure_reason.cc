#include "orchestrator/bench/generator/failure_reason.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "orchestrator/bench/generator/completion_facts.h"

namespace baton::orchestrator::bench {
namespace {

// What the client's messages and the system's say, in our words. The first that is found counts.
constexpr std::pair<std::string_view, std::string_view> kWords[] = {
    {"refused", "connection refused"},
    {"timed out", "connect timed out"},
    {"reset", "connection reset"},
    {"closed the connection", "connection closed"},
    {"Too many open files", "too many open files here"},
    {"Cannot assign requested address", "no free local port"},
    {"unreachable", "no route"},
    {"No route", "no route"},
    {"ost not found", "host not found"},
    {"service not found", "host not found"},
};

std::string_view in_few_words(std::string_view message) {
  for (const auto& [part, words] : kWords) {
    if (message.contains(part)) return words;
  }
  return "cannot connect";
}

}  // namespace

Failure failure_before_answer(const Error& error, Duration limit) {
  switch (error.code) {
    case ErrorCode::kTimeout:
      return {Outcome::kTimeout, fmt::format("no answer within {:g} s", to_seconds(limit))};
    case ErrorCode::kUpstream:
      if (error.message.contains("reset")) return {Outcome::kUnreachable, "connection reset"};
      if (error.message.contains("ended early")) {
        return {Outcome::kUnreachable, "connection closed"};
      }
      return {Outcome::kNotOpenAi, "answer is no HTTP"};
    default: return {Outcome::kUnreachable, std::string(in_few_words(error.message))};
  }
}

Failure failure_in_answer(const Error& error, Duration limit) {
  if (error.code == ErrorCode::kTimeout) {
    return {Outcome::kTimeout, fmt::format("nothing came for {:g} s", to_seconds(limit))};
  }
  if (error.message.contains("reset")) return {Outcome::kCutStream, "connection reset"};
  if (error.message.contains("ended early")) return {Outcome::kCutStream, "connection closed"};
  return {Outcome::kCutStream, "malformed HTTP body"};
}

Failure failure_of_status(unsigned status, std::string_view body) {
  const bool rejected = status == 429 || status == 503;
  Failure failure{rejected ? Outcome::kRejected : Outcome::kHttpError, std::to_string(status)};
  const CompletionFacts facts = read_completion(body, nullptr);
  if (!facts.error_code.empty()) failure.reason.append(" ").append(facts.error_code);
  return failure;
}

}  // namespace baton::orchestrator::bench
