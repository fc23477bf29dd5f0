#include <fmt/format.h>

#include <algorithm>

#include "adapters/engines/mock/openai_fields.h"
#include "adapters/engines/mock/vllm/field_types.h"
#include "adapters/engines/mock/vllm/request_checks.h"

namespace baton::adapters::mock::vllm {
namespace {

using Refusal = std::optional<Answer>;

constexpr int kMostSequences = 16384;  // envs.py, VLLM_MAX_N_SEQUENCES
constexpr int kMostLogprobs = 20;      // --max-logprobs

Refusal first_of(std::initializer_list<Refusal> refusals) {
  for (const Refusal& refusal : refusals) {
    if (refusal) return refusal;
  }
  return std::nullopt;
}

Refusal in_range(const Json& body, const char* name, double low, double high) {
  const double value = number_of(body, name, low < 0 ? 0 : high);
  if (value >= low && value <= high) return std::nullopt;
  return validation_error(
      fmt::format("{} must be in [{}, {}], got {}.", name, low, high, python_str(Json(value))));
}

Refusal check_temperature(const Json& body) {
  const double value = number_of(body, "temperature", 1.0);
  const std::string shown = python_str(Json(value));
  if (value < 0) {
    return validation_error(fmt::format("temperature must be non-negative, got {}.", shown),
                            "temperature", shown);
  }
  if (value > 2) {
    return validation_error(fmt::format("temperature must be in [0, 2], got {}.", shown),
                            "temperature", shown);
  }
  return std::nullopt;
}

Refusal check_top(const Json& body) {
  const double top_p = number_of(body, "top_p", 1.0);
  if (top_p <= 0 || top_p > 1) {
    const std::string shown = python_str(Json(top_p));
    return validation_error(fmt::format("top_p must be in (0, 1], got {}.", shown), "top_p", shown);
  }
  const std::int64_t top_k = integer_of(body, "top_k", 0);
  if (top_k < -1) {
    return validation_error(
        fmt::format("top_k must be 0 (disable), or at least 1, got {}.", top_k));
  }
  const double min_p = number_of(body, "min_p", 0);
  if (min_p < 0 || min_p > 1) {
    return validation_error(
        fmt::format("min_p must be in [0, 1], got {}.", python_str(Json(min_p))));
  }
  return std::nullopt;
}

// sampling_params.py:475, from_optional.
Refusal check_bias(const Json& body) {
  const Json* bias = member(body, "logit_bias");
  if (bias == nullptr) return std::nullopt;
  Json wrong = Json::array();
  for (const auto& [token, value] : bias->items()) {
    if (token.empty() || token.find_first_not_of("0123456789") != std::string::npos) {
      wrong.push_back(token);
    }
  }
  if (wrong.empty()) return std::nullopt;
  const std::string shown = python_str(wrong);
  return validation_error(
      "logit_bias contains key(s) that cannot be converted to integer token IDs: " + shown,
      "logit_bias", shown);
}

Refusal check_count(const Json& body) {
  const std::int64_t n = integer_of(body, "n", 1);
  if (n < 1) return validation_error(fmt::format("n must be at least 1, got {}.", n));
  if (n > kMostSequences) {
    return validation_error(
        fmt::format("n must be at most {}, got {}. To increase this limit, set "
                    "the VLLM_MAX_N_SEQUENCES environment variable.",
                    kMostSequences, n));
  }
  return std::nullopt;
}

Refusal check_token_limits(const Json& body, int max_tokens) {
  if (max_tokens < 1) {
    return validation_error(fmt::format("max_tokens must be at least 1, got {}.", max_tokens),
                            "max_tokens", std::to_string(max_tokens));
  }
  const std::int64_t least = integer_of(body, "min_tokens", 0);
  if (least < 0) {
    return validation_error(
        fmt::format("min_tokens must be greater than or equal to 0, got {}.", least));
  }
  if (least > max_tokens) {
    return validation_error(fmt::format(
        "min_tokens must be less than or equal to max_tokens={}, got {}.", max_tokens, least));
  }
  return std::nullopt;
}

Refusal check_stop(const Json& body) {
  const Json* stop = member(body, "stop");
  if (stop == nullptr) return std::nullopt;
  const auto blank = [](const Json& one) {
    return one.is_string() && one.get_ref<const std::string&>().empty();
  };
  if (!(stop->is_array() ? std::ranges::any_of(*stop, blank) : blank(*stop))) return std::nullopt;
  return validation_error("stop cannot contain an empty string.");
}

// sampling_params.py:645.
Refusal check_bad_words(const Json& body) {
  const Json* words = member(body, "bad_words");
  if (words == nullptr || std::ranges::find(*words, Json("")) == words->end()) return std::nullopt;
  return validation_error("bad_words cannot contain an empty string. Got bad_words=" +
                          python_str(*words));
}

// sampling_params.py: _validate_logit_bias, _validate_allowed_token_ids.
Refusal check_ids(const Json& body, TokenId vocabulary) {
  if (const Json* bias = member(body, "logit_bias")) {
    Json wrong = Json::array();
    for (const auto& [token, value] : bias->items()) {
      if (const auto id = std::stoll(token); id >= vocabulary) wrong.push_back(id);
    }
    if (!wrong.empty()) {
      const std::string shown = python_str(wrong);
      return validation_error(
          fmt::format("token_id(s) {} in logit_bias contain out-of-vocab token ids. Vocabulary "
                      "size: {}",
                      shown, vocabulary),
          "logit_bias", shown);
    }
  }
  const Json* allowed = member(body, "allowed_token_ids");
  if (allowed == nullptr) return std::nullopt;
  const auto refuse = [allowed](std::string message) {
    return validation_error(std::move(message), "allowed_token_ids", python_str(*allowed));
  };
  if (allowed->empty()) return refuse("allowed_token_ids is not None and empty!");
  const bool outside = std::ranges::any_of(*allowed, [vocabulary](const Json& id) {
    return id.is_number() && (id.get<std::int64_t>() < 0 || id.get<std::int64_t>() >= vocabulary);
  });
  if (!outside) return std::nullopt;
  return refuse("allowed_token_ids contains out-of-vocab token id!");
}

// What xgrammar makes nothing of (v1/structured_output/backend_xgrammar.py).
Refusal check_grammar(const Json& body) {
  const Json* outputs = member(body, "structured_outputs");
  if (outputs == nullptr) return std::nullopt;
  const Json* schema = member(*outputs, "json");
  if (schema != nullptr && schema->is_string() &&
      !Json::accept(schema->get_ref<const std::string&>())) {
    return validation_error("Invalid JSON grammar specification.");
  }
  const std::string regex = text_of(*outputs, "regex");
  if (std::ranges::count(regex, '(') <= std::ranges::count(regex, ')')) return std::nullopt;
  return validation_error(
      fmt::format("Failed to transform regex into a grammar: [00:00:00] <path>:83: Regex parsing "
                  "error at position {}: The parenthesis is not closed.",
                  regex.size() + 1));
}

Refusal out_of_vocabulary(const Json& body, const char* name, TokenId vocabulary) {
  const Json* ids = member(body, name);
  if (ids == nullptr || !ids->is_array()) return std::nullopt;
  Json wrong = Json::array();
  for (const Json& id : *ids) {
    if (id.is_number() && (id.get<std::int64_t>() < 0 || id.get<std::int64_t>() >= vocabulary)) {
      wrong.push_back(id);
    }
  }
  if (wrong.empty()) return std::nullopt;
  const std::string shown = python_str(wrong);
  return validation_error(
      fmt::format("token_id(s) {} in {} contain out-of-vocab token ids. Vocabulary size: {}", shown,
                  name, vocabulary),
      name, shown);
}

Refusal too_many_logprobs(std::int64_t wanted, std::string_view what, std::string_view param) {
  if (wanted <= kMostLogprobs) return std::nullopt;
  return validation_error(
      fmt::format("Requested {} logprobs of {}, which is greater than max allowed: {}", what,
                  wanted, kMostLogprobs),
      param, std::to_string(wanted));
}

}  // namespace

std::optional<Answer> check_sampling(Api, const Json& body, int max_tokens) {
  Refusal refusal =
      first_of({check_bias(body), check_count(body), in_range(body, "presence_penalty", -2, 2),
                in_range(body, "frequency_penalty", -2, 2)});
  if (refusal) return refusal;
  const double repetition = number_of(body, "repetition_penalty", 1.0);
  if (repetition <= 0) {
    return validation_error(fmt::format("repetition_penalty must be greater than zero, got {}.",
                                        python_str(Json(repetition))));
  }
  refusal =
      first_of({check_temperature(body), check_top(body), check_token_limits(body, max_tokens),
                check_stop(body), check_bad_words(body)});
  if (refusal) return refusal;
  const std::int64_t n = integer_of(body, "n", 1);
  if (n > 1 && number_of(body, "temperature", 1.0) < 1e-5) {
    return validation_error(fmt::format("n must be 1 when using greedy sampling, got {}.", n));
  }
  return std::nullopt;
}

std::optional<Answer> check_in_engine(Api api, const Json& body, TokenId vocabulary, int ranks,
                                      std::optional<int> rank) {
  const bool chat = api == Api::kChat;
  const std::int64_t wanted =
      chat ? (is_true(body, "logprobs") ? integer_of(body, "top_logprobs", 0) : 0)
           : integer_of(body, "logprobs", 0);
  const auto count = [vocabulary](std::int64_t asked) { return asked == -1 ? vocabulary : asked; };
  Refusal refusal = first_of({too_many_logprobs(count(wanted), "sample", "logprobs"),
                              too_many_logprobs(count(integer_of(body, "prompt_logprobs", 0)),
                                                "prompt", "prompt_logprobs"),
                              check_ids(body, vocabulary), check_grammar(body),
                              out_of_vocabulary(body, "stop_token_ids", vocabulary)});
  if (refusal) return refusal;
  if (rank && (*rank < 0 || *rank >= ranks)) {
    return validation_error(
        fmt::format("data_parallel_rank {} is out of range [0, {}).", *rank, ranks));
  }
  return std::nullopt;
}

}  // namespace baton::adapters::mock::vllm
