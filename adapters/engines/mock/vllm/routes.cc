#include <fmt/format.h>

#include "adapters/engines/mock/openai_fields.h"
#include "adapters/engines/mock/vllm/field_types.h"
#include "adapters/engines/mock/vllm/vllm_dress.h"

namespace baton::adapters::mock::vllm {
namespace {

Answer text_answer(std::string body) {
  return {200, std::move(body), {{"content-type", "text/plain; charset=utf-8"}}};
}

// The router's own words, which no handler of vLLM puts into its form.
Answer not_found() { return {404, R"({"detail":"Not Found"})"}; }
Answer wrong_method() { return {405, R"({"detail":"Method Not Allowed"})"}; }

std::string_view query_value(std::string_view target, std::string_view name) {
  std::size_t at = target.find('?');
  while (at != std::string_view::npos) {
    const std::string_view pair = target.substr(at + 1, target.find('&', at + 1) - at - 1);
    if (pair.starts_with(name) && pair.substr(name.size()).starts_with('=')) {
      return pair.substr(name.size() + 1);
    }
    at = target.find('&', at + 1);
  }
  return {};
}

constexpr std::string_view kReadable[] = {"/health",  "/ping",      "/version",    "/load",
                                          "/metrics", "/v1/models", "/is_sleeping"};
constexpr std::string_view kWritable[] = {"/ping",
                                          "/tokenize",
                                          "/detokenize",
                                          "/v1/load_lora_adapter",
                                          "/v1/unload_lora_adapter",
                                          "/sleep",
                                          "/wake_up",
                                          "/reset_prefix_cache",
                                          "/v1/completions",
                                          "/v1/chat/completions"};

template <class Paths>
bool has(const Paths& paths, std::string_view path) {
  return std::find(std::begin(paths), std::end(paths), path) != std::end(paths);
}

}  // namespace

http::Task<Answer> VllmDress::other(const http::Request& request) {
  const std::string_view path = request.path();
  const bool reads = request.method == "GET" || request.method == "HEAD";
  if (reads ? !has(kReadable, path) : request.method != "POST" || !has(kWritable, path)) {
    co_return has(kReadable, path) || has(kWritable, path) ? wrong_method() : not_found();
  }
  if (path == "/health" || path == "/ping") {
    co_return Answer{parts_.dead || parts_.starting() ? 503U : 200U, "", {}};
  }
  if (parts_.starting()) co_return unavailable();
  if (path == "/metrics") {
    co_return Answer{
        200, metrics_.text(), {{"content-type", "text/plain; version=1.0.0; charset=utf-8"}}};
  }
  if (path == "/version") co_return Answer{200, dump({{"version", kVersion}})};
  if (path == "/load") co_return Answer{200, dump({{"server_load", parts_.open_requests}})};
  if (path == "/v1/models") co_return models();
  if (path == "/is_sleeping") {
    co_return Answer{200, dump({{"is_sleeping", parts_.sleep_level > 0}})};
  }
  if (path == "/reset_prefix_cache") {
    bool all = true;
    for (const auto& rank : parts_.ranks) all = rank->reset_prefix_cache() && all;
    co_return Answer{all ? 200U : 503U, "", {}};
  }
  if (path == "/sleep" || path == "/wake_up") co_return sleep(request);
  auto body = parse_body(request);
  if (!body) co_return std::move(body.error());
  if (path == "/tokenize") co_return tokenize(*body);
  if (path == "/detokenize") co_return detokenize(*body);
  co_return path == "/v1/load_lora_adapter" ? load_lora(*body) : unload_lora(*body);
}

Answer VllmDress::models() const {
  const MockOptions& options = parts_.options;
  Json data = Json::array();
  const auto card = [&](const std::string& id, const std::string& root, Json parent, Json length) {
    const Json permission = {{"id", "modelperm-" + options.engine_id},
                             {"object", "model_permission"},
                             {"created", static_cast<std::int64_t>(parts_.started_at)},
                             {"allow_create_engine", false},
                             {"allow_sampling", true},
                             {"allow_logprobs", true},
                             {"allow_search_indices", false},
                             {"allow_view", true},
                             {"allow_fine_tuning", false},
                             {"organization", "*"},
                             {"group", nullptr},
                             {"is_blocking", false}};
    data.push_back({{"id", id},
                    {"object", "model"},
                    {"created", static_cast<std::int64_t>(parts_.started_at)},
                    {"owned_by", "vllm"},
                    {"root", root},
                    {"parent", std::move(parent)},
                    {"max_model_len", std::move(length)},
                    {"permission", Json::array({permission})}});
  };
  card(options.model, options.model, nullptr, options.max_model_len.count());
  for (const auto& [name, path] : options.loras) card(name, path, options.model, nullptr);
  return {200, dump({{"object", "list"}, {"data", std::move(data)}})};
}

// entrypoints/serve/tokenize/protocol.py: a prompt, or messages.
Answer VllmDress::tokenize(const Json& body) const {
  Generation named;
  if (auto refusal = find_model(body, named)) return *refusal;
  std::string text;
  bool add_begin = false;
  if (member(body, "messages") != nullptr) {
    text = render_chat(body);
    add_begin = is_true(body, "add_special_tokens");
  } else {
    FieldTypes types(body);
    if (!body.contains("prompt")) {
      for (const char* either : {"prompt", "messages"}) {
        types.add("missing", either, "Field required", body);
      }
    }
    types.text("prompt");
    if (auto refusal = types.answer()) return *refusal;
    text = text_of(body, "prompt");
    add_begin = !body.contains("add_special_tokens") || is_true(body, "add_special_tokens");
  }
  const std::vector<TokenId> ids = parts_.tokenizer.encode(text, add_begin);
  Json answer = {{"count", ids.size()},
                 {"max_model_len", parts_.options.max_model_len.count()},
                 {"tokens", ids}};
  answer["token_strs"] = nullptr;
  if (is_true(body, "return_token_strs")) {
    answer["token_strs"] = Json::array();
    for (const TokenId id : ids) answer["token_strs"].push_back(parts_.tokenizer.name(id));
  }
  return {200, dump(answer)};
}

Answer VllmDress::detokenize(const Json& body) const {
  Generation named;
  if (auto refusal = find_model(body, named)) return *refusal;
  FieldTypes types(body);
  types.required_list("tokens");
  types.integers("tokens");
  if (auto refusal = types.answer()) return *refusal;
  std::vector<TokenId> ids;
  for (const Json& id : body["tokens"]) ids.push_back(id.get<TokenId>());
  return {200, dump({{"prompt", parts_.tokenizer.decode(ids)}})};
}

// entrypoints/openai/models/serving.py:158, load_lora_adapter.
Answer VllmDress::load_lora(const Json& body) {
  const std::string name = text_of(body, "lora_name");
  const std::string path = text_of(body, "lora_path");
  if (name.empty() || path.empty()) {
    return error_answer(400, "InvalidUserInput",
                        "Both 'lora_name' and 'lora_path' must be provided.");
  }
  if (name == parts_.options.model) {
    return error_answer(
        400, "InvalidUserInput",
        fmt::format("The lora adapter '{}' conflicts with a served base model.", name));
  }
  auto& loras = parts_.options.loras;
  const auto found = std::ranges::find(loras, name, &std::pair<std::string, std::string>::first);
  if (found != loras.end() && !is_true(body, "load_inplace")) {
    return error_answer(400, "InvalidUserInput",
                        fmt::format("The lora adapter '{}' has already been loaded. If you want to "
                                    "load the adapter in place, set 'load_inplace' to True.",
                                    name));
  }
  if (found != loras.end()) {
    found->second = path;
  } else {
    loras.emplace_back(name, path);
  }
  return text_answer(fmt::format("Success: LoRA adapter '{}' added successfully.", name));
}

Answer VllmDress::unload_lora(const Json& body) {
  const std::string name = text_of(body, "lora_name");
  if (name.empty()) {
    return error_answer(400, "InvalidUserInput",
                        "'lora_name' needs to be provided to unload a LoRA adapter.");
  }
  auto& loras = parts_.options.loras;
  const auto found = std::ranges::find(loras, name, &std::pair<std::string, std::string>::first);
  if (found == loras.end()) {
    return error_answer(404, "NotFoundError",
                        fmt::format("The lora adapter '{}' cannot be found.", name));
  }
  loras.erase(found);
  return text_answer(fmt::format("Success: LoRA adapter '{}' removed successfully.", name));
}

// entrypoints/serve/dev/sleep/api_router.py. A sleeping engine keeps what it was asked waiting.
Answer VllmDress::sleep(const http::Request& request) {
  if (request.path() == "/wake_up") {
    parts_.sleep_level = 0;
  } else {
    parts_.sleep_level = query_value(request.target, "level") == "2" ? 2 : 1;
  }
  for (const auto& rank : parts_.ranks) rank->pause(parts_.sleep_level > 0);
  return {200, "", {}};
}

}  // namespace baton::adapters::mock::vllm
