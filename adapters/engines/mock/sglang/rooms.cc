#include "adapters/engines/mock/sglang/rooms.h"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <utility>

#include "adapters/engines/mock/openai_fields.h"
#include "adapters/engines/mock/sglang/answers.h"
#include "adapters/engines/mock/side_channel.h"

namespace baton::adapters::mock::sglang {
namespace {

namespace asio = http::asio;

constexpr std::size_t kRemembered = 100000;

// One of a member that may be a list, as `_normalize_bootstrap_params` and `__getitem__` in
// managers/io_struct.py:705 take it apart.
const Json* element(const Json& body, const char* name, std::size_t prompt) {
  const Json* value = member(body, name);
  if (value == nullptr || !value->is_array()) return value;
  return prompt < value->size() && !(*value)[prompt].is_null() ? &(*value)[prompt] : nullptr;
}

std::string address_of(const Meeting& meeting) {
  return fmt::format("{}:{}", meeting.host, meeting.port);
}

// common/conn.py:87.
std::string transfer_error(std::int64_t room, const std::string& why) {
  return fmt::format("KVTransferError(bootstrap_room={}): {}", room, why);
}

}  // namespace

Rooms::Rooms(PodParts& parts, Metrics& metrics) : parts_(parts), metrics_(metrics) {}

// A scalar room with several prompts is the first of as many; with several answers to a prompt,
// all of them get the prompt's own (managers/tokenizer_manager.py:1866).
std::vector<Meeting> Rooms::meetings_of(const Json& body, std::size_t prompts, std::size_t choices,
                                        std::uint16_t default_port) {
  std::vector<Meeting> meetings;
  const Json* rooms = member(body, "bootstrap_room");
  if (rooms == nullptr) return meetings;
  for (std::size_t i = 0; i < choices; ++i) {
    const std::size_t prompt = i / (choices / prompts);
    const Json* room = element(body, "bootstrap_room", prompt);
    if (room == nullptr || !room->is_number()) return {};
    Meeting meeting;
    meeting.room = room->get<std::int64_t>();
    if (!rooms->is_array()) meeting.room += static_cast<std::int64_t>(prompt);
    const Json* host = element(body, "bootstrap_host", prompt);
    if (host != nullptr && host->is_string()) meeting.host = host->get<std::string>();
    const Json* port = element(body, "bootstrap_port", prompt);
    meeting.port = port != nullptr && port->is_number() ? port->get<std::uint16_t>() : default_port;
    meetings.push_back(std::move(meeting));
  }
  return meetings;
}

// The prefill side

std::optional<Failure> Rooms::expect(const std::shared_ptr<Work>& work) {
  const Generation& wanted = work->wanted;
  const std::uint16_t own = parts_.options.side_channel_port;
  Sender sender;
  sender.work = work;
  sender.meetings = meetings_of(wanted.body, wanted.prompts.size(),
                                wanted.prompts.size() * static_cast<std::size_t>(wanted.n), own);
  std::set<std::int64_t> mine;
  for (std::size_t i = 0; i < sender.meetings.size(); ++i) {
    const Meeting& meeting = sender.meetings[i];
    if (meeting.fake()) {
      sender.bootstrapped.insert(i);
      continue;
    }
    // The engine uses its own server whatever it was told; the decode leg will not find it there.
    if (meeting.port != own) parts_.ledger.violate(work->record.get(), "wrong_bootstrap_port");
    if (rooms_.contains(meeting.room) || !mine.insert(meeting.room).second) {
      parts_.ledger.violate(work->record.get(), "doubled_room");
      return engine_failure(500, fmt::format("Prefill bootstrap failed for request rank=0 "
                                             "req.rid='{}' req.bootstrap_room={} with exception {}",
                                             wanted.id, meeting.room,
                                             transfer_error(meeting.room, "the room is taken")));
    }
    if (used_.size() >= kRemembered) used_.clear();
    if (!used_.insert(meeting.room).second) {
      parts_.ledger.violate(work->record.get(), "room_used_again");
    }
  }
  for (const std::int64_t room : mine) rooms_[room] = work.get();
  sender.deadline =
      std::make_shared<asio::steady_timer>(parts_.io, parts_.options.bootstrap_timeout);
  asio::co_spawn(parts_.io, watch(this, work, true, sender.deadline), report);
  Sender& kept = senders_.emplace(work.get(), std::move(sender)).first->second;
  for (const std::size_t choice : kept.bootstrapped) work->release(choice);
  if (kept.bootstrapped.size() == kept.meetings.size()) kept.deadline->cancel();
  for (const std::int64_t room : mine) meet(room);
  return work->failure;
}

Work* Rooms::sender_of(std::int64_t room, std::size_t* choice) {
  const auto found = rooms_.find(room);
  if (found == rooms_.end()) return nullptr;
  const auto sender = senders_.find(found->second);
  if (sender == senders_.end()) return nullptr;
  const auto& meetings = sender->second.meetings;
  for (std::size_t i = 0; i < meetings.size(); ++i) {
    if (meetings[i].room == room) *choice = i;
  }
  return sender->second.work.lock().get();
}

// Where both halves are there, the prefill begins.
void Rooms::meet(std::int64_t room) {
  const auto asker = askers_.find(room);
  std::size_t choice = 0;
  Work* work = sender_of(room, &choice);
  if (asker == askers_.end() || work == nullptr) return;
  Sender& sender = senders_.at(work);
  if (!sender.bootstrapped.insert(choice).second) return;
  const std::size_t prompt = choice / static_cast<std::size_t>(work->wanted.n);
  if (asker->second->tokens != work->wanted.prompts[prompt].ids) {
    answer(room, violation("prompts_differ", fmt::format("room {} has another prompt", room)));
    fail_sender(*work, sender.meetings[choice], "the decode server has another prompt");
    return;
  }
  work->record->note("the decode server is there");
  if (sender.bootstrapped.size() == sender.meetings.size()) sender.deadline->cancel();
  work->release(choice);
}

void Rooms::computed(Work& work, std::size_t choice) {
  const auto sender = senders_.find(&work);
  if (sender == senders_.end()) return;
  const Choice& made = work.choices[choice];
  const std::vector<TokenId>& tokens = work.prompt_of(made).ids;
  std::uint64_t content = engine_model::kv_content(tokens, work.wanted.lora);
  if (parts_.faults.take(Leg::kPrefill, {FaultKind::kWrongKv})) {
    work.record->note("fault wrong_kv");
    content ^= kOtherContent;
  }
  const auto alive = sender->second.work.lock();
  if (!alive) return;
  asio::co_spawn(parts_.io, send(this, alive, choice, content), report);
}

// The transfer takes its time, then both sides go on: the decode server with the KV, the first
// token and what the prefill server had cached (disaggregation/decode.py:2124).
http::Task<void> Rooms::send(Rooms* self, std::shared_ptr<Work> work, std::size_t choice,
                             std::uint64_t content) {
  PodParts& parts = self->parts_;
  const std::vector<TokenId>& tokens = work->prompt_of(work->choices[choice]).ids;
  const Bytes bytes = parts.options.kv_bytes_per_token * static_cast<std::int64_t>(tokens.size());
  const Duration takes = parts.options.model_options.timing.transfer(bytes);
  if (takes > Duration::zero()) {
    asio::steady_timer timer(parts.io, takes);
    co_await timer.async_wait(asio::as_tuple(asio::use_awaitable));
  }
  const auto sender = self->senders_.find(work.get());
  if (sender == self->senders_.end() || work->failure) co_return;
  const Meeting& meeting = sender->second.meetings[choice];
  self->metrics_.transferred(bytes, takes);
  if (!meeting.fake()) {
    self->answer(meeting.room, json_answer(200, {{"content", content},
                                                 {"cached_tokens", work->cached_tokens.value_or(0)},
                                                 {"first_token", work->choices[choice].tokens}}));
  }
  work->record->note("the KV has gone");
  self->sent(*work, choice);
}

void Rooms::sent(Work& work, std::size_t choice) {
  senders_.at(&work).sent.insert(choice);
  work.rank().free_kept(work.choices[choice].sequence);
  work.changed.raise();
}

http::Task<void> Rooms::delivered(Rooms* self, std::shared_ptr<Work> work) {
  for (;;) {
    const auto sender = self->senders_.find(work.get());
    if (sender == self->senders_.end() || work->failure || work->left) co_return;
    if (sender->second.sent.size() == work->choices.size()) co_return;
    co_await work->changed.wait();
  }
}

void Rooms::answer(std::int64_t room, Answer with) {
  const auto asker = askers_.extract(room);
  if (!asker) return;
  asker.mapped()->answer = std::move(with);
  asker.mapped()->ready.raise();
}

// disaggregation/prefill.py:1043 and :1003.
void Rooms::fail_sender(Work& work, const Meeting& meeting, const std::string& why) {
  const bool computed = work.first_token_at.has_value();
  computed ? metrics_.transfer_failed() : metrics_.bootstrap_failed();
  const std::string message = fmt::format(
      "Prefill {} failed for request rank=0 req.rid='{}' req.bootstrap_room={} with exception {}",
      computed ? "transfer" : "bootstrap", work.wanted.id, meeting.room,
      transfer_error(meeting.room, why));
  work.record->note(message);
  const Failure failure = engine_failure(500, message);
  work.fail(failure);
  // Its tokens are there, but its KV has not gone: it fails all the same.
  if (!work.failure) work.failure = failure;
  work.changed.raise();
}

http::Task<Answer> Rooms::serve(const http::Request& request) {
  if (request.path() == "/sglang/route") co_return json_answer(200, Json::object());
  const Json asked = Json::parse(request.body, nullptr, false);
  if (!asked.is_object() || member(asked, "room") == nullptr) {
    co_return json_answer(400, {{"message", "no JSON object with a room"}});
  }
  if (request.path() == "/sglang/kv") co_return co_await kv(asked);
  if (request.path() == "/sglang/abort") co_return abort(asked);
  co_return json_answer(404, {{"message", "no such message"}});
}

http::Task<Answer> Rooms::kv(const Json& asked) {
  const auto room = asked["room"].get<std::int64_t>();
  if (askers_.contains(room)) {
    co_return violation("second_reader", fmt::format("room {} was asked for twice", room));
  }
  std::size_t choice = 0;
  if (const Work* work = sender_of(room, &choice);
      work != nullptr && senders_.at(work).bootstrapped.contains(choice)) {
    co_return violation("second_reader", fmt::format("the KV of room {} has gone", room));
  }
  const auto asker = std::make_shared<Asker>(parts_.io);
  for (const Json& id : asked["tokens"]) asker->tokens.push_back(id.get<TokenId>());
  askers_[room] = asker;
  meet(room);
  while (!asker->answer) co_await asker->ready.wait();
  co_return *asker->answer;
}

// mooncake/conn.py:1884: heeded while the room has not been served; a room that is not known yet is
// not remembered as aborted.
Answer Rooms::abort(const Json& asked) {
  const auto room = asked["room"].get<std::int64_t>();
  answer(room, json_answer(410, {{"message", "aborted"}}));
  std::size_t choice = 0;
  Work* work = sender_of(room, &choice);
  if (work != nullptr && !senders_.at(work).sent.contains(choice)) {
    const Meeting meeting = senders_.at(work).meetings[choice];
    fail_sender(*work, meeting, "Failed due to an unknown reason from another rank");
  }
  return json_answer(200, Json::object());
}

// The decode side

void Rooms::accept(const std::shared_ptr<Work>& work) {
  const Generation& wanted = work->wanted;
  Receiver receiver;
  receiver.meetings =
      meetings_of(wanted.body, wanted.prompts.size(),
                  wanted.prompts.size() * static_cast<std::size_t>(wanted.n), kDefaultPort);
  for (const Meeting& meeting : receiver.meetings) {
    if (meeting.fake()) continue;
    if (used_.size() >= kRemembered) used_.clear();
    if (!used_.insert(meeting.room).second) {
      parts_.ledger.violate(work->record.get(), "room_used_again");
    }
  }
  receiver.deadline =
      std::make_shared<asio::steady_timer>(parts_.io, parts_.options.waiting_timeout);
  asio::co_spawn(parts_.io, watch(this, work, false, receiver.deadline), report);
  receivers_.emplace(work.get(), std::move(receiver));
}

void Rooms::fetch(const std::shared_ptr<Work>& work, std::size_t choice) {
  const auto receiver = receivers_.find(work.get());
  if (receiver == receivers_.end()) return;
  const Meeting& meeting = receiver->second.meetings[choice];
  if (meeting.fake()) {
    receiver->second.settled.insert(choice);
    const auto& tokens = work->prompt_of(work->choices[choice]).ids;
    work->rank().kv_arrived(work->choices[choice].sequence,
                            engine_model::kv_content(tokens, work->wanted.lora));
    return;
  }
  receiver->second.asked.insert(choice);
  asio::co_spawn(parts_.io, ask(this, work, choice), report);
}

// common/conn.py, try_ensure_parallel_info, without its retries.
http::Task<bool> Rooms::is_there(Rooms* self, Meeting meeting) {
  const std::string address = address_of(meeting);
  if (self->known_servers_.contains(address)) co_return true;
  http::ClientRequest request{"GET", "/sglang/route", {}, ""};
  auto exchange = co_await self->parts_.client.send(meeting.host, meeting.port, std::move(request));
  if (!exchange || (*exchange)->status() != 200) co_return false;
  (void)co_await (*exchange)->read_all(Bytes(1LL << 20));
  self->known_servers_.insert(address);
  co_return true;
}

http::Task<void> Rooms::ask(Rooms* self, std::shared_ptr<Work> work, std::size_t choice) {
  const Meeting meeting = self->receivers_.at(work.get()).meetings[choice];
  if (!co_await is_there(self, meeting)) {
    // decode.py:843.
    if (work->over() || !self->receivers_.contains(work.get())) co_return;
    self->fail_receiver(*work, choice, "handshake", "Aborted by AbortReq.");
    co_return;
  }
  if (work->over()) co_return;
  const Json question = {{"room", meeting.room},
                         {"tokens", work->prompt_of(work->choices[choice]).ids}};
  http::ClientRequest request{
      "POST", "/sglang/kv", {{"content-type", "application/json"}}, dump(question)};
  auto exchange = co_await self->parts_.client.send(meeting.host, meeting.port, std::move(request));
  Result<std::string> body = fail(ErrorCode::kUnavailable, Stage::kHandoff, "");
  if (exchange) body = co_await (*exchange)->read_all(Bytes(1LL << 20));
  const auto receiver = self->receivers_.find(work.get());
  if (receiver == self->receivers_.end() || work->over()) co_return;
  receiver->second.settled.insert(choice);
  if (!body) {
    // common/conn.py:1052.
    self->known_servers_.erase(address_of(meeting));
    self->fail_receiver(*work, choice, "transfer",
                        fmt::format("Lost connection with prefill instance (bootstrap_addr: {})",
                                    address_of(meeting)));
    co_return;
  }
  const Json answer = Json::parse(*body, nullptr, false);
  if ((*exchange)->status() != 200 || !answer.is_object()) {
    const std::string violation = text_of(answer, "violation");
    if (!violation.empty()) self->parts_.ledger.violate(work->record.get(), violation);
    self->fail_receiver(*work, choice, "transfer", text_of(answer, "message"));
    co_return;
  }
  if (receiver->second.settled.size() == receiver->second.meetings.size()) {
    receiver->second.deadline->cancel();
  }
  work->told_cached =
      work->told_cached.value_or(0) + static_cast<int>(integer_of(answer, "cached_tokens", 0));
  work->record->note("KV fetched");
  work->rank().kv_arrived(work->choices[choice].sequence, answer["content"]);
}

// disaggregation/decode.py:787 and :2016.
void Rooms::fail_receiver(Work& work, std::size_t choice, std::string_view stage,
                          const std::string& why) {
  const std::int64_t room = receivers_.at(&work).meetings[choice].room;
  stage == "handshake" ? metrics_.bootstrap_failed() : metrics_.transfer_failed();
  const std::string message = fmt::format(
      "Decode {} failed for request rank=0 decode_req.req.rid='{}' "
      "decode_req.req.bootstrap_room={} with exception {}",
      stage, work.wanted.id, room, transfer_error(room, why));
  work.record->note(message);
  work.fail(engine_failure(500, message));
}

// Either

// common/conn.py:1203 and :1456.
http::Task<void> Rooms::watch(Rooms* self, std::weak_ptr<Work> work, bool prefill,
                              std::shared_ptr<asio::steady_timer> deadline) {
  const auto [stopped] = co_await deadline->async_wait(asio::as_tuple(asio::use_awaitable));
  if (stopped) co_return;
  const auto alive = work.lock();
  if (alive && !alive->over()) self->time_out(*alive, prefill);
}

void Rooms::time_out(Work& work, bool prefill) {
  if (prefill) {
    const auto sender = senders_.find(&work);
    if (sender == senders_.end()) return;
    const auto& meetings = sender->second.meetings;
    for (std::size_t i = 0; i < meetings.size(); ++i) {
      if (sender->second.bootstrapped.contains(i)) continue;
      parts_.ledger.violate(work.record.get(), "not_met");
      fail_sender(work, Meeting(meetings[i]),
                  fmt::format("Request {} timed out after {:.1f}s in KVPoll.Bootstrapping",
                              meetings[i].room, to_seconds(parts_.options.bootstrap_timeout)));
      return;
    }
    return;
  }
  const auto receiver = receivers_.find(&work);
  if (receiver == receivers_.end()) return;
  const auto& meetings = receiver->second.meetings;
  for (std::size_t i = 0; i < meetings.size(); ++i) {
    if (receiver->second.settled.contains(i)) continue;
    parts_.ledger.violate(work.record.get(), "not_met");
    fail_receiver(work, i, "transfer",
                  fmt::format("Request {} timed out after {:.1f}s in KVPoll.WaitingForInput",
                              meetings[i].room, to_seconds(parts_.options.waiting_timeout)));
    return;
  }
}

http::Task<void> Rooms::tell_abort(Rooms* self, Meeting meeting) {
  http::ClientRequest request{"POST",
                              "/sglang/abort",
                              {{"content-type", "application/json"}},
                              dump({{"room", meeting.room}})};
  auto exchange = co_await self->parts_.client.send(meeting.host, meeting.port, std::move(request));
  if (exchange) (void)co_await (*exchange)->read_all(Bytes(1LL << 20));
}

void Rooms::ended(Work& work) {
  if (const auto sender = senders_.extract(&work)) {
    sender.mapped().deadline->cancel();
    const auto& meetings = sender.mapped().meetings;
    for (std::size_t i = 0; i < meetings.size(); ++i) {
      if (const auto room = rooms_.find(meetings[i].room);
          room != rooms_.end() && room->second == &work) {
        rooms_.erase(room);
      }
      if (i < work.choices.size()) work.rank().free_kept(work.choices[i].sequence);
    }
  }
  if (const auto receiver = receivers_.extract(&work)) {
    receiver.mapped().deadline->cancel();
    for (const std::size_t choice : receiver.mapped().asked) {
      if (receiver.mapped().settled.contains(choice)) continue;
      work.record->note("the prefill server is told that the KV is not wanted");
      asio::co_spawn(parts_.io, tell_abort(this, receiver.mapped().meetings[choice]), report);
    }
  }
}

Json Rooms::waiting() const {
  std::int64_t bootstrapping = 0;
  std::int64_t pinned = 0;
  for (const auto& [raw, sender] : senders_) {
    bootstrapping += static_cast<std::int64_t>(sender.meetings.size() - sender.bootstrapped.size());
    for (const Choice& choice : raw->choices) {
      pinned += static_cast<std::int64_t>(raw->rank().engine().kept(choice.sequence).size());
    }
  }
  return {{"pinned_blocks", pinned},
          {"bootstrapping", bootstrapping},
          {"rooms_asked_for", askers_.size()},
          {"waiting_for_kv", receivers_.size()}};
}

}  // namespace baton::adapters::mock::sglang
