#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "adapters/engines/mock/openai_fields.h"
#include "adapters/engines/mock/vllm/field_types.h"
#include "adapters/engines/mock/vllm/request_checks.h"
#include "adapters/engines/mock/vllm/vllm_dress.h"
#include "core/ids.h"

namespace baton::adapters::mock::vllm {
namespace {

std::optional<int> rank_in(const http::Request& request) {
  const std::string_view text = request.field("x-data-parallel-rank");
  int rank = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), rank);
  // What is no number is ignored (entrypoints/generate/base/serving.py:197).
  if (text.empty() || failure != std::errc() || end != text.data() + text.size()) {
    return std::nullopt;
  }
  return rank;
}

Leg leg_of(const Json& body) {
  const Json* params = member(body, "kv_transfer_params");
  if (params == nullptr) return Leg::kPlain;
  if (is_true(*params, "do_remote_prefill")) return Leg::kDecode;
  if (is_true(*params, "do_remote_decode")) return Leg::kPrefill;
  return Leg::kPlain;
}

}  // namespace

std::expected<Json, Answer> parse_body(const http::Request& request) {
  std::string_view type = request.field("content-type");
  type = type.substr(0, type.find(';'));
  if (type != "application/json") {
    return std::unexpected(error_answer(
        400, "Bad Request",
        "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"));
  }
  if (request.body.empty()) {
    Json none;
    FieldTypes types(none);
    types.add("missing", "", "Field required", none);
    return std::unexpected(*types.answer());
  }
  Json body = Json::parse(request.body, nullptr, false);
  if (body.is_discarded()) {
    const JsonFault fault = python_json_fault(request.body);
    const Json none = Json::object();
    FieldTypes types(none);
    types.add("json_invalid", std::to_string(fault.at), "JSON decode error", none,
              fmt::format("{{'error': {}}}", python_repr(fault.message)));
    return std::unexpected(*types.answer());
  }
  if (body.is_null()) {
    FieldTypes types(body);
    types.add("missing", "", "Field required", body);
    return std::unexpected(*types.answer());
  }
  if (!body.is_object()) {
    FieldTypes types(body);
    types.add("model_attributes_type", "",
              "Input should be a valid dictionary or object to extract fields from", body);
    return std::unexpected(*types.answer());
  }
  return body;
}

Answer unknown_model(std::string_view model, std::string_view served) {
  return error_answer(
      404, "NotFoundError",
      fmt::format("The model `{}` does not exist. Valid aliases: {}.", model, served), "model");
}

std::expected<Generation, Answer> VllmDress::read(Api api, const http::Request& request,
                                                  RequestRecord& record) {
  auto body = parse_body(request);
  if (!body) return std::unexpected(std::move(body.error()));
  if (auto refusal = check_body(api, *body)) return std::unexpected(std::move(*refusal));

  // From here on a refusal tells the prefill engine (_with_kv_transfer_rejection_cleanup).
  const Leg leg = leg_of(*body);
  record.leg = leg;
  const auto refuse = [&](Answer answer) {
    if (leg == Leg::kDecode) handoff_->reject((*body)["kv_transfer_params"], &record);
    return std::unexpected(std::move(answer));
  };
  Generation wanted;
  wanted.api = api;
  wanted.leg = leg;
  if (auto refusal = find_model(*body, wanted)) return refuse(std::move(*refusal));
  read_openai_fields(*body, parts_.rng(), wanted);
  if (api == Api::kChat) {
    if (auto refusal = check_tool_choice(*body)) return refuse(std::move(*refusal));
    if (auto refusal = check_conversation(*body)) return refuse(std::move(*refusal));
  }
  if (auto refusal = check_truncation(*body, parts_.options.max_model_len)) {
    return refuse(std::move(*refusal));
  }
  read_shape(*body, wanted);
  if (auto refusal = read_prompts(*body, wanted)) return refuse(std::move(*refusal));

  std::string id(request.field("x-request-id"));
  if (id.empty()) id = text_of(*body, "request_id");
  if (id.empty()) id = Id128::draw(parts_.rng).str();
  wanted.id = (api == Api::kChat ? "chatcmpl-" : "cmpl-") + id;
  const std::optional<int> rank = rank_in(request);
  wanted.body = std::move(*body);
  if (auto late = check_in_engine(api, wanted.body, parts_.tokenizer.size(),
                                  parts_.options.data_parallel_size, rank)) {
    if (!wanted.stream) {
      if (leg == Leg::kDecode) handoff_->reject(wanted.body["kv_transfer_params"], &record);
      return std::unexpected(std::move(*late));
    }
    // A stream has begun by then, and the prefill engine hears nothing.
    wanted.late_failure = Failure{late->status, late->body};
    wanted.leg = Leg::kPlain;
  }
  wanted.rank = choose_rank(rank);
  note_leg(wanted, record);
  return wanted;
}

std::optional<Answer> VllmDress::find_model(const Json& body, Generation& into) const {
  const std::string name = text_of(body, "model");
  const MockOptions& options = parts_.options;
  into.model = options.model;
  if (name.empty() || name == options.model) return std::nullopt;
  for (const auto& [lora, path] : options.loras) {
    if (lora != name) continue;
    into.lora = lora;
    into.model = lora;
    return std::nullopt;
  }
  return unknown_model(name, options.model);
}

// renderers/online_renderer.py:240.
std::optional<Answer> VllmDress::check_tool_choice(const Json& body) const {
  const Json* choice = member(body, "tool_choice");
  if (choice == nullptr || *choice == "none" || !parts_.options.tool_call_parser.empty()) {
    return std::nullopt;
  }
  if (*choice == "auto") {
    return error_answer(400, "BadRequestError",
                        "\"auto\" tool choice requires --enable-auto-tool-choice and "
                        "--tool-call-parser to be set");
  }
  const std::string shown =
      choice->is_object() ? fmt::format("function \"{}\"", text_of((*choice)["function"], "name"))
                          : fmt::format("\"{}\"", choice->get<std::string>());
  return error_answer(400, "BadRequestError",
                      fmt::format("tool_choice={} requires --tool-call-parser to be set", shown));
}

std::optional<Answer> VllmDress::read_prompts(const Json& body, Generation& into) const {
  const MockTokenizer& tokenizer = parts_.tokenizer;
  if (into.api == Api::kChat) {
    Prompt prompt{render_chat(body), {}, 0};
    const Json* params = member(body, "kv_transfer_params");
    const Json* reused = params == nullptr ? nullptr : member(*params, "prompt_token_ids");
    prompt.ids = reused != nullptr && reused->is_array()
                     ? token_ids_of(*reused)
                     : tokenizer.encode(prompt.text, is_true(body, "add_special_tokens"));
    return fit_prompt(body, into, std::move(prompt), reused == nullptr);
  }
  const Json* begin = member(body, "add_special_tokens");
  const bool add_begin = begin == nullptr || is_true(body, "add_special_tokens");
  const auto from_text = [&](const Json& text) {
    std::string plain = text.get<std::string>();
    auto ids = tokenizer.encode(plain, add_begin);
    return fit_prompt(body, into, Prompt{std::move(plain), std::move(ids), 0}, true);
  };
  const auto from_ids = [&](const Json& list) {
    auto ids = token_ids_of(list);
    std::string text = tokenizer.decode(ids);
    return fit_prompt(body, into, Prompt{std::move(text), std::move(ids), 0}, false);
  };
  const Json& given = body["prompt"];
  if (given.is_array() && given.empty()) {
    return validation_error("You must pass at least one prompt");
  }
  if (given.is_string()) return from_text(given);
  if (given.empty() || given.front().is_number()) return from_ids(given);
  for (const Json& one : given) {
    if (auto refusal = one.is_string() ? from_text(one) : from_ids(one)) return refusal;
  }
  return std::nullopt;
}

// renderers/params.py, TokenizeParams; serve/utils/api_utils.py, get_max_tokens; then
// SamplingParams and the engine's own look at the prompt.
std::optional<Answer> VllmDress::fit_prompt(const Json& body, Generation& into, Prompt prompt,
                                            bool from_text) const {
  const auto limit = static_cast<std::int64_t>(parts_.options.max_model_len.count());
  const bool chat = into.api == Api::kChat;
  const bool newer = chat && member(body, "max_completion_tokens") != nullptr;
  const char* name = newer ? "max_completion_tokens" : "max_tokens";
  const std::int64_t asked = integer_of(body, name, chat ? -1 : 16);
  if (asked > limit) {
    return validation_error(
        fmt::format("{}={} cannot be greater than max_model_len={}. Please request fewer output "
                    "tokens.",
                    name, asked, limit),
        name, std::to_string(asked));
  }
  auto length = static_cast<std::int64_t>(prompt.ids.size());
  if (length > limit) {
    if (from_text) length = limit + 1;  // the tokenizer stopped there
    return validation_error(
        fmt::format("This model's maximum context length is {} tokens. However, your prompt "
                    "contains {}{} input tokens, which exceeds this limit even without any output "
                    "tokens. Please reduce the length of the input prompt.",
                    limit, length == limit + 1 ? "at least " : "", length),
        "input_tokens", std::to_string(length));
  }
  const bool given = asked >= 0 || member(body, name) != nullptr;
  std::int64_t most = given ? std::min(asked, limit - length) : limit - length;
  into.echo_only = !chat && into.echo && asked == 0;
  if (into.echo_only) most = 1;
  if (auto refusal = check_sampling(into.api, body, static_cast<int>(most))) return refusal;
  if (length == 0) return validation_error("The decoder prompt cannot be empty");
  if (length == limit) {
    return validation_error(
        fmt::format("The decoder prompt (length {}) plus the number of requested output tokens (at "
                    "least 1) is longer than the maximum model length of {}. Make sure that "
                    "`max_model_len` is no smaller than the number of text tokens (prompt + "
                    "requested output tokens).",
                    length, limit));
  }
  const TokenId highest = *std::ranges::max_element(prompt.ids);
  if (highest >= parts_.tokenizer.size()) {
    return validation_error(fmt::format("Token id {} is out of vocabulary", highest));
  }
  prompt.max_tokens = static_cast<int>(most);
  into.prompts.push_back(std::move(prompt));
  return std::nullopt;
}

int VllmDress::choose_rank(std::optional<int> wanted) const {
  if (wanted && *wanted >= 0 && *wanted < parts_.options.data_parallel_size) return *wanted;
  const auto least = std::ranges::min_element(
      parts_.ranks, {}, [](const auto& rank) { return rank->engine().live(); });
  return static_cast<int>(least - parts_.ranks.begin());
}

// What the engine takes without a word, but no router should send.
void VllmDress::note_leg(const Generation& wanted, RequestRecord& record) {
  const Role role = parts_.options.role;
  const auto violate = [&](std::string_view name) { parts_.ledger.violate(&record, name); };
  if (wanted.leg == Leg::kPrefill) {
    if (!can_prefill(role)) violate("wrong_role");
    // A stream tells no kv_transfer_params.
    if (wanted.stream && handoff_->answer_tells_parameters()) violate("prefill_streams");
    if (wanted.prompts.front().max_tokens > 1) violate("prefill_not_capped");
    // One reader frees all, and only the first prompt's blocks are told.
    if (wanted.n > 1 || wanted.prompts.size() > 1) violate("prefill_of_several");
  } else if (!can_decode(role)) {
    violate("wrong_role");
  }
}

}  // namespace baton::adapters::mock::vllm
