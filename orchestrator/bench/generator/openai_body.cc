#include "orchestrator/bench/generator/openai_body.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/json_fields.h"
#include "orchestrator/bad_input.h"

namespace baton::orchestrator::bench {
namespace {

void append_token_ids(std::string& body, const std::vector<int>& ids) {
  body += '[';
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) body += ',';
    fmt::format_to(std::back_inserter(body), "{}", ids[i]);
  }
  body += ']';
}

// A completion has no roles: the texts follow one another.
std::string plain_prompt(const std::vector<Turn>& turns) {
  std::string text;
  for (const Turn& turn : turns) {
    if (!text.empty()) text += '\n';
    text += turn.text;
  }
  return text;
}

}  // namespace

Result<OpenAiBody> OpenAiBody::create(const Target& target, const RunOptions& options) {
  OpenAiBody made;
  made.model_ = target.model;
  made.chat_ = target.chat;
  std::string extra;
  if (!options.extra_body.empty()) {
    const Result<JsonFields> fields = JsonFields::scan(options.extra_body);
    if (!fields) return bad("the extra body is no JSON object: " + fields.error().message);
    for (const JsonField& field : fields->all()) {
      for (const std::string_view own : {"model", "messages", "prompt", "stream"}) {
        if (field.key == own) return bad("the extra body must not set '" + field.key + "'");
      }
      made.user_keys_.push_back(field.key);
      extra.append(",").append(options.extra_body, field.key_begin,
                               field.value_end - field.key_begin);
    }
  }
  made.tail_ = options.stream ? R"(,"stream":true)" : R"(,"stream":false)";
  if (options.stream && !made.user_sets("stream_options")) {
    made.tail_ += R"(,"stream_options":{"include_usage":true})";
  }
  if (options.temperature && !made.user_sets("temperature")) {
    if (!std::isfinite(*options.temperature)) return bad("the temperature is no number");
    made.tail_ += fmt::format(R"(,"temperature":{})", *options.temperature);
  }
  if (options.ignore_eos && !made.user_sets("ignore_eos")) made.tail_ += R"(,"ignore_eos":true)";
  made.tail_ += extra + "}";
  return made;
}

bool OpenAiBody::user_sets(std::string_view key) const {
  return std::ranges::find(user_keys_, key) != user_keys_.end();
}

void OpenAiBody::append_turns(std::string& body, const WorkloadRequest& request) const {
  if (!chat_) {
    body.append(R"(,"prompt":)").append(json_quote(plain_prompt(request.turns)));
    return;
  }
  body += R"(,"messages":[)";
  for (std::size_t i = 0; i < request.turns.size(); ++i) {
    if (i > 0) body += ',';
    body.append(R"({"role":)").append(json_quote(request.turns[i].role));
    body.append(R"(,"content":)").append(json_quote(request.turns[i].text)).append("}");
  }
  body += ']';
}

Result<std::string> OpenAiBody::build(const WorkloadRequest& request) const {
  if (request.token_ids.empty() && request.turns.empty()) return bad("a request without a prompt");
  if (!request.token_ids.empty() && chat_) {
    return bad("prompts of token ids need the completions endpoint, not chat");
  }
  std::string body = R"({"model":)" + json_quote(request.model.empty() ? model_ : request.model);
  if (request.token_ids.empty()) {
    append_turns(body, request);
  } else {
    body += R"(,"prompt":)";
    append_token_ids(body, request.token_ids);
  }
  if (request.max_tokens > 0 && !user_sets("max_tokens")) {
    body += fmt::format(R"(,"max_tokens":{})", request.max_tokens);
  }
  if (request.priority != 0 && !user_sets("priority")) {
    body += fmt::format(R"(,"priority":{})", request.priority);
  }
  body += tail_;
  return body;
}

}  // namespace baton::orchestrator::bench
