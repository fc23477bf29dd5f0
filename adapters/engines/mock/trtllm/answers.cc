#include "adapters/engines/mock/trtllm/answers.h"

#include <fmt/format.h>

#include "adapters/engines/mock/openai_answers.h"
#include "core/prompt_blocks.h"

namespace baton::adapters::mock::trtllm {
namespace {

using engine_model::Finish;

Json usage_of(int prompt, int made, int cached) {
  return {{"prompt_tokens", prompt},
          {"total_tokens", prompt + made},
          {"completion_tokens", made},
          {"prompt_tokens_details", {{"cached_tokens", cached}}}};
}

// llmapi/disagg_utils.py, rewrite_usage_info_from_ctx: what the context server had cached.
int cached_tokens(const Work& work) {
  return work.told_cached.value_or(work.cached_tokens.value_or(0));
}

bool named_tool(const Work& work) {
  const Json* choice = member(work.wanted.body, "tool_choice");
  return choice != nullptr && choice->is_object();
}

std::string tool_id(const Work& work, std::size_t index) {
  return fmt::format("chatcmpl-tool-{:016x}", chain_seed(work.wanted.id, std::to_string(index)));
}

Json chat_choice(const Work& work, std::size_t index) {
  const Choice& choice = work.choices[index];
  const bool calls = !work.wanted.tool.empty();
  Json message = {{"role", "assistant"},
                  {"content", calls ? "" : choice.text},
                  {"reasoning_content", named_tool(work) ? Json() : Json("")},
                  {"reasoning", nullptr},
                  {"tool_calls", Json::array()}};
  if (calls) {
    message["tool_calls"].push_back(
        {{"id", tool_id(work, index)},
         {"type", "function"},
         {"function", {{"name", work.wanted.tool}, {"arguments", choice.text}}}});
  }
  Json made = {{"index", index}, {"message", std::move(message)}};
  made["logprobs"] = chat_logprobs(work, choice, 0, choice.tokens.size());
  made["finish_reason"] = finish_reason(work, choice);
  made["stop_reason"] = choice.stop_reason;
  made["mm_embedding_handle"] = nullptr;
  made["disaggregated_params"] = work.handoff;
  made["avg_decoded_tokens_per_iter"] = 1.0;
  return made;
}

Json completion_choice(const Work& work, std::size_t index) {
  const Choice& choice = work.choices[index];
  const Prompt& prompt = work.prompt_of(choice);
  Json made = {{"index", index}};
  made["text"] = (work.wanted.echo ? prompt.text : std::string()) + choice.text;
  made["token_ids"] = nullptr;
  made["logprobs"] = completion_logprobs(work, choice, 0, choice.tokens.size(), true);
  made["context_logits"] = nullptr;
  made["finish_reason"] = finish_reason(work, choice);
  made["stop_reason"] = choice.stop_reason;
  made["disaggregated_params"] = work.handoff;
  made["avg_decoded_tokens_per_iter"] = 1.0;
  return made;
}

// serve/openai_server.py, completion_response and merge_completion_responses.
Json prompt_token_ids(const Work& work) {
  if (work.wanted.leg != Leg::kPrefill) return nullptr;
  if (work.wanted.prompts.size() == 1) return work.wanted.prompts.front().ids;
  Json lists = Json::array();
  for (const Prompt& prompt : work.wanted.prompts) lists.push_back(prompt.ids);
  return lists;
}

Json delta_of(const Work& work, const Piece& piece) {
  if (work.wanted.tool.empty()) return {{"content", piece.text}, {"reasoning_content", ""}};
  Json call = {{"type", "function"}, {"index", 0}, {"function", {{"arguments", piece.text}}}};
  if (piece.first == 0 || named_tool(work)) {
    call["function"] = {{"name", work.wanted.tool}, {"arguments", piece.text}};
  }
  if (piece.first == 0 && !named_tool(work)) call["id"] = tool_id(work, piece.choice);
  return {{"tool_calls", Json::array({std::move(call)})}};
}

}  // namespace

Answer error_answer(const std::string& message, unsigned status) {
  return {status, dump({{"object", "error"},
                        {"message", message},
                        {"type", "BadRequestError"},
                        {"param", nullptr},
                        {"code", status}})};
}

Json finish_reason(const Work& work, const Choice& choice) {
  if (!choice.finish) return nullptr;
  switch (*choice.finish) {
    case Finish::kStop: {
      const bool calls = !work.wanted.tool.empty() && !named_tool(work);
      return calls && work.wanted.leg != Leg::kPrefill ? "tool_calls" : "stop";
    }
    case Finish::kLength: {
      const bool more = work.wanted.leg == Leg::kPrefill && work.prompt_of(choice).max_tokens > 1;
      return more ? "not_finished" : "length";
    }
    case Finish::kAbort: return "cancelled";
    case Finish::kError: return "error";
  }
  return nullptr;
}

Json whole_answer(const Work& work) {
  const bool chat = work.wanted.api == Api::kChat;
  Json answer = answer_head(work, false);
  Json choices = Json::array();
  for (std::size_t i = 0; i < work.choices.size(); ++i) {
    choices.push_back(chat ? chat_choice(work, i) : completion_choice(work, i));
  }
  answer["choices"] = std::move(choices);
  answer["usage"] = usage_of(work.prompt_tokens(), work.completion_tokens(), cached_tokens(work));
  answer["prompt_token_ids"] = prompt_token_ids(work);
  if (chat) answer["prompt_token_ids_b64"] = nullptr;
  return answer;
}

std::string opening_events(const Work& work) {
  if (work.wanted.api == Api::kCompletions) return {};
  std::string events;
  for (std::size_t i = 0; i < work.choices.size(); ++i) {
    Json chunk = answer_head(work, true);
    chunk["choices"] = Json::array({{{"index", i}, {"delta", {{"role", "assistant"}}}}});
    if (work.wanted.continuous_usage) {
      chunk["usage"] = usage_of(work.prompt_tokens(), 0, cached_tokens(work));
    }
    events += sse(chunk);
  }
  return events;
}

// Chat leaves out what is null, completions do not.
std::string piece_event(const Work& work, const Piece& piece) {
  const Choice& choice = work.choices[piece.choice];
  const Generation& wanted = work.wanted;
  Json made = {{"index", piece.choice}};
  if (wanted.api == Api::kChat) {
    made["delta"] = delta_of(work, piece);
    if (wanted.logprobs) made["logprobs"] = chat_logprobs(work, choice, piece.first, piece.last);
    if (piece.ends) made["finish_reason"] = finish_reason(work, choice);
    if (piece.ends && !choice.stop_reason.is_null()) made["stop_reason"] = choice.stop_reason;
  } else {
    made["text"] = (wanted.echo && piece.first == 0 ? work.prompt_of(choice).text : std::string()) +
                   piece.text;
    made["token_ids"] = nullptr;
    made["logprobs"] = completion_logprobs(work, choice, piece.first, piece.last, true);
    made["finish_reason"] = piece.ends ? finish_reason(work, choice) : Json();
    made["stop_reason"] = piece.ends ? choice.stop_reason : Json();
  }
  made["avg_decoded_tokens_per_iter"] = 1.0;
  Json chunk = answer_head(work, true);
  chunk["choices"] = Json::array({std::move(made)});
  const int prompt = static_cast<int>(work.prompt_of(choice).ids.size());
  if (wanted.continuous_usage) {
    chunk["usage"] = usage_of(prompt, static_cast<int>(piece.last), cached_tokens(work));
  } else if (wanted.api == Api::kCompletions) {
    chunk["usage"] = nullptr;
  }
  return sse(chunk);
}

std::string closing_events(const Work& work) {
  std::string events;
  if (work.wanted.include_usage) {
    Json chunk = answer_head(work, true);
    chunk["choices"] = Json::array();
    chunk["usage"] = usage_of(work.prompt_tokens(), work.completion_tokens(), cached_tokens(work));
    events += sse(chunk);
  }
  return events + "data: [DONE]\n\n";
}

}  // namespace baton::adapters::mock::trtllm
