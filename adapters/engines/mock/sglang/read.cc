#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "adapters/engines/mock/openai_fields.h"
#include "adapters/engines/mock/sglang/sglang_dress.h"
#include "core/ids.h"
#include "core/prompt_blocks.h"

namespace baton::adapters::mock::sglang {
namespace {

Answer bad_request(const std::string& message) {
  return error_answer(400, "BadRequestError", message);
}

// The room of a request's first prompt, where it names one that is a number.
std::optional<std::int64_t> first_room(const Json& body) {
  const Json* room = member(body, "bootstrap_room");
  if (room != nullptr && room->is_array()) room = room->empty() ? nullptr : &room->front();
  if (room == nullptr || !room->is_number()) return std::nullopt;
  return room->get<std::int64_t>();
}

// A room travels as int64 (metadata buffers in disaggregation/utils.py), and a JSON number with a
// point or an exponent has lost digits above 2^53.
bool is_int64(const Json& room) {
  if (room.is_number_unsigned()) {
    return room.get<std::uint64_t>() <= static_cast<std::uint64_t>(INT64_MAX);
  }
  return room.is_number_integer() && room.get<std::int64_t>() >= 0;
}

std::optional<int> rank_in(const http::Request& request, const Json& body) {
  const std::string_view text = request.field("x-data-parallel-rank");
  int rank = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), rank);
  if (!text.empty() && failure == std::errc() && end == text.data() + text.size()) return rank;
  for (const char* name : {"routed_dp_rank", "data_parallel_rank"}) {
    if (member(body, name) != nullptr) return static_cast<int>(integer_of(body, name, 0));
  }
  return std::nullopt;
}

}  // namespace

std::expected<Generation, Answer> SglangDress::read(Api api, const http::Request& request,
                                                    RequestRecord& record) {
  auto body = parse_body(request);
  if (!body) return std::unexpected(std::move(body.error()));
  if (auto refusal = check_types(api, *body)) return std::unexpected(std::move(*refusal));
  if (auto wrong = check_values(api, *body, parts_.tokenizer.size())) {
    return std::unexpected(bad_request(*wrong));
  }
  Generation wanted;
  wanted.api = api;
  wanted.model = text_of(*body, "model").empty() ? "default" : text_of(*body, "model");
  if (auto refusal = find_lora(*body, wanted)) return std::unexpected(std::move(*refusal));
  if (parts_.options.role != Role::kBoth) {
    wanted.leg = parts_.options.role == Role::kPrefill ? Leg::kPrefill : Leg::kDecode;
  }
  record.leg = wanted.leg;
  // What the prefill server draws, the decode server has from it: the same seed on both.
  const std::uint64_t drawn = parts_.rng();
  const auto room = wanted.leg == Leg::kPlain ? std::nullopt : first_room(*body);
  read_openai_fields(*body, room ? chain_seed(std::to_string(*room), "sampling") : drawn, wanted);
  wanted.include_stop = is_true(*body, "no_stop_trim");
  wanted.return_token_ids = wanted.return_token_ids || is_true(*body, "return_prompt_token_ids");
  wanted.salt += text_of(*body, "extra_key");
  read_shape(*body, wanted);
  if (auto refusal = read_prompts(*body, wanted)) return std::unexpected(std::move(*refusal));
  const Json* rid = member(*body, "rid");
  wanted.id =
      rid != nullptr && rid->is_string() ? rid->get<std::string>() : Id128::draw(parts_.rng).str();
  wanted.body = std::move(*body);
  const std::optional<int> rank = rank_in(request, wanted.body);
  if (rank && (*rank < 0 || *rank >= parts_.options.data_parallel_size)) {
    return std::unexpected(bad_request(fmt::format("routed_dp_rank={} out of range [0, {})", *rank,
                                                   parts_.options.data_parallel_size)));
  }
  if (auto wrong = check_rooms(wanted, record)) {
    const Failure failure = engine_failure(400, *wrong);
    if (!wanted.stream) return std::unexpected(Answer{failure.status, failure.body});
    wanted.late_failure = failure;
    wanted.leg = Leg::kPlain;
  }
  wanted.rank = rank ? *rank : choose_rank(wanted);
  return wanted;
}

// serving_base.py:40: MODEL:ADAPTER, else lora_path; the model's own name is not looked at.
std::optional<Answer> SglangDress::find_lora(const Json& body, Generation& into) const {
  const std::size_t colon = into.model.find(':');
  std::string name = text_of(body, "lora_path");
  if (colon != std::string::npos) name = into.model.substr(colon + 1);
  if (name.empty()) return std::nullopt;
  for (const auto& [lora, path] : parts_.options.loras) {
    if (lora != name) continue;
    into.lora = lora;
    return std::nullopt;
  }
  return bad_request(fmt::format(
      "The following requested LoRA adapters are not loaded: {{'{}'}}\nLoaded adapters: {}.", name,
      parts_.options.loras.size()));
}

// managers/scheduler.py:2374: a server in one of the modes takes no request without a room. What
// else is wrong with rooms it does not see: it is counted.
std::optional<std::string> SglangDress::check_rooms(const Generation& wanted,
                                                    RequestRecord& record) {
  const auto violate = [&](std::string_view name) { parts_.ledger.violate(&record, name); };
  if (wanted.leg == Leg::kPlain) {
    if (member(wanted.body, "bootstrap_room") != nullptr) violate("room_at_plain_server");
    return std::nullopt;
  }
  const std::size_t prompts = wanted.prompts.size();
  const auto meetings = Rooms::meetings_of(
      wanted.body, prompts, prompts * static_cast<std::size_t>(wanted.n), kDefaultPort);
  if (meetings.empty()) {
    violate("no_room");
    return fmt::format(
        "Invalid request: Disaggregated request received without bootstrap room id. req.rid='{}'",
        wanted.id);
  }
  if (wanted.n > 1) violate("several_answers_in_one_room");
  const Json& rooms = wanted.body["bootstrap_room"];
  const bool list = rooms.is_array();
  if (list && rooms.size() != prompts) violate("rooms_do_not_match_prompts");
  for (const Json& room : list ? rooms : Json::array({rooms})) {
    if (!is_int64(room)) violate("room_is_no_int64");
  }
  if (meetings.front().host.empty()) violate("no_bootstrap_host");
  record.handoff = {{"bootstrap_room", rooms},
                    {"bootstrap_host", meetings.front().host},
                    {"bootstrap_port", meetings.front().port}};
  return std::nullopt;
}

// With several ranks, the room says which (server_args.py, follow_bootstrap_room).
int SglangDress::choose_rank(const Generation& wanted) const {
  const auto room = first_room(wanted.body);
  if (wanted.leg != Leg::kPlain && room && *room >= 0) {
    return static_cast<int>(*room % parts_.options.data_parallel_size);
  }
  const auto least = std::ranges::min_element(
      parts_.ranks, {}, [](const auto& rank) { return rank->engine().live(); });
  return static_cast<int>(least - parts_.ranks.begin());
}

std::optional<Answer> SglangDress::read_prompts(const Json& body, Generation& into) const {
  const MockTokenizer& tokenizer = parts_.tokenizer;
  if (into.api == Api::kChat) {
    Prompt prompt{render_chat(body), {}, 0};
    const Json* ids = member(body, "input_ids");
    prompt.ids = ids != nullptr ? token_ids_of(*ids) : tokenizer.encode(prompt.text, false);
    return fit_prompt(body, into, std::move(prompt));
  }
  const auto from_text = [&](const Json& text) {
    std::string plain = text.get<std::string>();
    auto ids = tokenizer.encode(plain, true);
    return fit_prompt(body, into, Prompt{std::move(plain), std::move(ids), 0});
  };
  const auto from_ids = [&](const Json& list) {
    auto ids = token_ids_of(list);
    std::string text = tokenizer.decode(ids);
    return fit_prompt(body, into, Prompt{std::move(text), std::move(ids), 0});
  };
  const Json& given = body["prompt"];
  if (given.is_string()) return from_text(given);
  if (given.front().is_number()) return from_ids(given);
  for (const Json& one : given) {
    if (auto refusal = one.is_string() ? from_text(one) : from_ids(one)) return refusal;
  }
  return std::nullopt;
}

// managers/tokenizer_manager.py:1140, _validate_one_request, and :1296.
std::optional<Answer> SglangDress::fit_prompt(const Json& body, Generation& into,
                                              Prompt prompt) const {
  const auto limit = static_cast<std::int64_t>(parts_.options.max_model_len.count());
  const auto length = static_cast<std::int64_t>(prompt.ids.size());
  const bool chat = into.api == Api::kChat;
  if (length == 0) return bad_request("Prompt cannot be empty");
  if (*std::ranges::max_element(prompt.ids) >= parts_.tokenizer.size()) {
    return bad_request(
        fmt::format("The input_ids {} contains values greater than the vocab size ({}).",
                    dump(Json(prompt.ids)), parts_.tokenizer.size()));
  }
  if (length >= limit) {
    return bad_request(
        fmt::format("The input ({} tokens) is longer than the model's context length ({} tokens).",
                    length, limit));
  }
  const bool newer = chat && member(body, "max_completion_tokens") != nullptr;
  const char* name = newer ? "max_completion_tokens" : "max_tokens";
  const bool given = member(body, name) != nullptr;
  const std::int64_t asked = integer_of(body, name, 16);
  if ((given || !chat) && asked + length > limit) {
    return bad_request(fmt::format(
        "Requested token count exceeds the model's maximum context length of {} tokens. You "
        "requested a total of {} tokens: {} tokens from the input messages and {} tokens for the "
        "completion. Please reduce the number of tokens in the input messages or the completion to "
        "fit within the limit.",
        limit, asked + length, length, asked));
  }
  // scheduler.py, init_req_max_new_tokens: one place is kept free.
  const std::int64_t most = std::max<std::int64_t>(limit - length - 1, 1);
  prompt.max_tokens = static_cast<int>(given || !chat ? std::min(asked, most) : most);
  into.prompts.push_back(std::move(prompt));
  return std::nullopt;
}

}  // namespace baton::adapters::mock::sglang
