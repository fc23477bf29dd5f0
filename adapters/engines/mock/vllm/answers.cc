#include "adapters/engines/mock/vllm/answers.h"

#include <fmt/format.h>

#include "adapters/engines/mock/openai_answers.h"
#include "core/prompt_blocks.h"

namespace baton::adapters::mock::vllm {
namespace {

using engine_model::Candidate;
using engine_model::Finish;

std::string token_text(const Work& work, TokenId token) {
  if (work.wanted.tokens_as_ids) return fmt::format("token_id:{}", token);
  return std::string(work.tokenizer().name(token));
}

Json token_bytes(const Work& work, TokenId token) {
  Json bytes = Json::array();
  for (const char c : work.tokenizer().name(token)) bytes.push_back(static_cast<unsigned char>(c));
  return bytes;
}

Json finish_reason(const Choice& choice) {
  if (!choice.finish) return nullptr;
  switch (*choice.finish) {
    case Finish::kStop: return "stop";
    case Finish::kLength: return "length";
    case Finish::kAbort: return "abort";
    case Finish::kError: return "error";
  }
  return nullptr;
}

// The token itself, then the likeliest others, as the engine's dictionary holds them.
std::vector<Candidate> with_chosen(const Choice& choice, std::size_t at) {
  std::vector<Candidate> all = {choice.logprobs[at]};
  for (const Candidate& one : choice.tops[at]) {
    if (one.token != all.front().token) all.push_back(one);
  }
  return all;
}

// chat_completion/serving.py, _create_chat_logprobs.
Json chat_logprobs_with_chosen(const Work& work, const Choice& choice, std::size_t first,
                               std::size_t last) {
  if (!work.wanted.logprobs) return nullptr;
  const auto entry = [&](const Candidate& one) {
    return Json{{"token", token_text(work, one.token)},
                {"logprob", one.logprob},
                {"bytes", token_bytes(work, one.token)}};
  };
  Json content = Json::array();
  for (std::size_t i = first; i < last; ++i) {
    Json token = entry(choice.logprobs[i]);
    Json top = Json::array();
    for (const Candidate& one : choice.tops[i]) top.push_back(entry(one));
    token["top_logprobs"] = std::move(top);
    content.push_back(std::move(token));
  }
  return {{"content", std::move(content)}};
}

// Logprobs of prompt tokens are made up from the token and the one before it.
double prompt_logprob(std::span<const TokenId> ids, std::size_t at) {
  return -0.1 - static_cast<double>(chain_next(0, ids.subspan(at - 1, 2)) % 4000) / 1000.0;
}

// completion/serving.py, _create_completion_logprobs, of echoed prompt tokens and answer tokens.
Json completion_logprobs_with_prompt(const Work& work, const Choice& choice, std::size_t first,
                                     std::size_t last, bool with_prompt) {
  if (!work.wanted.logprobs) return nullptr;
  Json offsets = Json::array();
  Json logprobs = Json::array();
  Json tokens = Json::array();
  Json tops = Json::array();
  std::size_t offset = 0;
  const auto add = [&](TokenId token, Json logprob, Json top) {
    const std::string text = token_text(work, token);
    offsets.push_back(offset);
    offset += text.size();
    tokens.push_back(text);
    logprobs.push_back(std::move(logprob));
    tops.push_back(std::move(top));
  };
  for (std::size_t i = 0; i < first; ++i) offset += token_text(work, choice.tokens[i]).size();
  if (with_prompt) {
    const std::vector<TokenId>& ids = work.prompt_of(choice).ids;
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const Json logprob = i == 0 ? Json() : Json(prompt_logprob(ids, i));
      Json top;
      if (i > 0) top = {{token_text(work, ids[i]), logprob}};
      add(ids[i], logprob, std::move(top));
    }
  }
  for (std::size_t i = first; i < last; ++i) {
    Json top = Json::object();
    for (const Candidate& one : with_chosen(choice, i)) {
      top[token_text(work, one.token)] = one.logprob;
    }
    add(choice.tokens[i], choice.logprobs[i].logprob, std::move(top));
  }
  return {{"text_offset", std::move(offsets)},
          {"token_logprobs", std::move(logprobs)},
          {"tokens", std::move(tokens)},
          {"top_logprobs", std::move(tops)}};
}

Json prompt_logprobs(const Work& work, const Prompt& prompt) {
  if (!work.wanted.prompt_logprobs) return nullptr;
  Json list = Json::array();
  for (std::size_t i = 0; i < prompt.ids.size(); ++i) {
    if (i == 0) {
      list.push_back(nullptr);
      continue;
    }
    const TokenId token = prompt.ids[i];
    list.push_back({{std::to_string(token),
                     {{"logprob", prompt_logprob(prompt.ids, i)},
                      {"rank", 1},
                      {"decoded_token", work.tokenizer().name(token)}}}});
  }
  return list;
}

// A forced tool call is one function whose arguments are the whole answer; ids are made from the
// answer's, so that an answer repeats.
Json tool_call(const Work& work, std::size_t index) {
  return {{"id",
           fmt::format("chatcmpl-tool-{:016x}", chain_seed(work.wanted.id, std::to_string(index)))},
          {"type", "function"}};
}

}  // namespace

Json AnswerForm::usage(const Work& work, bool full) const {
  const int prompt = work.prompt_tokens();
  const int made = work.completion_tokens();
  Json usage = {
      {"prompt_tokens", prompt}, {"total_tokens", prompt + made}, {"completion_tokens", made}};
  Json details;
  if (prompt_tokens_details && work.cached_tokens) {
    details = {{"cached_tokens", work.told_cached.value_or(*work.cached_tokens)}};
    if (full) {
      details["created_cache_tokens"] = nullptr;
      details["multimodal_tokens"] = nullptr;
    }
  }
  if (full || !details.is_null()) usage["prompt_tokens_details"] = std::move(details);
  if (full) usage["completion_tokens_details"] = nullptr;
  return usage;
}

Json AnswerForm::chat_choice(const Work& work, std::size_t index) const {
  const Choice& choice = work.choices[index];
  const Generation& wanted = work.wanted;
  const bool calls = !wanted.tool.empty();
  Json message = {{"role", "assistant"}, {"content", calls ? "" : choice.text}};
  for (const char* none : {"refusal", "annotations", "audio", "function_call"}) {
    message[none] = nullptr;
  }
  if (calls) {
    Json call = tool_call(work, index);
    call["function"] = {{"name", wanted.tool}, {"arguments", choice.text}};
    message["tool_calls"] = Json::array({std::move(call)});
  }
  message["reasoning"] = nullptr;
  const Json* named = member(wanted.body, "tool_choice");
  const bool required = named != nullptr && *named == "required";
  Json made = {{"index", index}, {"message", std::move(message)}};
  made["logprobs"] = chat_logprobs_with_chosen(work, choice, 0, choice.tokens.size());
  made["finish_reason"] = finish_reason(choice);
  if (calls && required && choice.finish == Finish::kStop) made["finish_reason"] = "tool_calls";
  made["stop_reason"] = choice.stop_reason;
  made["token_ids"] = wanted.return_token_ids ? Json(choice.tokens) : Json();
  made["routed_experts"] = nullptr;
  return made;
}

Json AnswerForm::completion_choice(const Work& work, std::size_t index) const {
  const Choice& choice = work.choices[index];
  const Generation& wanted = work.wanted;
  const Prompt& prompt = work.prompt_of(choice);
  const std::size_t last = wanted.echo_only ? 0 : choice.tokens.size();
  std::string text = wanted.echo && !wanted.return_token_ids ? prompt.text : std::string();
  if (!wanted.echo_only) text += choice.text;
  Json made = {{"index", index}, {"text", std::move(text)}};
  made["logprobs"] = completion_logprobs_with_prompt(work, choice, 0, last, wanted.echo);
  made["finish_reason"] = finish_reason(choice);
  made["stop_reason"] = choice.stop_reason;
  made["token_ids"] = wanted.return_token_ids ? Json(choice.tokens) : Json();
  made["prompt_logprobs"] = prompt_logprobs(work, prompt);
  made["prompt_token_ids"] = wanted.return_token_ids ? Json(prompt.ids) : Json();
  made["routed_experts"] = nullptr;
  return made;
}

Json AnswerForm::whole(const Work& work) const {
  const bool chat = work.wanted.api == Api::kChat;
  Json answer = answer_head(work, false);
  Json choices = Json::array();
  for (std::size_t i = 0; i < work.choices.size(); ++i) {
    choices.push_back(chat ? chat_choice(work, i) : completion_choice(work, i));
  }
  answer["choices"] = std::move(choices);
  answer["service_tier"] = nullptr;
  answer["system_fingerprint"] = fingerprint;
  answer["usage"] = usage(work, true);
  if (chat) {
    const Prompt& prompt = work.wanted.prompts.front();
    answer["prompt_logprobs"] = prompt_logprobs(work, prompt);
    answer["prompt_token_ids"] = work.wanted.return_token_ids ? Json(prompt.ids) : Json();
    answer["prompt_text"] = nullptr;
  }
  answer["kv_transfer_params"] = work.handoff;
  answer["ec_transfer_params"] = nullptr;
  answer["metrics"] = nullptr;
  return answer;
}

std::string AnswerForm::opening(const Work& work) const {
  if (work.wanted.api == Api::kCompletions) return {};
  std::string events;
  for (std::size_t i = 0; i < work.choices.size(); ++i) {
    Json chunk = answer_head(work, true);
    chunk["choices"] = Json::array({{{"index", i},
                                     {"delta", {{"role", "assistant"}, {"content", ""}}},
                                     {"logprobs", nullptr},
                                     {"finish_reason", nullptr}}});
    if (work.wanted.continuous_usage) {
      chunk["usage"] = {{"prompt_tokens", work.prompt_tokens()},
                        {"total_tokens", work.prompt_tokens()},
                        {"completion_tokens", 0}};
    }
    chunk["prompt_token_ids"] =
        work.wanted.return_token_ids ? Json(work.wanted.prompts.front().ids) : Json();
    chunk["prompt_text"] = nullptr;
    events += sse(chunk);
  }
  return events;
}

std::string AnswerForm::event(const Work& work, const Piece& piece) const {
  const Choice& choice = work.choices[piece.choice];
  const Generation& wanted = work.wanted;
  const bool chat = wanted.api == Api::kChat;
  const std::vector<TokenId> ids(choice.tokens.begin() + static_cast<std::ptrdiff_t>(piece.first),
                                 choice.tokens.begin() + static_cast<std::ptrdiff_t>(piece.last));
  Json made = {{"index", piece.choice}};
  if (chat && !wanted.tool.empty()) {
    Json call = {{"index", 0}, {"function", {{"arguments", piece.text}}}};
    if (piece.first == 0) {
      call = tool_call(work, piece.choice);
      call["index"] = 0;
      call["function"] = {{"name", wanted.tool}, {"arguments", piece.text}};
    }
    made["delta"] = {{"tool_calls", Json::array({std::move(call)})}};
  } else if (chat) {
    made["delta"] = {{"content", piece.text}};
  } else {
    const bool echoes = wanted.echo && piece.first == 0 && !wanted.return_token_ids;
    made["text"] =
        echoes ? work.prompt_of(choice).text + (wanted.echo_only ? "" : piece.text) : piece.text;
  }
  const bool with_prompt = wanted.echo && piece.first == 0;
  made["logprobs"] =
      chat ? chat_logprobs_with_chosen(work, choice, piece.first, piece.last)
           : completion_logprobs_with_prompt(work, choice, piece.first, piece.last, with_prompt);
  made["finish_reason"] = piece.ends ? finish_reason(choice) : Json();
  if (piece.ends && chat && !wanted.tool.empty() && choice.finish == Finish::kStop) {
    const Json* named = member(wanted.body, "tool_choice");
    if (named == nullptr || !named->is_object()) made["finish_reason"] = "tool_calls";
  }
  if (!chat || piece.ends) made["stop_reason"] = piece.ends ? choice.stop_reason : Json();
  if (!chat) {
    const bool first = wanted.return_token_ids && piece.first == 0;
    made["prompt_token_ids"] = first ? Json(work.prompt_of(choice).ids) : Json();
  }
  made["token_ids"] = wanted.return_token_ids ? Json(ids) : Json();

  Json chunk = answer_head(work, true);
  chunk["choices"] = Json::array({std::move(made)});
  if (wanted.continuous_usage) {
    const int prompt = static_cast<int>(work.prompt_of(choice).ids.size());
    chunk["usage"] = {{"prompt_tokens", prompt},
                      {"total_tokens", prompt + static_cast<int>(piece.last)},
                      {"completion_tokens", piece.last}};
  }
  if (piece.ends && !wanted.include_usage) chunk["system_fingerprint"] = fingerprint;
  return sse(chunk);
}

std::string AnswerForm::closing(const Work& work) const {
  std::string events;
  if (work.wanted.include_usage) {
    Json chunk = answer_head(work, true);
    chunk["choices"] = Json::array();
    chunk["usage"] = usage(work, false);
    chunk["system_fingerprint"] = fingerprint;
    events += sse(chunk);
  }
  return events + "data: [DONE]\n\n";
}

}  // namespace baton::adapters::mock::vllm
