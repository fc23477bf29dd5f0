#include "adapters/engines/openai_facts.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <nlohmann/json.hpp>

namespace baton::adapters {

std::string text_member(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::int64_t integer_member(const nlohmann::json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<std::int64_t>() : 0;
}

Result<nlohmann::json> object_from(std::string_view target, std::string_view text) {
  auto parsed = nlohmann::json::parse(text, nullptr, false);
  if (parsed.is_object()) return parsed;
  return fail(ErrorCode::kUpstream, Stage::kRouter, std::string(target) + " is no JSON object",
              true);
}

Result<ListedModel> first_model_in(std::string_view models, std::string_view owner) {
  const auto parsed = object_from("/v1/models", models);
  if (!parsed) return std::unexpected(parsed.error());
  const auto data = parsed->find("data");
  const bool listed =
      data != parsed->end() && data->is_array() && !data->empty() && data->front().is_object();
  if (!listed) {
    return fail(ErrorCode::kUpstream, Stage::kRouter, "/v1/models lists no model", true);
  }
  const auto& model = data->front();
  const std::string found = text_member(model, "owned_by");
  if (!found.empty() && found != owner) {
    return fail(ErrorCode::kUnsupported, Stage::kRouter,
                fmt::format("it is a server of {}, not of {}: the pool's connector is not for it",
                            found, owner));
  }
  return ListedModel{text_member(model, "id"), Tokens(integer_member(model, "max_model_len"))};
}

std::uint64_t fingerprint_of(std::initializer_list<std::string_view> texts) {
  std::uint64_t hash = 0;
  for (const std::string_view text : texts) {
    hash = XXH3_64bits_withSeed(text.data(), text.size(), hash + text.size());
  }
  return hash == 0 ? 1 : hash;
}

}  // namespace baton::adapters
