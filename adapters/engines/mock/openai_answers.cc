#include "adapters/engines/mock/openai_answers.h"

#include <chrono>
#include <utility>

namespace baton::adapters::mock {
namespace {

Json entry(const Work& work, const engine_model::Candidate& one) {
  const std::string_view text = work.tokenizer().name(one.token);
  Json bytes = Json::array();
  for (const char c : text) bytes.push_back(static_cast<unsigned char>(c));
  return {{"token", text}, {"bytes", std::move(bytes)}, {"logprob", one.logprob}};
}

}  // namespace

std::string sse(const Json& event) { return "data: " + dump(event) + "\n\n"; }

Json answer_head(const Work& work, bool stream) {
  const bool chat = work.wanted.api == Api::kChat;
  return {{"id", work.wanted.id},
          {"object", !chat    ? "text_completion"
                     : stream ? "chat.completion.chunk"
                              : "chat.completion"},
          {"created", unix_seconds()},
          {"model", work.wanted.model}};
}

Json chat_logprobs(const Work& work, const Choice& choice, std::size_t first, std::size_t last) {
  if (!work.wanted.logprobs) return nullptr;
  Json content = Json::array();
  for (std::size_t i = first; i < last; ++i) {
    Json token = entry(work, choice.logprobs[i]);
    Json top = Json::array();
    for (const auto& one : choice.tops[i]) top.push_back(entry(work, one));
    token["top_logprobs"] = std::move(top);
    content.push_back(std::move(token));
  }
  return {{"content", std::move(content)}};
}

Json completion_logprobs(const Work& work, const Choice& choice, std::size_t first,
                         std::size_t last, bool offsets) {
  if (!work.wanted.logprobs) return nullptr;
  const auto name = [&](TokenId token) { return work.tokenizer().name(token); };
  Json places = Json::array();
  Json logprobs = Json::array();
  Json tokens = Json::array();
  Json tops = Json::array();
  std::size_t offset = 0;
  for (std::size_t i = 0; i < first; ++i) offset += name(choice.tokens[i]).size();
  for (std::size_t i = first; i < last; ++i) {
    const std::string_view text = name(choice.tokens[i]);
    places.push_back(offsets ? Json(offset) : Json(-1));
    offset += text.size();
    tokens.push_back(text);
    logprobs.push_back(choice.logprobs[i].logprob);
    Json top = Json::object();
    for (const auto& one : choice.tops[i]) top[std::string(name(one.token))] = one.logprob;
    tops.push_back(std::move(top));
  }
  return {{"text_offset", std::move(places)},
          {"token_logprobs", std::move(logprobs)},
          {"tokens", std::move(tokens)},
          {"top_logprobs", std::move(tops)}};
}

std::int64_t unix_seconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

}  // namespace baton::adapters::mock
