#include <fmt/format.h>

#include <algorithm>

#include "adapters/engines/mock/openai_fields.h"
#include "adapters/engines/mock/trtllm/trtllm_dress.h"
#include "core/ids.h"
#include "core/prompt_blocks.h"

namespace baton::adapters::mock::trtllm {
namespace {

// llmapi/disagg_utils.py, get_global_disagg_request_id: servers number their own requests below.
constexpr std::int64_t kFirstGlobalId = 1LL << 40;

// sampling_params.py, _validate.
std::optional<std::string> check_sampling(const Json& body) {
  const auto number = [&](const char* name, double otherwise) {
    return number_of(body, name, otherwise);
  };
  if (const double value = number("top_p", 1); value < 0 || value > 1) {
    return fmt::format("require 0 <= top_p <= 1, got top_p={}", value);
  }
  if (const double value = number("top_k", 0); value < 0) {
    return fmt::format("require top_k >= 0, got top_k={}", value);
  }
  if (const double value = number("temperature", 1); value < 0) {
    return fmt::format("require temperature >= 0, got temperature={}", value);
  }
  const auto n = integer_of(body, "n", 1);
  if (const auto best = integer_of(body, "best_of", n); best < n) {
    return fmt::format("best_of ({}) cannot be less than n ({})", best, n);
  }
  return std::nullopt;
}

}  // namespace

std::expected<Generation, Answer> TrtllmDress::read(Api api, const http::Request& request,
                                                    RequestRecord& record) {
  auto body = parse_body(request);
  if (!body) return std::unexpected(std::move(body.error()));
  if (auto refusal = check_body(api, *body)) return std::unexpected(std::move(*refusal));
  if (auto wrong = check_sampling(*body)) return std::unexpected(error_answer(*wrong));
  Generation wanted;
  wanted.api = api;
  wanted.model = text_of(*body, "model");
  if (auto refusal = read_leg(*body, wanted, record)) return std::unexpected(std::move(*refusal));
  // Both legs draw alike where no seed is given: the generation server goes on from the first
  // token.
  std::uint64_t drawn = parts_.rng();
  if (wanted.leg != Leg::kPlain) {
    const Json& params = (*body)["disaggregated_params"];
    drawn = chain_seed(std::to_string(integer_of(params, "disagg_request_id", 0)), "sampling");
  }
  read_openai_fields(*body, drawn, wanted);
  read_shape(*body, wanted);
  // StreamOptions: include_usage is true where it is not said.
  if (const Json* options = member(*body, "stream_options")) {
    wanted.include_usage = member(*options, "include_usage") == nullptr || wanted.include_usage;
    wanted.continuous_usage = wanted.include_usage && is_true(*options, "continuous_usage_stats");
  }
  if (auto refusal = read_prompts(*body, wanted)) return std::unexpected(std::move(*refusal));
  const bool several = wanted.n > 1 || wanted.prompts.size() > 1;
  if (wanted.leg != Leg::kPlain && several) {
    parts_.ledger.violate(&record, "handoff_of_several");
  }
  wanted.id = (api == Api::kChat ? "chatcmpl-" : "cmpl-") + Id128::draw(parts_.rng).str();
  wanted.body = std::move(*body);
  const auto least = std::ranges::min_element(
      parts_.ranks, {}, [](const auto& rank) { return rank->engine().live(); });
  wanted.rank = static_cast<int>(least - parts_.ranks.begin());
  return wanted;
}

// Which leg it is, and what no router should send. disaggregated_params.py, __post_init__.
std::optional<Answer> TrtllmDress::read_leg(const Json& body, Generation& into,
                                            RequestRecord& record) {
  const auto violate = [&](std::string_view name) { parts_.ledger.violate(&record, name); };
  const Role role = parts_.options.role;
  const Json* params = member(body, "disaggregated_params");
  const std::string type = params == nullptr ? "" : text_of(*params, "request_type");
  if (type == "context_only") {
    into.leg = Leg::kPrefill;
    if (!can_prefill(role)) violate("wrong_role");
    if (is_true(body, "stream")) violate("context_streams");
    const Json* id = member(*params, "disagg_request_id");
    if (id == nullptr) violate("no_disagg_request_id");
    if (id != nullptr && (!id->is_number_integer() ||
                          (id->is_number_unsigned() && id->get<std::uint64_t>() > INT64_MAX))) {
      violate("disagg_request_id_is_no_int64");
    } else if (id != nullptr && id->get<std::int64_t>() < kFirstGlobalId) {
      violate("disagg_request_id_is_a_servers_own");
    }
  } else if (type == "generation_only") {
    into.leg = Leg::kDecode;
    if (!can_decode(role)) violate("wrong_role");
    for (const char* needed : {"first_gen_tokens", "ctx_request_id", "encoded_opaque_state"}) {
      if (member(*params, needed) != nullptr) continue;
      violate(std::string("no_") + needed);
      return error_answer(fmt::format("{} must be set for a generation_only request", needed));
    }
    if (into.api == Api::kChat && member(body, "prompt_token_ids") == nullptr) {
      violate("no_prompt_token_ids");
    }
    if (into.api == Api::kCompletions && body["prompt"].is_string()) violate("no_prompt_token_ids");
  } else if (!type.empty() && type != "context_and_generation") {
    violate("unknown_request_type");
    return error_answer(
        fmt::format("Unknown request type: {}. Must be context_only, generation_only or "
                    "context_and_generation",
                    type));
  }
  record.leg = into.leg;
  return std::nullopt;
}

std::optional<Answer> TrtllmDress::read_prompts(const Json& body, Generation& into) const {
  const MockTokenizer& tokenizer = parts_.tokenizer;
  if (into.api == Api::kChat) {
    Prompt prompt{render_chat(body), {}, 0};
    const Json* ids = member(body, "prompt_token_ids");
    prompt.ids = ids != nullptr
                     ? token_ids_of(*ids)
                     : tokenizer.encode(prompt.text, is_true(body, "add_special_tokens"));
    return fit_prompt(body, into, std::move(prompt));
  }
  const Json* begin = member(body, "add_special_tokens");
  const bool add_begin = begin == nullptr || is_true(body, "add_special_tokens");
  const auto from_text = [&](const Json& text) {
    std::string plain = text.get<std::string>();
    auto ids = tokenizer.encode(plain, add_begin);
    return fit_prompt(body, into, Prompt{std::move(plain), std::move(ids), 0});
  };
  const auto from_ids = [&](const Json& list) {
    auto ids = token_ids_of(list);
    std::string text = tokenizer.decode(ids);
    return fit_prompt(body, into, Prompt{std::move(text), std::move(ids), 0});
  };
  const Json& given = body["prompt"];
  if (given.is_string()) return from_text(given);
  if (given.empty()) return error_answer("list index out of range");
  if (given.front().is_number()) return from_ids(given);
  for (const Json& one : given) {
    if (auto refusal = one.is_string() ? from_text(one) : from_ids(one)) return refusal;
  }
  return std::nullopt;
}

// llmapi/llm.py, _check_arguments: what does not fit is refused; a limit that is too high is not.
std::optional<Answer> TrtllmDress::fit_prompt(const Json& body, Generation& into,
                                              Prompt prompt) const {
  const auto limit = static_cast<std::int64_t>(parts_.options.max_model_len.count());
  const auto length = static_cast<std::int64_t>(prompt.ids.size());
  if (length == 0) return error_answer("prompt_token_ids should not be empty");
  if (length >= limit) {
    return error_answer(
        fmt::format("The sum of prompt length ({}) and query length (0) max_tokens (1) should not "
                    "exceed max_seq_len ({})",
                    length, limit));
  }
  if (*std::ranges::max_element(prompt.ids) >= parts_.tokenizer.size()) {
    return error_answer("Token ID out of range");
  }
  const bool newer = into.api == Api::kChat && member(body, "max_completion_tokens") != nullptr &&
                     member(body, "max_tokens") == nullptr;
  const char* name = newer ? "max_completion_tokens" : "max_tokens";
  const std::int64_t most = limit - length;
  const std::int64_t asked = integer_of(body, name, most);
  if (asked <= 0) return error_answer(fmt::format("max_tokens ({}) must be greater than 0", asked));
  prompt.max_tokens = static_cast<int>(std::min(asked, most));
  into.prompts.push_back(std::move(prompt));
  return std::nullopt;
}

}  // namespace baton::adapters::mock::trtllm
