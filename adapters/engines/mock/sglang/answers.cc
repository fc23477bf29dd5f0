#include "adapters/engines/mock/sglang/answers.h"

#include <fmt/format.h>

#include "adapters/engines/mock/openai_answers.h"
#include "adapters/engines/mock/openai_fields.h"
#include "core/prompt_blocks.h"

namespace baton::adapters::mock::sglang {
namespace {

using engine_model::Finish;

Json finish_reason(const Choice& choice, bool calls) {
  if (!choice.finish) return nullptr;
  switch (*choice.finish) {
    case Finish::kStop: return calls ? "tool_calls" : "stop";
    case Finish::kLength: return "length";
    default: return "abort";
  }
}

// managers/schedule_batch.py, FINISH_MATCHED_TOKEN and FINISH_MATCHED_STR: the end of text counts
// as a matched token.
Json matched_stop(const Choice& choice) {
  if (choice.finish != Finish::kStop) return nullptr;
  return choice.stop_reason.is_null() ? Json(MockTokenizer::kEnd) : choice.stop_reason;
}

// function_call/core_types.py: ids are drawn there; here they are made from the answer's.
Json tool_call(const Work& work, std::size_t index, const std::string& arguments) {
  const auto id = chain_seed(work.wanted.id, std::to_string(index));
  return {{"id", fmt::format("call_{:016x}", id)},
          {"index", 0},
          {"type", "function"},
          {"function", {{"name", work.wanted.tool}, {"arguments", arguments}}}};
}

Json chat_choice(const Work& work, std::size_t index) {
  const Choice& choice = work.choices[index];
  const bool calls = !work.wanted.tool.empty();
  Json message = {{"role", "assistant"},
                  {"content", calls ? "" : choice.text},
                  {"reasoning_content", nullptr},
                  {"tool_calls", nullptr}};
  if (calls) message["tool_calls"] = Json::array({tool_call(work, index, choice.text)});
  Json made = {{"index", index}, {"message", std::move(message)}};
  made["logprobs"] = chat_logprobs(work, choice, 0, choice.tokens.size());
  made["finish_reason"] = finish_reason(choice, calls);
  made["matched_stop"] = matched_stop(choice);
  if (work.wanted.return_token_ids) {
    made["prompt_token_ids"] = work.prompt_of(choice).ids;
    made["token_ids"] = choice.tokens;
  }
  return made;
}

Json completion_choice(const Work& work, std::size_t index) {
  const Choice& choice = work.choices[index];
  const Prompt& prompt = work.prompt_of(choice);
  Json made = {{"index", index}};
  made["text"] = (work.wanted.echo ? prompt.text : std::string()) + choice.text;
  made["logprobs"] = completion_logprobs(work, choice, 0, choice.tokens.size(), false);
  made["finish_reason"] = finish_reason(choice, false);
  made["matched_stop"] = matched_stop(choice);
  if (work.wanted.return_token_ids) {
    made["token_ids"] = choice.tokens;
    made["prompt_token_ids"] = prompt.ids;
  }
  return made;
}

// sse_utils.py, StreamChunk and StreamDelta: what is not set is not sent, but for the reasoning.
Json chat_chunk(const Work& work, std::size_t index, Json delta, Json logprobs = nullptr) {
  Json chunk = answer_head(work, true);
  chunk["choices"] = Json::array({{{"index", index},
                                   {"delta", std::move(delta)},
                                   {"logprobs", std::move(logprobs)},
                                   {"finish_reason", nullptr},
                                   {"matched_stop", nullptr}}});
  return chunk;
}

Json delta_of(const Work& work, const Piece& piece) {
  Json delta = {{"reasoning_content", nullptr}};
  if (work.wanted.tool.empty()) {
    delta["content"] = piece.text;
    return delta;
  }
  Json call = tool_call(work, piece.choice, piece.text);
  if (piece.first > 0) {
    call["id"] = nullptr;
    call["function"]["name"] = nullptr;
  }
  delta["tool_calls"] = Json::array({std::move(call)});
  return delta;
}

// usage_processor.py, with continuous_usage_stats.
Json usage_until(const Work& work, const Piece& piece) {
  const auto prompt = work.prompt_of(work.choices[piece.choice]).ids.size();
  return {{"prompt_tokens", prompt},
          {"total_tokens", prompt + piece.last},
          {"completion_tokens", piece.last},
          {"prompt_tokens_details", nullptr},
          {"reasoning_tokens", 0}};
}

std::string_view python_name(unsigned status) {
  switch (status) {
    case 400: return "BAD_REQUEST";
    case 503: return "SERVICE_UNAVAILABLE";
    default: return "INTERNAL_SERVER_ERROR";
  }
}

}  // namespace

Answer error_answer(unsigned status, std::string_view type, const std::string& message) {
  return {status, dump({{"object", "error"},
                        {"message", message},
                        {"type", type},
                        {"param", nullptr},
                        {"code", status}})};
}

Failure engine_failure(unsigned status, const std::string& message) {
  // tokenizer_manager.py, _handle_abort_finish_reason: a ValueError, else an HTTPException.
  const Answer answer =
      error_answer(status, status == 400 ? "BadRequestError" : std::to_string(status), message);
  return {answer.status, answer.body};
}

std::string error_event(const Failure& failure) {
  Json error = Json::parse(failure.body, nullptr, false);
  if (error.is_object()) error["type"] = python_name(failure.status);
  return sse({{"error", std::move(error)}});
}

Json AnswerForm::usage(const Work& work) const {
  const int prompt = work.prompt_tokens();
  const int made = work.completion_tokens();
  Json details;
  const int cached = work.told_cached.value_or(work.cached_tokens.value_or(0));
  if (cache_report && cached > 0) details = {{"cached_tokens", cached}};
  return {{"prompt_tokens", prompt},
          {"total_tokens", prompt + made},
          {"completion_tokens", made},
          {"prompt_tokens_details", std::move(details)},
          {"reasoning_tokens", 0}};
}

Json AnswerForm::whole(const Work& work) const {
  const bool chat = work.wanted.api == Api::kChat;
  Json answer = answer_head(work, false);
  Json choices = Json::array();
  for (std::size_t i = 0; i < work.choices.size(); ++i) {
    choices.push_back(chat ? chat_choice(work, i) : completion_choice(work, i));
  }
  answer["choices"] = std::move(choices);
  answer["usage"] = usage(work);
  answer["metadata"] = {{"weight_version", "default"}};
  return answer;
}

std::string AnswerForm::opening(const Work& work) const {
  if (work.wanted.api == Api::kCompletions) return {};
  std::string events;
  for (std::size_t i = 0; i < work.choices.size(); ++i) {
    events += sse(chat_chunk(
        work, i, {{"reasoning_content", nullptr}, {"role", "assistant"}, {"content", ""}}));
  }
  return events;
}

std::string AnswerForm::event(const Work& work, const Piece& piece) const {
  const Choice& choice = work.choices[piece.choice];
  const Generation& wanted = work.wanted;
  if (wanted.api == Api::kChat) {
    Json chunk = chat_chunk(work, piece.choice, delta_of(work, piece),
                            chat_logprobs(work, choice, piece.first, piece.last));
    if (wanted.continuous_usage) chunk["usage"] = usage_until(work, piece);
    return sse(chunk);
  }
  Json made = {{"index", piece.choice}};
  made["text"] =
      (wanted.echo && piece.first == 0 ? work.prompt_of(choice).text : std::string()) + piece.text;
  made["logprobs"] = completion_logprobs(work, choice, piece.first, piece.last, false);
  made["finish_reason"] = piece.ends ? finish_reason(choice, false) : Json();
  made["matched_stop"] = piece.ends ? matched_stop(choice) : Json();
  if (wanted.return_token_ids) {
    const auto begin = choice.tokens.begin();
    made["token_ids"] = std::vector<TokenId>(begin + static_cast<std::ptrdiff_t>(piece.first),
                                             begin + static_cast<std::ptrdiff_t>(piece.last));
    if (piece.first == 0) made["prompt_token_ids"] = work.prompt_of(choice).ids;
  }
  Json chunk = answer_head(work, true);
  chunk["choices"] = Json::array({std::move(made)});
  chunk["usage"] = wanted.continuous_usage ? usage_until(work, piece) : Json();
  return sse(chunk);
}

// A chat's finish reasons come after all text, in events of their own.
std::string AnswerForm::closing(const Work& work) const {
  std::string events;
  const Generation& wanted = work.wanted;
  for (std::size_t i = 0; wanted.api == Api::kChat && i < work.choices.size(); ++i) {
    Json chunk = chat_chunk(work, i, {{"reasoning_content", nullptr}});
    chunk["choices"][0]["finish_reason"] = finish_reason(work.choices[i], !wanted.tool.empty());
    chunk["choices"][0]["matched_stop"] = matched_stop(work.choices[i]);
    events += sse(chunk);
  }
  if (wanted.include_usage) {
    Json chunk = answer_head(work, true);
    chunk["choices"] = Json::array();
    chunk["usage"] = usage(work);
    events += sse(chunk);
  }
  return events + "data: [DONE]\n\n";
}

}  // namespace baton::adapters::mock::sglang
