#include "adapters/engines/mock/vllm/nixl.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>

#include "adapters/engines/mock/openai_fields.h"
#include "adapters/engines/mock/side_channel.h"
#include "adapters/engines/mock/vllm/vllm_dress.h"
#include "core/log.h"
#include "core/prompt_blocks.h"

namespace baton::adapters::mock::vllm {
namespace {

constexpr int kConnectorVersion = 7;  // nixl/metadata.py, NIXL_CONNECTOR_VERSION
constexpr std::size_t kRemembered = 10000;
constexpr const char* kNeeded[] = {"remote_engine_id", "remote_request_id", "remote_host",
                                   "remote_port"};

Json first_group(const Json& ids) {
  if (ids.is_array() && !ids.empty() && ids.front().is_array()) return ids.front();
  return ids;
}

}  // namespace

Nixl::Nixl(PodParts& parts, Metrics& metrics)
    : parts_(parts), metrics_(metrics), expiry_(parts.io) {}

// nixl/metadata.py, compute_nixl_compatibility_hash: what must be the same on both sides.
std::string Nixl::compatibility_hash() const {
  const MockOptions& options = parts_.options;
  const std::string all =
      fmt::format("{}|{}|{}|{}|{}|{}", kVersion, kConnectorVersion, options.model,
                  options.kv_bytes_per_token.count(), options.model_options.block_tokens.count(),
                  pushes() ? "push" : "pull");
  return fmt::format("{:016x}", chain_seed(all, ""));
}

// The prefill side

// v1/engine/input_processor.py:371: 8 hex digits make it unique; completion/serving.py:173 and
// v1/engine/parallel_sampling.py: which prompt and which of n.
std::string Nixl::engine_request_id(const Work& work, std::size_t choice) {
  const Generation& wanted = work.wanted;
  std::string id = wanted.id;
  if (wanted.api == Api::kCompletions) id += fmt::format("-{}", work.choices[choice].prompt);
  id += fmt::format("-{:08x}", static_cast<std::uint32_t>(parts_.rng()));
  if (wanted.n > 1) id = fmt::format("{}_{}", choice % static_cast<std::size_t>(wanted.n), id);
  return id;
}

void Nixl::keep(Work& work, std::size_t choice) {
  const Choice& made = work.choices[choice];
  const auto kept = work.rank().engine().kept(made.sequence);
  if (kept.empty()) return;
  if (parts_.faults.take(Leg::kPrefill, {FaultKind::kAbsentParams})) {
    work.record->note("fault absent_params");
    work.rank().free_kept(made.sequence);
    return;
  }
  Lease lease;
  lease.request_id = engine_request_id(work, choice);
  lease.rank = static_cast<std::size_t>(work.wanted.rank);
  lease.sequence = made.sequence;
  lease.tokens = work.prompt_of(made).ids;
  const std::size_t blocks = work.rank().engine().pool().blocks_for(lease.tokens.size());
  lease.blocks.assign(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(blocks));
  lease.content = engine_model::kv_content(lease.tokens, work.wanted.lora);
  if (parts_.faults.take(Leg::kPrefill, {FaultKind::kWrongKv})) {
    work.record->note("fault wrong_kv");
    lease.content ^= kOtherContent;
  }
  lease.expires = Clock::now() + parts_.options.lease;
  if (work.handoff.is_null()) {
    work.handoff = {{"do_remote_prefill", true},
                    {"do_remote_decode", false},
                    {"remote_block_ids", Json::array({lease.blocks})},
                    {"remote_engine_id", engine_id_of(parts_, lease.rank)},
                    {"remote_request_id", lease.request_id},
                    {"remote_host", parts_.options.side_channel_host},
                    {"remote_port", parts_.options.side_channel_port},
                    {"tp_size", 1},
                    {"dcp_size", 1},
                    {"pp_size", 1},
                    {"remote_num_tokens", lease.tokens.size()},
                    {"remote_blocks_expiry_time", nullptr},
                    {"transfer_mode", "pull"},
                    {"remote_prefill_cached_tokens", work.cached_tokens.value_or(0)}};
    // push_scheduler.py:273 tells less.
    if (pushes()) {
      work.handoff["transfer_mode"] = "push";
      work.handoff.erase("remote_blocks_expiry_time");
      work.handoff.erase("remote_prefill_cached_tokens");
    }
    work.record->handoff = work.handoff;
  }
  const std::string id = lease.request_id;
  leases_.emplace(id, std::move(lease));
  watch_leases();
  if (pushes()) match(id);
}

http::Task<Answer> Nixl::serve(const http::Request& request) {
  const std::string_view path = request.path();
  if (path == "/nixl/metadata") {
    Json ids = Json::array();
    for (std::size_t i = 0; i < parts_.ranks.size(); ++i) ids.push_back(engine_id_of(parts_, i));
    std::string hash = compatibility_hash();
    if (parts_.faults.take(Leg::kPrefill, {FaultKind::kVersionMismatch})) hash += "-other";
    co_return json_answer(200, {{"engine_ids", ids}, {"compatibility_hash", hash}});
  }
  const Json asked = Json::parse(request.body, nullptr, false);
  if (asked.is_discarded() || !asked.is_object()) {
    co_return json_answer(400, {{"message", "no JSON object"}});
  }
  if (path == "/nixl/read") co_return read(asked);
  if (path == "/nixl/register") co_return co_await register_reader(asked);
  if (path == "/nixl/unregister") {
    if (const auto found = registrations_.extract(text_of(asked, "request_id"))) {
      found.mapped()->answer = json_answer(410, {{"message", "nobody waits"}});
      found.mapped()->ready.raise();
    }
    co_return json_answer(200, Json::object());
  }
  if (path == "/nixl/done") {
    release(text_of(asked, "request_id"), "consumed");
    co_return json_answer(200, Json::object());
  }
  if (path == "/nixl/heartbeat") {
    // base_worker.py, _handle_heartbeat: by two thirds of the lease.
    const Json* ids = member(asked, "request_ids");
    for (const Json& id : ids == nullptr ? Json::array() : *ids) {
      const auto lease = leases_.find(id.get<std::string>());
      if (lease == leases_.end()) continue;
      lease->second.expires =
          std::max(lease->second.expires, Clock::now() + parts_.options.lease * 2 / 3);
    }
    co_return json_answer(200, Json::object());
  }
  co_return json_answer(404, {{"message", "no such message"}});
}

Answer Nixl::read(const Json& asked) {
  const std::string id = text_of(asked, "request_id");
  const auto found = leases_.find(id);
  if (found == leases_.end()) {
    const auto gone = gone_.find(id);
    if (gone == gone_.end()) {
      return violation("unknown_request", "no blocks are kept for request " + id);
    }
    return violation(gone->second == "expired" ? "lease_expired" : "second_reader",
                     "the blocks of request " + id + " are gone: " + gone->second);
  }
  Lease& lease = found->second;
  if (text_of(asked, "engine_id") != engine_id_of(parts_, lease.rank)) {
    return violation("wrong_engine_id",
                     fmt::format("this is engine {}, not {}", engine_id_of(parts_, lease.rank),
                                 text_of(asked, "engine_id")));
  }
  if (lease.being_read) return violation("second_reader", "request " + id + " is being read");
  const Json* blocks = member(asked, "block_ids");
  if (blocks == nullptr || first_group(*blocks) != Json(lease.blocks)) {
    return violation("block_ids_differ", "request " + id + " has other blocks");
  }
  const Json* tokens = member(asked, "tokens");
  if (tokens == nullptr || *tokens != Json(lease.tokens)) {
    return violation("tokens_differ", "request " + id + " had another prompt");
  }
  lease.being_read = true;
  return json_answer(200, {{"content", lease.content}});
}

void Nixl::release(const std::string& request_id, std::string_view why) {
  const auto found = leases_.find(request_id);
  if (found == leases_.end()) {
    // base_worker.py: "Potentially invalid KV blocks for unrecognized request".
    if (why == "consumed") ++metrics_.rank(0).notifications_after_expiry;
    return;
  }
  parts_.ranks[found->second.rank]->free_kept(found->second.sequence);
  leases_.erase(found);
  if (gone_.size() >= kRemembered) gone_.clear();
  gone_[request_id] = why;
}

void Nixl::watch_leases() {
  if (leases_.empty()) return;
  TimePoint next = TimePoint::max();
  for (const auto& [id, lease] : leases_) next = std::min(next, lease.expires);
  expiry_.expires_at(next);
  expiry_.async_wait([this](boost::system::error_code stopped) {
    if (!stopped) expire();
  });
}

void Nixl::expire() {
  const TimePoint now = Clock::now();
  std::vector<std::string> over;
  for (const auto& [id, lease] : leases_) {
    if (lease.expires <= now) over.push_back(id);
  }
  for (const std::string& id : over) {
    ++metrics_.rank(leases_.at(id).rank).expired;
    log(LogLevel::kWarn, "releasing expired KV blocks", {{"request", id}});
    release(id, "expired");
  }
  watch_leases();
}

std::int64_t Nixl::pinned_blocks() const {
  std::size_t blocks = 0;
  for (const auto& [id, lease] : leases_) blocks += lease.blocks.size();
  return static_cast<std::int64_t>(blocks);
}

Json Nixl::leases() const {
  Json list = Json::array();
  const TimePoint now = Clock::now();
  for (const auto& [id, lease] : leases_) {
    list.push_back({{"request_id", id},
                    {"blocks", lease.blocks.size()},
                    {"seconds_left", to_seconds(lease.expires - now)},
                    {"being_read", lease.being_read}});
  }
  return list;
}

Json Nixl::state() const {
  return {{"pinned_blocks", pinned_blocks()},
          {"leases", leases()},
          {"registered", registrations_.size()}};  // push: decode legs that wait for a prefill leg
}

// The decode side

bool Nixl::accept(const std::shared_ptr<Work>& work) {
  if (work->wanted.leg != Leg::kDecode) return true;
  const Json& params = work->wanted.body["kv_transfer_params"];
  RequestRecord& record = *work->record;
  record.handoff = params;
  if (pushes()) return accept_push(work);
  // One prompt's blocks would be taken for the other's: an assertion of the engine's worker.
  if (work->wanted.prompts.size() > 1) {
    parts_.ledger.violate(&record, "prompt_array_with_kv");
    return false;
  }
  const Json* blocks = member(params, "remote_block_ids");
  if (blocks == nullptr || first_group(*blocks).empty()) {
    // pull_scheduler.py:171: assert num_external_tokens == 0.
    parts_.ledger.violate(&record, "no_block_ids");
    return false;
  }
  Pull pull;
  pull.params = params;
  for (const char* key : kNeeded) pull.hangs = pull.hangs || member(params, key) == nullptr;
  if (pull.hangs) {
    parts_.ledger.violate(&record, "missing_keys");
    record.note("Got invalid KVTransferParams: the request waits for KV that nobody fetches");
  } else {
    pull.peer = {text_of(params, "remote_host"),
                 static_cast<std::uint16_t>(integer_of(params, "remote_port", 0))};
  }
  const bool beats = !pull.hangs && member(params, "tp_size") != nullptr;
  pulls_.emplace(work.get(), std::move(pull));
  if (beats) http::asio::co_spawn(parts_.io, beat(this, work), report);
  return true;
}

void Nixl::fetch(const std::shared_ptr<Work>& work, std::size_t choice) {
  const auto pull = pulls_.find(work.get());
  if (pull == pulls_.end() || pull->second.hangs) return;
  pull->second.begun = true;
  http::asio::co_spawn(parts_.io, pushes() ? receive(this, work, choice) : run(this, work, choice),
                       report);
}

http::Task<void> Nixl::run(Nixl* self, std::shared_ptr<Work> work, std::size_t choice) {
  PodParts& parts = self->parts_;
  const Json params = self->pulls_.at(work.get()).params;
  const Peer peer = self->pulls_.at(work.get()).peer;
  const std::string id = text_of(params, "remote_request_id");
  const std::string engine = text_of(params, "remote_engine_id");
  const TimePoint begun = Clock::now();
  const std::string refused = co_await handshake(self, peer, engine, work->record.get());
  if (!refused.empty()) {
    self->fail(work, choice, "handshake: " + refused, {});
    co_return;
  }
  const std::vector<TokenId> tokens = work->prompt_of(work->choices[choice]).ids;
  Json body = {{"request_id", id}, {"engine_id", engine}};
  body["block_ids"] = params["remote_block_ids"];
  body["tokens"] = tokens;
  const auto answer =
      co_await ask(&self->parts_.client, peer, "POST", "/nixl/read", std::move(body));
  if (!answer || answer->status != 200) {
    const std::string name = answer ? text_of(answer->body, "violation") : std::string();
    self->fail(work, choice, answer ? text_of(answer->body, "message") : "no answer to the read",
               name);
    co_return;
  }
  const TimePoint posted = Clock::now();
  const Bytes bytes = parts.options.kv_bytes_per_token * static_cast<std::int64_t>(tokens.size());
  const Duration takes = parts.options.model_options.timing.transfer(bytes);
  if (takes > Duration::zero()) {
    http::asio::steady_timer timer(parts.io, takes);
    co_await timer.async_wait(http::asio::as_tuple(http::asio::use_awaitable));
  }
  co_await tell(self, peer, "/nixl/done", {{"request_id", id}});
  RankMetrics& metrics = self->metrics_.rank(static_cast<std::size_t>(work->wanted.rank));
  metrics.xfer_time.observe(to_seconds(Clock::now() - begun));
  metrics.post_time.observe(to_seconds(posted - begun));
  metrics.xfer_bytes.observe(static_cast<double>(bytes.count()));
  metrics.descriptors.observe(
      static_cast<double>(work->rank().engine().pool().blocks_for(tokens.size())));
  if (const auto pull = self->pulls_.find(work.get()); pull != self->pulls_.end()) {
    pull->second.settled = true;
  }
  work->record->note("KV fetched");
  if (!work->over()) {
    work->rank().kv_arrived(work->choices[choice].sequence, answer->body["content"]);
  }
}

// base_worker.py:1040, _nixl_handshake: once for each engine id. Empty: it is good; else the words
// of what is not.
http::Task<std::string> Nixl::handshake(Nixl* self, Peer peer, std::string engine_id,
                                        RequestRecord* record) {
  const std::string own = self->compatibility_hash();
  const auto known = self->known_engines_.find(engine_id);
  if (known != self->known_engines_.end() && known->second == own) co_return "";
  const auto answer = co_await ask(&self->parts_.client, peer, "GET", "/nixl/metadata", Json());
  if (!answer || answer->status != 200) co_return "the prefill engine does not answer";
  const std::string hash = text_of(answer->body, "compatibility_hash");
  if (hash != own) {
    self->parts_.ledger.violate(record, "version_mismatch");
    co_return fmt::format("NIXL compatibility hash mismatch. Local: {}, Remote: {}.", own, hash);
  }
  const Json* ids = member(answer->body, "engine_ids");
  if (ids == nullptr || std::ranges::find(*ids, Json(engine_id)) == ids->end()) {
    self->parts_.ledger.violate(record, "wrong_engine_id");
    co_return fmt::format("Remote NIXL agent engine ID mismatch. Expected {}", engine_id);
  }
  self->known_engines_[engine_id] = hash;
  co_return "";
}

http::Task<void> Nixl::tell(Nixl* self, Peer peer, std::string target, Json body) {
  const auto answer =
      co_await ask(&self->parts_.client, peer, "POST", std::move(target), std::move(body));
  if (!answer || answer->status != 200) ++self->metrics_.rank(0).failed_notifications;
}

// base_scheduler.py: every sixth of the lease, from the request's arrival until its KV is here.
http::Task<void> Nixl::beat(Nixl* self, std::weak_ptr<Work> work) {
  http::asio::steady_timer timer(self->parts_.io);
  for (;;) {
    timer.expires_after(self->parts_.options.lease / 6);
    co_await timer.async_wait(http::asio::as_tuple(http::asio::use_awaitable));
    const auto alive = work.lock();
    if (!alive) co_return;
    const auto pull = self->pulls_.find(alive.get());
    if (pull == self->pulls_.end() || pull->second.settled) co_return;
    Json ids = Json::array({pull->second.params["remote_request_id"]});
    co_await tell(self, pull->second.peer, "/nixl/heartbeat", {{"request_ids", std::move(ids)}});
  }
}

// Nobody tells the other side, whose lease runs out.
void Nixl::fail(const std::shared_ptr<Work>& work, std::size_t choice, const std::string& why,
                std::string_view violation_name) {
  ++metrics_.rank(static_cast<std::size_t>(work->wanted.rank)).failed_transfers;
  if (const auto pull = pulls_.find(work.get()); pull != pulls_.end()) {
    pull->second.settled = true;
  }
  fail_load(parts_, *work, choice, why, violation_name);
}

void Nixl::ended(Work& work) {
  const auto found = pulls_.find(&work);
  if (found == pulls_.end()) return;
  const Pull pull = std::move(found->second);
  pulls_.erase(found);
  if (!pull.settled && !pull.registered_as.empty()) {
    http::asio::co_spawn(
        parts_.io, tell(this, pull.peer, "/nixl/unregister", {{"request_id", pull.registered_as}}),
        report);
  }
  if (pull.settled || pull.begun) return;  // what has begun comes to its end
  if (!pull.hangs) reject(pull.params, work.record.get());
}

void Nixl::reject(const Json& params, RequestRecord* record) {
  if (pushes()) return;  // push_scheduler.py:228: the other side hears nothing that it heeds
  for (const char* key : kNeeded) {
    if (member(params, key) == nullptr) return;
  }
  if (record != nullptr) record->note("the prefill engine is told that its blocks are not wanted");
  const Peer peer = {text_of(params, "remote_host"),
                     static_cast<std::uint16_t>(integer_of(params, "remote_port", 0))};
  http::asio::co_spawn(
      parts_.io,
      tell(this, peer, "/nixl/done", {{"request_id", text_of(params, "remote_request_id")}}),
      report);
}

}  // namespace baton::adapters::mock::vllm
