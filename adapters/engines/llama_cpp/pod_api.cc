#include "adapters/engines/llama_cpp/pod_api.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "adapters/engines/llama_cpp/pod_text.h"
#include "core/json_fields.h"
#include "core/log.h"
#include "kv_transfer/node.h"

namespace baton::adapters {
namespace {

constexpr int kDefaultCompletionTokens = 16;  // OpenAI's and vLLM's default of /v1/completions
constexpr std::string_view kLeases = "/baton/leases/";

double unix_time() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::unexpected<Error> refuse(std::string message, std::string_view param) {
  return fail(ErrorCode::kInvalidArgument, Stage::kRouter, std::move(message), false,
              std::string(param));
}

std::string model_json(std::string_view id, std::string_view root, std::string_view parent,
                       std::int64_t created, std::int64_t max_context) {
  return fmt::format(
      R"({{"id":{},"object":"model","created":{},"owned_by":"baton","root":{},"parent":{},)"
      R"("max_model_len":{},"permission":[]}})",
      json_quote(id), created, json_quote(root), parent.empty() ? "null" : json_quote(parent),
      max_context);
}

http::Task<void> send_json(http::Exchange& exchange, std::string body) {
  (void)co_await exchange.send(200, {{"content-type", "application/json"}}, std::move(body));
}

http::Task<void> send_wrong_method(http::Exchange& exchange, std::string allowed) {
  const Error error{ErrorCode::kInvalidArgument,
                    Stage::kRouter,
                    "this path takes " + allowed + " only",
                    false,
                    {}};
  (void)co_await exchange.send(405, {{"content-type", "application/json"}, {"allow", allowed}},
                               error_body(error));
}

}  // namespace

PodApi::PodApi(PodParts parts, EngineOptions options)
    : parts_(std::move(parts)),
      options_(std::move(options)),
      started_at_(static_cast<std::int64_t>(unix_time())) {
  for (TokenId id = 0; id < parts_.tokenizer->size(); ++id) {
    longest_piece_ = std::max(longest_piece_, parts_.tokenizer->piece(id).size());
  }
}

http::Task<void> PodApi::handle(http::Exchange& exchange) {
  const std::string method = exchange.request().method;
  const std::string path(exchange.request().path());
  const bool completions = path == "/v1/completions";
  if (completions || path == "/v1/chat/completions" || path == "/tokenize") {
    if (method != "POST") co_return co_await send_wrong_method(exchange, "POST");
    if (path == "/tokenize") co_return co_await tokenize(exchange);
    co_return co_await complete(exchange, completions ? Api::kCompletions : Api::kChat);
  }
  if (path.starts_with(kLeases)) {
    if (method != "DELETE") co_return co_await send_wrong_method(exchange, "DELETE");
    co_return co_await release_lease(exchange, std::string_view(path).substr(kLeases.size()));
  }
  const bool known =
      path == "/v1/models" || path == "/health" || path == "/metrics" || path == "/baton/facts";
  if (!known) {
    co_return co_await send_error(
        exchange, Error{ErrorCode::kNotFound, Stage::kRouter, "no such path: " + path, false, {}});
  }
  if (method != "GET") co_return co_await send_wrong_method(exchange, "GET");
  if (path == "/v1/models") co_return co_await send_json(exchange, models_json());
  if (path == "/baton/facts") co_return co_await send_json(exchange, facts_json());
  if (path == "/metrics") {
    (void)co_await exchange.send(200, {{"content-type", "text/plain; version=0.0.4"}},
                                 parts_.metrics->expose(*parts_.engine, unix_time()));
    co_return;
  }
  (void)co_await exchange.send(draining_ ? 503 : 200, {}, "");
}

http::Task<void> PodApi::complete(http::Exchange& exchange, Api api) {
  const TimePoint arrived = Clock::now();
  auto request = parse_pod_request(api, exchange.request().body, parts_.models);
  if (!request) co_return co_await send_error(exchange, request.error());
  if (auto ok = check_role(*request); !ok) co_return co_await send_error(exchange, ok.error());
  auto prompt = prompt_of(*request);
  if (!prompt) co_return co_await send_error(exchange, prompt.error());
  if (auto ok = fit(*request, prompt->size()); !ok) {
    co_return co_await send_error(exchange, ok.error());
  }
  co_await answer(exchange, parts_, std::move(*request), std::move(*prompt), arrived);
}

http::Task<void> PodApi::tokenize(http::Exchange& exchange) {
  const auto request = parse_tokenize_request(exchange.request().body, parts_.models);
  if (!request) co_return co_await send_error(exchange, request.error());
  const auto ids = request->chat ? chat_ids(*request->chat)
                                 : text_ids(request->text, request->add_special, "prompt");
  if (!ids) co_return co_await send_error(exchange, ids.error());
  std::string strings;
  if (request->want_strings) {
    for (const TokenId id : *ids) {
      strings += strings.empty() ? "" : ",";
      strings += json_quote(to_valid_utf8(parts_.tokenizer->piece(id)));
    }
    strings = ",\"token_strs\":[" + strings + "]";
  }
  co_await send_json(
      exchange, fmt::format(R"({{"count":{},"max_model_len":{},"tokens":[{}]{}}})", ids->size(),
                            parts_.facts.max_context.count(), fmt::join(*ids, ","), strings));
}

http::Task<void> PodApi::release_lease(http::Exchange& exchange, std::string_view id) {
  const auto transfer = Id128::parse(id);
  if (!transfer) {
    co_return co_await send_error(exchange,
                                  Error{ErrorCode::kInvalidArgument, Stage::kRouter,
                                        "a lease is named by 32 hex digits", false, "transfer_id"});
  }
  if (parts_.node != nullptr) parts_.node->release(*transfer);
  (void)co_await exchange.send(204, {}, "");
}

Result<std::vector<TokenId>> PodApi::prompt_of(const PodRequest& request) const {
  if (request.chat) return chat_ids(*request.chat);
  if (request.ids.empty()) return text_ids(request.text, true, "prompt");
  const TokenId largest = *std::ranges::max_element(request.ids);
  if (largest >= parts_.tokenizer->size()) {
    return refuse(fmt::format("prompt: token {} is not in the vocabulary of {} tokens", largest,
                              parts_.tokenizer->size()),
                  "prompt");
  }
  return request.ids;
}

Result<std::vector<TokenId>> PodApi::chat_ids(const ChatPrompt& chat) const {
  if (!parts_.chat_template) {
    return refuse("this model has no chat template; use /v1/completions", "messages");
  }
  const auto rendered = parts_.chat_template->render(chat);
  if (!rendered) return std::unexpected(rendered.error());
  std::string_view text = *rendered;
  // Templates that write BOS themselves would get it twice.
  const std::string_view bos = parts_.tokenizer->bos_text();
  if (parts_.tokenizer->adds_bos() && !bos.empty() && text.starts_with(bos)) {
    text.remove_prefix(bos.size());
  }
  return text_ids(text, true, "messages");
}

Result<std::vector<TokenId>> PodApi::text_ids(std::string_view text, bool add_special,
                                              std::string_view param) const {
  const auto most = static_cast<std::size_t>(parts_.facts.max_context.count());
  if (text.size() / longest_piece_ > most) {  // too long whatever its tokens are
    return refuse(
        fmt::format("the prompt of {} bytes is beyond the context of {} tokens", text.size(), most),
        param);
  }
  auto ids = parts_.tokenizer->ids(text, add_special, true);
  if (ids && ids->empty()) return refuse(std::string(param) + " must not be empty", param);
  return ids;
}

Result<void> PodApi::fit(PodRequest& request, std::size_t prompt_tokens) const {
  const std::int64_t context = parts_.facts.max_context.count();
  const auto prompt = static_cast<std::int64_t>(prompt_tokens);
  const std::int64_t room = context - prompt;
  if (room < 1) {
    return refuse(fmt::format("This model's maximum context length is {} tokens, but the prompt "
                              "has {}.",
                              context, prompt),
                  request.chat ? "messages" : "prompt");
  }
  if (request.max_tokens.value_or(1) > room) {
    return refuse(fmt::format("This model's maximum context length is {} tokens, but {} were asked "
                              "for: {} in the prompt, {} in the answer.",
                              context, prompt + *request.max_tokens, prompt, *request.max_tokens),
                  "max_tokens");
  }
  const std::int64_t usual =
      request.chat ? room : std::min<std::int64_t>(room, kDefaultCompletionTokens);
  request.sampling.max_tokens = request.max_tokens.value_or(static_cast<int>(usual));
  return {};
}

Result<void> PodApi::check_role(const PodRequest& request) const {
  const bool wrong = (request.producer && !can_prefill(options_.role)) ||
                     (request.consumer && !can_decode(options_.role));
  if (wrong || ((request.producer || request.consumer) && parts_.node == nullptr)) {
    return fail(ErrorCode::kUnsupported, request.producer ? Stage::kPrefill : Stage::kDecode,
                fmt::format("a pod of role {} takes no {} leg", name_of(options_.role),
                            request.producer ? "prefill" : "decode"),
                true, "kv_transfer_params");
  }
  return {};
}

std::string PodApi::models_json() const {
  std::string list;
  const std::int64_t context = parts_.facts.max_context.count();
  for (const std::string& name : parts_.models.base) {
    list += list.empty() ? "" : ",";
    list += model_json(name, options_.model_path, {}, started_at_, context);
  }
  for (const LoraFile& lora : options_.loras) {
    list +=
        "," + model_json(lora.name, lora.path, parts_.models.base.front(), started_at_, context);
  }
  return R"({"object":"list","data":[)" + list + "]}";
}

std::string PodApi::facts_json() const {
  const EngineFacts& facts = parts_.facts;
  std::string loras;
  for (const std::string& name : parts_.models.loras) {
    loras += loras.empty() ? "" : ",";
    loras += json_quote(name);
  }
  return fmt::format(
      R"({{"engine_id":{},"epoch":{},"engine_version":{},"model_hash":{},"layout_hash":"{:016x}",)"
      R"("kv_address":{},"block_tokens":{},"max_context":{},"bytes_per_token":{},"role":"{}",)"
      R"("max_running":{},"loras":[{}]}})",
      json_quote(facts.engine_id), facts.epoch, json_quote(facts.engine_version),
      json_quote(facts.model_hash), facts.layout_hash, json_quote(facts.kv_address),
      facts.block_tokens.count(), facts.max_context.count(), facts.bytes_per_token.count(),
      name_of(options_.role), options_.max_running, loras);
}

}  // namespace baton::adapters
