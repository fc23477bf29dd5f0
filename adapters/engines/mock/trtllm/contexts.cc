#include "adapters/engines/mock/trtllm/contexts.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <utility>

#include "adapters/engines/mock/openai_fields.h"
#include "adapters/engines/mock/side_channel.h"
#include "adapters/engines/mock/trtllm/answers.h"

namespace baton::adapters::mock::trtllm {
namespace {

namespace asio = http::asio;

constexpr std::size_t kRemembered = 100000;

constexpr std::string_view kDigits =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string to_base64(std::string_view bytes) {
  std::string text;
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    std::uint32_t word = 0;
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - i);
    for (std::size_t k = 0; k < 3; ++k) {
      word = word << 8U | (k < count ? static_cast<unsigned char>(bytes[i + k]) : 0U);
    }
    for (std::size_t k = 0; k < 4; ++k) {
      text += k <= count ? kDigits[word >> (18 - 6 * k) & 63U] : '=';
    }
  }
  return text;
}

std::optional<std::string> from_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::string bytes;
  std::uint32_t word = 0;
  int bits = 0;
  while (text.ends_with('=')) text.remove_suffix(1);
  for (const char c : text) {
    const std::size_t digit = kDigits.find(c);
    if (digit == std::string_view::npos) return std::nullopt;
    word = word << 6U | static_cast<std::uint32_t>(digit);
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes += static_cast<char>(word >> static_cast<unsigned>(bits) & 0xffU);
  }
  return bytes;
}

}  // namespace

std::string OpaqueState::encode() const {
  return to_base64(dump({{"host", host}, {"port", port}, {"ctx_request_id", ctx_request_id}}));
}

std::optional<OpaqueState> OpaqueState::decode(const std::string& text) {
  const auto bytes = from_base64(text);
  if (!bytes) return std::nullopt;
  const Json state = Json::parse(*bytes, nullptr, false);
  if (!state.is_object() || member(state, "host") == nullptr) return std::nullopt;
  return OpaqueState{text_of(state, "host"),
                     static_cast<std::uint16_t>(integer_of(state, "port", 0)),
                     integer_of(state, "ctx_request_id", 0)};
}

Contexts::Contexts(PodParts& parts) : parts_(parts), expiry_(parts.io) {}

// The context side

void Contexts::keep(Work& work, std::size_t choice) {
  const Choice& made = work.choices[choice];
  const auto kept = work.rank().engine().kept(made.sequence);
  if (kept.empty()) return;
  if (parts_.faults.take(Leg::kPrefill, {FaultKind::kAbsentParams})) {
    work.record->note("fault absent_params");
    work.rank().free_kept(made.sequence);
    return;
  }
  const Json& asked = work.wanted.body["disaggregated_params"];
  Context context;
  context.disagg_request_id = integer_of(asked, "disagg_request_id", 0);
  context.rank = static_cast<std::size_t>(work.wanted.rank);
  context.sequence = made.sequence;
  context.tokens = work.prompt_of(made).ids;
  context.first_tokens = made.tokens;
  context.content = engine_model::kv_content(context.tokens, work.wanted.lora);
  if (parts_.faults.take(Leg::kPrefill, {FaultKind::kWrongKv})) {
    work.record->note("fault wrong_kv");
    context.content ^= kOtherContent;
  }
  context.blocks = kept.size();
  context.expires = Clock::now() + parts_.options.lease;
  // llmapi/disagg_utils.py: the orchestrator's id is the context's, too, where one is given.
  const bool own = context.disagg_request_id == 0 || choice > 0;
  const std::int64_t id = own ? ++last_id_ : context.disagg_request_id;
  context.opaque =
      OpaqueState{parts_.options.side_channel_host, parts_.options.side_channel_port, id}.encode();
  if (work.handoff.is_null()) {
    work.handoff = {{"request_type", "context_only"},
                    {"first_gen_tokens", context.first_tokens},
                    {"first_gen_log_probs", nullptr},
                    {"first_gen_logits", nullptr},
                    {"ctx_request_id", id},
                    {"encoded_opaque_state", context.opaque},
                    {"draft_tokens", nullptr},
                    {"disagg_request_id", asked.value("disagg_request_id", Json())},
                    {"ctx_dp_rank", work.wanted.rank},
                    {"ctx_info_endpoint", nullptr},
                    {"schedule_style", asked.value("schedule_style", Json())},
                    {"ctx_usage", nullptr},
                    {"return_prompt_token_ids_b64", false},
                    {"resolved_thinking", nullptr}};
    work.record->handoff = work.handoff;
  }
  // An answer that is complete needs no generation server (py_executor.py sends its KV to nobody).
  if (made.finish == engine_model::Finish::kStop) {
    work.rank().free_kept(made.sequence);
    gone_[id] = "complete";
    return;
  }
  if (contexts_.contains(id)) parts_.ledger.violate(work.record.get(), "disagg_request_id_in_use");
  release(id, "replaced");
  gone_.erase(id);
  contexts_.emplace(id, std::move(context));
  watch();
}

http::Task<Answer> Contexts::serve(const http::Request& request) {
  const Json asked = Json::parse(request.body, nullptr, false);
  if (request.path() != "/trtllm/read" || !asked.is_object()) {
    co_return json_answer(404, {{"message", "no such message"}});
  }
  if (parts_.faults.take(Leg::kPrefill, {FaultKind::kVersionMismatch})) {
    co_return violation("version_mismatch", "the cache formation is not supported");
  }
  co_return answer_read(asked);
}

Answer Contexts::answer_read(const Json& asked) {
  const std::int64_t id = integer_of(asked, "ctx_request_id", 0);
  const auto found = contexts_.find(id);
  if (found == contexts_.end()) {
    const auto gone = gone_.find(id);
    if (gone == gone_.end()) {
      return violation("unknown_context", fmt::format("no context request {}", id));
    }
    return violation(gone->second == "expired" ? "context_expired" : "second_reader",
                     fmt::format("the KV of context request {} is gone: {}", id, gone->second));
  }
  const Context& context = found->second;
  const auto differs = [&](const char* name, const Json& own) {
    const Json* told = member(asked, name);
    return told == nullptr || *told != own;
  };
  if (differs("disagg_request_id", context.disagg_request_id) && context.disagg_request_id != 0) {
    return violation("disagg_request_id_differs", fmt::format("context request {}", id));
  }
  if (differs("encoded_opaque_state", context.opaque)) {
    return violation("opaque_state_differs", fmt::format("context request {}", id));
  }
  if (differs("first_gen_tokens", context.first_tokens)) {
    return violation("first_tokens_differ", fmt::format("context request {}", id));
  }
  if (differs("tokens", context.tokens)) {
    return violation("tokens_differ", fmt::format("context request {} had another prompt", id));
  }
  const std::uint64_t content = context.content;
  release(id, "fetched");
  return json_answer(200, {{"content", content}});
}

void Contexts::release(std::int64_t id, std::string_view why) {
  const auto context = contexts_.extract(id);
  if (!context) return;
  parts_.ranks[context.mapped().rank]->free_kept(context.mapped().sequence);
  if (gone_.size() >= kRemembered) gone_.clear();
  gone_[id] = why;
}

void Contexts::watch() {
  if (contexts_.empty()) return;
  TimePoint next = TimePoint::max();
  for (const auto& [id, context] : contexts_) next = std::min(next, context.expires);
  expiry_.expires_at(next);
  expiry_.async_wait([this](boost::system::error_code stopped) {
    if (stopped) return;
    std::vector<std::int64_t> over;
    for (const auto& [id, context] : contexts_) {
      if (context.expires <= Clock::now()) over.push_back(id);
    }
    for (const std::int64_t id : over) {
      ++expired_;
      release(id, "expired");
    }
    watch();
  });
}

Json Contexts::waiting() const {
  std::size_t blocks = 0;
  for (const auto& [id, context] : contexts_) blocks += context.blocks;
  return {{"pinned_blocks", blocks}, {"contexts", contexts_.size()}, {"expired", expired_}};
}

// The generation side

void Contexts::fetch(const std::shared_ptr<Work>& work, std::size_t choice) {
  asio::co_spawn(parts_.io, read(this, work, choice), report);
}

http::Task<void> Contexts::read(Contexts* self, std::shared_ptr<Work> work, std::size_t choice) {
  PodParts& parts = self->parts_;
  const Json params = work->wanted.body["disaggregated_params"];
  const auto state = OpaqueState::decode(text_of(params, "encoded_opaque_state"));
  if (!state) {
    parts.ledger.violate(work->record.get(), "opaque_state_differs");
    self->fail(*work, "the opaque state is none of this engine's");
    co_return;
  }
  const std::vector<TokenId> tokens = work->prompt_of(work->choices[choice]).ids;
  Json question = {{"tokens", tokens}};
  for (const char* name :
       {"ctx_request_id", "disagg_request_id", "encoded_opaque_state", "first_gen_tokens"}) {
    question[name] = params.value(name, Json());
  }
  http::ClientRequest request{
      "POST", "/trtllm/read", {{"content-type", "application/json"}}, dump(question)};
  auto exchange = co_await parts.client.send(state->host, state->port, std::move(request));
  if (!exchange) {
    self->fail(*work, "the context server does not answer");
    co_return;
  }
  const auto body = co_await (*exchange)->read_all(Bytes(1LL << 20));
  const Json answer = body ? Json::parse(*body, nullptr, false) : Json();
  if ((*exchange)->status() != 200 || !answer.is_object()) {
    const std::string violation = text_of(answer, "violation");
    if (!violation.empty()) parts.ledger.violate(work->record.get(), violation);
    self->fail(*work, text_of(answer, "message"));
    co_return;
  }
  const Bytes bytes = parts.options.kv_bytes_per_token * static_cast<std::int64_t>(tokens.size());
  const Duration takes = parts.options.model_options.timing.transfer(bytes);
  if (takes > Duration::zero()) {
    asio::steady_timer timer(parts.io, takes);
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  work->record->note("KV fetched");
  if (!work->over()) work->rank().kv_arrived(work->choices[choice].sequence, answer["content"]);
}

// py_executor.py, _check_cache_transfer_errors.
void Contexts::fail(Work& work, const std::string& why) {
  ++failed_;
  work.record->note("KV transfer failed: " + why);
  const Answer answer = error_answer("Error in kv cache transfer for generation requests");
  work.fail({answer.status, answer.body});
}

}  // namespace baton::adapters::mock::trtllm
