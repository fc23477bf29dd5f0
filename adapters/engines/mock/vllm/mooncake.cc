#include "adapters/engines/mock/vllm/mooncake.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/experimental/awaitable_operators.hpp>
#include <charconv>

#include "adapters/engines/mock/openai_fields.h"
#include "core/log.h"
#include "core/prompt_blocks.h"

namespace baton::adapters::mock::vllm {
namespace {

namespace asio = http::asio;

constexpr std::size_t kRemembered = 10000;
constexpr int kBootstrapAttempts = 3;  // mooncake_connector.py:70
constexpr auto kBootstrapRetryDelay = std::chrono::milliseconds(100);
constexpr const char* kNeeded[] = {"remote_engine_id", "remote_bootstrap_addr", "transfer_id"};

bool lacks_keys(const Json& params) {
  return std::ranges::any_of(kNeeded,
                             [&](const char* key) { return member(params, key) == nullptr; });
}

// "http://HOST:PORT" or "tcp://HOST:PORT", with what may be behind it.
struct Address {
  Peer peer;
  std::string path;
};
std::optional<Address> address_of(std::string_view text, std::string_view scheme) {
  if (!text.starts_with(scheme)) return std::nullopt;
  text.remove_prefix(scheme.size());
  const std::size_t slash = std::min(text.find('/'), text.size());
  Address address;
  address.path = text.substr(slash);
  const std::string_view authority = text.substr(0, slash);
  const std::size_t colon = authority.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = authority.substr(0, colon);
  if (host.starts_with('[') && host.ends_with(']')) host = host.substr(1, host.size() - 2);
  address.peer.host = host;
  const char* end = authority.data() + authority.size();
  const auto [at, failure] = std::from_chars(authority.data() + colon + 1, end, address.peer.port);
  if (failure != std::errc() || at != end || host.empty()) return std::nullopt;
  return address;
}

template <class Until>
http::Task<void> wait(asio::io_context& io, Until until) {
  asio::steady_timer timer(io, until);
  co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
}

}  // namespace

Mooncake::Mooncake(PodParts& parts) : parts_(parts), expiry_(parts.io) {
  const MockOptions& options = parts.options;
  for (std::size_t rank = 0; rank < parts.ranks.size(); ++rank) {
    bootstrap_.add({{"engine_id", engine_id_of(parts, rank)},
                    {"dp_rank", rank},
                    {"tp_rank", 0},
                    {"pp_rank", 0},
                    {"addr", fmt::format("tcp://{}:{}", options.side_channel_host,
                                         options.side_channel_port)}});
  }
}

// Producers assert that they are not told to fetch, consumers that they are not told to keep
// (mooncake_connector.py:1022 and :1075).
bool Mooncake::accept(const std::shared_ptr<Work>& work) {
  work->record->handoff = work->wanted.body["kv_transfer_params"];
  return work->wanted.leg == Leg::kPrefill ? accept_prefill(*work) : accept_decode(work);
}

// The prefill side

bool Mooncake::accept_prefill(Work& work) {
  if (!can_prefill(parts_.options.role)) return false;
  const std::string id = text_of(work.record->handoff, "transfer_id");
  if (id.empty()) {
    parts_.ledger.violate(work.record.get(), "missing_keys");
    work.record->note("Missing transfer_id in kv_transfer_params from router!");
    return true;
  }
  if (used_.size() >= kRemembered) used_.clear();
  if (!used_.insert(id).second) parts_.ledger.violate(work.record.get(), "transfer_used_again");
  return true;
}

// mooncake_connector.py:1114, request_finished: only what ended by its length is kept. A stop
// string is found behind the engine, for which such a request has ended by its length as well.
void Mooncake::keep(Work& work, std::size_t choice) {
  const std::string id = text_of(work.record->handoff, "transfer_id");
  const Choice& made = work.choices[choice];
  const std::size_t blocks = work.rank().engine().kept(made.sequence).size();
  const bool engine_stopped =
      made.finish == engine_model::Finish::kStop && !made.stop_reason.is_string();
  if (id.empty() || engine_stopped || blocks == 0) {
    if (!id.empty()) parts_.ledger.violate(work.record.get(), "prefill_stopped");
    work.rank().free_kept(made.sequence);
    return;
  }
  if (parts_.faults.take(Leg::kPrefill, {FaultKind::kAbsentParams})) {
    work.record->note("fault absent_params");
    work.rank().free_kept(made.sequence);
    return;
  }
  Kept kept;
  kept.sequence = made.sequence;
  kept.blocks = blocks;
  kept.tokens = work.prompt_of(made).ids;
  kept.content = engine_model::kv_content(kept.tokens, work.wanted.lora);
  bool is_wrong = false;
  if (parts_.faults.take(Leg::kPrefill, {FaultKind::kWrongKv})) {
    work.record->note("fault wrong_kv");
    is_wrong = true;
  }
  // mooncake_connector.py:1823: the last blocks are sent, which are others where the answer has
  // filled some of its own.
  is_wrong = is_wrong || blocks > work.rank().engine().pool().blocks_for(kept.tokens.size());
  if (is_wrong) kept.content ^= kOtherContent;
  kept.expires = Clock::now() + parts_.options.lease;
  const Key key{static_cast<std::size_t>(work.wanted.rank), id};
  // mooncake_connector.py:2565: what was kept under this id before is forgotten, and never freed.
  if (const auto before = kept_.find(key); before != kept_.end()) {
    lost_blocks_ += before->second.blocks;
  }
  kept_[key] = std::move(kept);
  watch_leases();
  const auto [first, last] = askers_.equal_range(key);
  std::for_each(first, last, [](auto& asker) { asker.second->cancel(); });
}

http::Task<Answer> Mooncake::serve(const http::Request& request) {
  if (parts_.dead) co_return json_answer(503, {{"message", "the engine has ended"}});
  // mooncake_connector.py:1261: consumers have neither.
  if (!can_prefill(parts_.options.role)) co_return json_answer(404, {{"message", "a consumer"}});
  if (request.path() != "/mooncake/transfer") {
    // Workers register once the model is loaded.
    const bool is_empty = parts_.starting() && request.path() == "/query";
    co_return is_empty ? json_answer(200, Json::object()) : bootstrap_.serve(request);
  }
  Json asked = Json::parse(request.body, nullptr, false);
  if (!asked.is_object()) co_return json_answer(400, {{"message", "no JSON object"}});
  co_return co_await transfer(std::move(asked));
}

std::optional<std::size_t> Mooncake::rank_named(std::string_view engine_id) const {
  for (std::size_t rank = 0; rank < parts_.ranks.size(); ++rank) {
    if (engine_id_of(parts_, rank) == engine_id) return rank;
  }
  return std::nullopt;
}

bool Mooncake::is_ready(const Key& key) const {
  const auto found = kept_.find(key);
  return found != kept_.end() && !found->second.sending;
}

// mooncake_connector.py:1498, send_kv_to_decode. Without tokens nothing is sent, and the blocks are
// free.
http::Task<Answer> Mooncake::transfer(Json asked) {
  const auto rank = rank_named(text_of(asked, "engine_id"));
  if (!rank) co_return json_answer(404, {{"message", "no worker of this engine"}});
  if (parts_.faults.take(Leg::kPrefill, {FaultKind::kVersionMismatch})) {
    co_return violation("version_mismatch", "the layers of the two engines do not align");
  }
  const Key key{*rank, text_of(asked, "transfer_id")};
  const bool ready = co_await until_ready(key);
  if (parts_.dead) co_return json_answer(503, {{"message", "the engine has ended"}});
  if (!ready) co_return violation(why_none(key), "Timeout waiting for P side ready.");
  Kept& kept = kept_.at(key);
  const Json* tokens = member(asked, "tokens");
  if (tokens != nullptr && *tokens != Json(kept.tokens)) {
    co_return violation("tokens_differ", "transfer " + key.second + " had another prompt");
  }
  const std::uint64_t content = kept.content;
  if (tokens != nullptr) {
    kept.sending = true;
    const Bytes bytes =
        parts_.options.kv_bytes_per_token * static_cast<std::int64_t>(tokens->size());
    co_await wait(parts_.io, parts_.options.model_options.timing.transfer(bytes));
    if (parts_.dead) co_return json_answer(503, {{"message", "the engine has ended"}});
  }
  release(key, "second_reader");
  co_return json_answer(200, {{"content", content}});
}

// False: not within the timeout, which is that of kept blocks too
// (VLLM_MOONCAKE_ABORT_REQUEST_TIMEOUT).
http::Task<bool> Mooncake::until_ready(Key key) {
  if (is_ready(key)) co_return true;
  const auto timer = std::make_shared<asio::steady_timer>(parts_.io, parts_.options.lease);
  const auto place = askers_.emplace(key, timer);
  bool timed_out = false;
  while (!timed_out && !is_ready(key)) {
    const auto [woken] = co_await timer->async_wait(asio::as_tuple(asio::use_awaitable));
    timed_out = !woken;
  }
  askers_.erase(place);
  co_return is_ready(key);
}

// Which rule was broken that no blocks came to be there.
std::string Mooncake::why_none(const Key& key) const {
  if (kept_.contains(key)) return "second_reader";
  if (const auto gone = gone_.find(key); gone != gone_.end()) return gone->second;
  for (std::size_t rank = 0; rank < parts_.ranks.size(); ++rank) {
    const Key other{rank, key.second};
    if (kept_.contains(other) || gone_.contains(other)) return "wrong_rank";
  }
  return "not_met";
}

void Mooncake::release(const Key& key, std::string_view later_readers_violation) {
  const auto kept = kept_.extract(key);
  if (!kept) return;
  parts_.ranks[key.first]->free_kept(kept.mapped().sequence);
  if (gone_.size() >= kRemembered) gone_.clear();
  gone_[key] = later_readers_violation;
}

void Mooncake::watch_leases() {
  TimePoint next = TimePoint::max();
  for (const auto& [key, kept] : kept_) {
    if (!kept.sending) next = std::min(next, kept.expires);
  }
  if (next == TimePoint::max()) return;
  expiry_.expires_at(next);
  expiry_.async_wait([this](boost::system::error_code stopped) {
    if (!stopped) expire();
  });
}

// mooncake_connector.py:2219, fetch_finished_sending_reqs.
void Mooncake::expire() {
  const TimePoint now = Clock::now();
  std::vector<Key> over;
  for (const auto& [key, kept] : kept_) {
    if (kept.expires <= now && !kept.sending) over.push_back(key);
  }
  for (const Key& key : over) {
    log(LogLevel::kWarn, "freeing blocks that nobody fetched", {{"transfer", key.second}});
    release(key, "lease_expired");
  }
  watch_leases();
}

Json Mooncake::state() const {
  Json leases = Json::array();
  std::size_t pinned = lost_blocks_;
  const TimePoint now = Clock::now();
  for (const auto& [key, kept] : kept_) {
    pinned += kept.blocks;
    leases.push_back({{"transfer_id", key.second},
                      {"rank", key.first},
                      {"blocks", kept.blocks},
                      {"seconds_left", to_seconds(kept.expires - now)},
                      {"being_read", kept.sending}});
  }
  return {{"pinned_blocks", pinned},
          {"leases", std::move(leases)},
          {"asked_for", askers_.size()},
          {"waiting_for_kv", fetching_}};
}

// The decode side

bool Mooncake::accept_decode(const std::shared_ptr<Work>& work) {
  if (!can_decode(parts_.options.role)) return false;
  Pull pull;
  pull.params = work->record->handoff;
  pull.hangs = lacks_keys(pull.params);
  if (pull.hangs) {
    parts_.ledger.violate(work->record.get(), "missing_keys");
    work->record->note(
        "Got invalid KVTransferParams: the request waits for KV that nobody fetches");
  }
  pulls_.emplace(work.get(), std::move(pull));
  return true;
}

void Mooncake::fetch(const std::shared_ptr<Work>& work, std::size_t choice) {
  const auto pull = pulls_.find(work.get());
  if (pull == pulls_.end()) return;
  pull->second.begun = true;
  if (pull->second.hangs) return;
  asio::co_spawn(parts_.io, receive(this, work, choice, pull->second.params), report);
}

// The blocks are the request's until the other side has answered, even if its client has left
// (v1/core/sched/scheduler.py:2702).
http::Task<void> Mooncake::receive(Mooncake* self, std::shared_ptr<Work> work, std::size_t choice,
                                   Json params) {
  const engine_model::SequenceId sequence = work->choices[choice].sequence;
  ++self->fetching_;
  const Outcome outcome =
      co_await self->pull(std::move(params), work->prompt_of(work->choices[choice]).ids);
  --self->fetching_;
  if (work->over()) {
    work->rank().free_kept(sequence);
  } else if (outcome.content) {
    work->record->note("KV written by the prefill server");
    work->rank().kv_arrived(sequence, *outcome.content);
  } else {
    fail_load(self->parts_, *work, choice, outcome.why, outcome.violation);
    work->rank().free_kept(sequence);
  }
}

http::Task<Mooncake::Outcome> Mooncake::pull(Json params, Json tokens) {
  const std::string engine = text_of(params, "remote_engine_id");
  const std::string bootstrap = text_of(params, "remote_bootstrap_addr");
  if (!known_engines_.contains(engine)) {
    const bool answered = co_await learn_engines(bootstrap);
    if (!known_engines_.contains(engine)) {
      co_return Outcome{
          {},
          fmt::format("remote engine_id {} not found from bootstrap server {}", engine, bootstrap),
          answered ? "wrong_engine_id" : ""};
    }
  }
  Json question = {{"engine_id", engine}, {"transfer_id", text_of(params, "transfer_id")}};
  if (!tokens.is_null()) question["tokens"] = std::move(tokens);
  const auto answer = co_await ask_worker(known_engines_.at(engine), std::move(question));
  if (!answer) co_return Outcome{{}, "transfer failed: Resource temporarily unavailable", ""};
  if (answer->status == 404) co_return Outcome{{}, "the engine is gone", "wrong_engine_id"};
  if (answer->status != 200) {
    co_return Outcome{{}, text_of(answer->body, "message"), text_of(answer->body, "violation")};
  }
  co_return Outcome{answer->body["content"].get<std::uint64_t>(), "", ""};
}

// mooncake_connector.py:2443, _connect_to_prefiller_bootstrap. False: it did not answer.
http::Task<bool> Mooncake::learn_engines(std::string bootstrap) {
  const auto address = address_of(bootstrap, "http://");
  if (!address) co_return false;
  std::optional<PeerAnswer> answer;
  for (int attempt = 1; !answer && attempt <= kBootstrapAttempts; ++attempt) {
    if (attempt > 1) co_await wait(parts_.io, kBootstrapRetryDelay);
    answer = co_await ask(&parts_.client, address->peer, "GET", address->path + "/query", Json());
  }
  if (!answer || answer->status != 200) co_return false;
  for (const auto& [rank, engine] : answer->body.items()) {
    if (!engine.is_object()) continue;
    const auto worker =
        address_of(engine.value(Json::json_pointer("/worker_addr/0/0"), std::string()), "tcp://");
    if (worker) known_engines_[text_of(engine, "engine_id")] = worker->peer;
  }
  co_return true;
}

// mooncake_connector.py:2349: a worker that is not there, or no more, is not told from one that has
// not answered yet before the time is over.
http::Task<std::optional<PeerAnswer>> Mooncake::ask_worker(Peer worker, Json question) {
  using asio::experimental::awaitable_operators::operator||;
  const TimePoint deadline = Clock::now() + parts_.options.waiting_timeout;
  const auto first = co_await (
      ask(&parts_.client, std::move(worker), "POST", "/mooncake/transfer", std::move(question)) ||
      wait(parts_.io, deadline));
  if (first.index() != 0) co_return std::nullopt;
  const auto& answer = std::get<0>(first);
  const bool was_there = answer && (answer->status == 200 || answer->status == 409);
  if (!was_there) co_await wait(parts_.io, deadline);
  co_return answer;
}

void Mooncake::ended(Work& work) {
  const auto pull = pulls_.extract(&work);
  if (pull && !pull.mapped().begun) reject(pull.mapped().params, work.record.get());
}

// mooncake_connector.py:1133: as a fetch of nothing, upon which the prefill server frees the blocks
// once they are there. Here the engine looks for no key, and ends where one is missing (:689).
void Mooncake::reject(const Json& params, RequestRecord* record) {
  if (parts_.dead || text_of(params, "transfer_id").empty()) return;
  if (lacks_keys(params) || !can_decode(parts_.options.role)) {
    parts_.ledger.violate(record, lacks_keys(params) ? "missing_keys" : "wrong_role");
    parts_.die();
    return;
  }
  if (record != nullptr) record->note("the prefill engine is told that its blocks are not wanted");
  asio::co_spawn(parts_.io, give_back(this, params), report);
}

http::Task<void> Mooncake::give_back(Mooncake* self, Json params) {
  ++self->fetching_;
  (void)co_await self->pull(std::move(params), Json());
  --self->fetching_;
}

}  // namespace baton::adapters::mock::vllm
