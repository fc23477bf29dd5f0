#include <algorithm>
#include <cctype>

#include "adapters/engines/mock/openai_fields.h"
#include "adapters/engines/mock/side_channel.h"
#include "adapters/engines/mock/vllm/nixl.h"

// vLLM 0.32.0's NixlPushConnector (nixl/push_scheduler.py, push_worker.py): the decode server tells
// the prefill server where it has blocks for a request, whichever of the two comes first, and the
// prefill server writes the KV there. They find each other by the request's id without its random
// end.
namespace baton::adapters::mock::vllm {
namespace {

// What the engine indexes without a look (push_scheduler.py:196).
constexpr const char* kIndexed[] = {"remote_engine_id", "remote_host", "remote_port", "tp_size"};

// nixl/utils.py, get_base_request_id.
std::string_view base_id(std::string_view id) {
  constexpr std::size_t kEnd = 9;  // a dash and 8 hex digits
  if (id.size() <= kEnd || id[id.size() - kEnd] != '-') return id;
  const std::string_view digits = id.substr(id.size() - kEnd + 1);
  const bool hex =
      std::ranges::all_of(digits, [](unsigned char c) { return std::isxdigit(c) != 0; });
  return hex ? id.substr(0, id.size() - kEnd) : id;
}

}  // namespace

bool Nixl::pushes() const { return parts_.options.engine == "vllm-nixl-push"; }

// A missing key is a KeyError in the scheduler, of which the engine dies.
bool Nixl::accept_push(const std::shared_ptr<Work>& work) {
  Pull pull;
  pull.params = work->wanted.body["kv_transfer_params"];
  for (const char* key : kIndexed) {
    if (member(pull.params, key) != nullptr) continue;
    parts_.ledger.violate(work->record.get(), "missing_keys");
    work->record->note(std::string("KeyError: '") + key + "'");
    return false;
  }
  pull.peer = {text_of(pull.params, "remote_host"),
               static_cast<std::uint16_t>(integer_of(pull.params, "remote_port", 0))};
  pulls_.emplace(work.get(), std::move(pull));
  return true;
}

http::Task<void> Nixl::receive(Nixl* self, std::shared_ptr<Work> work, std::size_t choice) {
  const Json params = self->pulls_.at(work.get()).params;
  const Peer peer = self->pulls_.at(work.get()).peer;
  const TimePoint begun = Clock::now();
  const std::string refused =
      co_await handshake(self, peer, text_of(params, "remote_engine_id"), work->record.get());
  if (!refused.empty()) {
    self->fail(work, choice, "push_reg_handshake_failed: " + refused, {});
    co_return;
  }
  const auto pull = self->pulls_.find(work.get());
  if (pull == self->pulls_.end()) co_return;
  pull->second.registered_as = self->engine_request_id(*work, choice);
  const std::vector<TokenId> tokens = work->prompt_of(work->choices[choice]).ids;
  Json registration = {{"request_id", pull->second.registered_as}};
  registration["tokens"] = tokens;
  const auto answer =
      co_await ask(&self->parts_.client, peer, "POST", "/nixl/register", std::move(registration));
  if (work->over()) co_return;
  if (!answer) co_return;  // the prefill server died: nobody tells, and the request waits on
  if (answer->status != 200) {
    self->fail(work, choice, text_of(answer->body, "message"), text_of(answer->body, "violation"));
    co_return;
  }
  const Bytes bytes =
      self->parts_.options.kv_bytes_per_token * static_cast<std::int64_t>(tokens.size());
  const Duration takes = self->parts_.options.model_options.timing.transfer(bytes);
  if (takes > Duration::zero()) {
    http::asio::steady_timer timer(self->parts_.io, takes);
    co_await timer.async_wait(http::asio::as_tuple(http::asio::use_awaitable));
  }
  if (work->over()) co_return;
  self->metrics_.rank(static_cast<std::size_t>(work->wanted.rank))
      .xfer_time.observe(to_seconds(Clock::now() - begun));
  self->pulls_.at(work.get()).settled = true;
  work->record->note("KV written by the prefill server");
  work->rank().kv_arrived(work->choices[choice].sequence, answer->body["content"]);
}

// push_worker.py:265, _handle_push_reg_notif.
http::Task<Answer> Nixl::register_reader(const Json& asked) {
  const std::string id = text_of(asked, "request_id");
  for (const auto& [other, registration] : registrations_) {
    if (base_id(other) == base_id(id)) {
      co_return violation("second_reader", "request " + id + " is waited for twice");
    }
  }
  for (const auto& [gone, why] : gone_) {
    if (base_id(gone) == base_id(id)) {
      co_return violation(why == "expired" ? "lease_expired" : "second_reader",
                          "the blocks of request " + id + " are gone: " + why);
    }
  }
  const auto registration = std::make_shared<Registration>(parts_.io);
  for (const Json& token : asked["tokens"]) registration->tokens.push_back(token.get<TokenId>());
  registrations_[id] = registration;
  match(id);
  while (!registration->answer) co_await registration->ready.wait();
  co_return *registration->answer;
}

// push_worker.py:398 and :415.
void Nixl::match(const std::string& request_id) {
  const auto same = [&](const auto& entry) { return base_id(entry.first) == base_id(request_id); };
  const auto lease = std::ranges::find_if(leases_, same);
  const auto waiting = std::ranges::find_if(registrations_, same);
  if (lease == leases_.end() || waiting == registrations_.end()) return;
  const std::shared_ptr<Registration> registration = waiting->second;
  registrations_.erase(waiting);
  if (registration->tokens != lease->second.tokens) {
    registration->answer =
        violation("tokens_differ", "request " + request_id + " had another prompt");
  } else {
    registration->answer = Answer{200, dump({{"content", lease->second.content}})};
    release(std::string(lease->first), "consumed");
  }
  registration->ready.raise();
}

}  // namespace baton::adapters::mock::vllm
