#pragma once

#include <string>
#include <string_view>

namespace baton::orchestrator::bench {

// What the harness wants to know of one chunk of an OpenAI stream, or of a whole answer.
struct CompletionFacts {
  bool is_object = false;    // well-formed
  bool has_choices = false;  // the member is there, though it may be empty
  bool any_choice = false;
  bool any_piece = false;  // some choice holds a non-empty piece of the answer
  bool has_usage = false;
  bool has_error = false;
  int prompt_tokens = -1;  // as usage says; -1: it does not
  int completion_tokens = -1;
  int cached_tokens = -1;
  std::string_view error_code;  // `code`, else `type`; empty where it has neither or is no word
};

// Reads `json` once. Text of the answer is appended to `text`, unless it is null.
[[nodiscard]] CompletionFacts read_completion(std::string_view json, std::string* text);

}  // namespace baton::orchestrator::bench
