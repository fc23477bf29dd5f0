#include "kv_transfer/ucx_owner.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>

#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <cstring>
#include <utility>

#include "core/log.h"
#include "kv_transfer/address.h"

namespace baton::kv {
namespace {

namespace asio = boost::asio;

// A reader has at most 64 pieces under way; what is above that twice over is no reader of ours.
constexpr std::size_t kMaxUcxQueued = 2 * wire::kMaxWanted;
constexpr std::size_t kMaxUcxGuests = 4096;
// A reader that takes nothing for so long is gone: what is pinned for it is wanted back.
constexpr auto kTakeTime = std::chrono::seconds(5);

std::uint16_t port_of(ucp_listener_h listener) {
  ucp_listener_attr_t attributes{};
  attributes.field_mask = UCP_LISTENER_ATTR_FIELD_SOCKADDR;
  if (ucp_listener_query(listener, &attributes) != UCS_OK) return 0;
  const auto& address = attributes.sockaddr;
  return ntohs(address.ss_family == AF_INET6
                   ? reinterpret_cast<const sockaddr_in6&>(address).sin6_port
                   : reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

}  // namespace

struct UcxOwner::Guest {
  UcxOwner* owner = nullptr;
  ucp_ep_h endpoint = nullptr;
  std::deque<Request> queue;
  int outstanding = 0;
  TimePoint took{};  // an answer, or was owed none
  bool admitted = false;
  bool dropped = false;
};

struct UcxOwner::Answer {
  UcxOwner* owner = nullptr;
  std::shared_ptr<Guest> guest;
  PieceAnswer piece{};
};

UcxOwner::UcxOwner(Loop loop, UcxWorker& worker, BlockArena& arena)
    : loop_(std::move(loop)), worker_(worker), blocks_(arena), watch_(*loop_) {}

UcxOwner::~UcxOwner() {
  if (listener_ != nullptr) ucp_listener_destroy(listener_);
}

Result<void> UcxOwner::listen(const std::string& host) {
  const auto endpoint = endpoint_on(loop_, host, "ucx");
  if (!endpoint) return std::unexpected(endpoint.error());
  ucp_listener_params_t params{};
  params.field_mask = UCP_LISTENER_PARAM_FIELD_SOCK_ADDR | UCP_LISTENER_PARAM_FIELD_CONN_HANDLER;
  params.sockaddr = {endpoint->data(), static_cast<socklen_t>(endpoint->size())};
  params.conn_handler = {&UcxOwner::on_connect, this};
  const ucs_status_t status = ucp_listener_create(worker_.handle(), &params, &listener_);
  if (status != UCS_OK) return ucx_failure("listening on " + host, status);
  address_ = fmt::format("{}:{}", host, port_of(listener_));

  ucp_am_handler_param_t handler{};
  handler.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB |
                       UCP_AM_HANDLER_PARAM_FIELD_ARG | UCP_AM_HANDLER_PARAM_FIELD_FLAGS;
  handler.id = kUcxFetchMessage;
  handler.flags = UCP_AM_FLAG_WHOLE_MSG;
  handler.cb = &UcxOwner::on_fetch;
  handler.arg = this;
  if (const auto set = ucp_worker_set_am_recv_handler(worker_.handle(), &handler); set != UCS_OK) {
    return ucx_failure("setting a message handler", set);
  }
  worker_.kick();
  return {};
}

void UcxOwner::stop(std::function<void()> done) {
  stopped_ = std::move(done);
  watch_.cancel();
  if (listener_ != nullptr) ucp_listener_destroy(std::exchange(listener_, nullptr));
  const auto guests = guests_;
  for (const auto& [endpoint, guest] : guests) drop(guest);
  settle();
}

void UcxOwner::on_connect(ucp_conn_request_h request, void* self) {
  auto* owner = static_cast<UcxOwner*>(self);
  owner->accept(request);
}

void UcxOwner::on_error(void* guest, ucp_ep_h, ucs_status_t) {
  // Not from inside UCX: closing an endpoint there is what it bears worst.
  auto* known = static_cast<Guest*>(guest);
  UcxOwner* owner = known->owner;
  if (const auto it = owner->guests_.find(known->endpoint);
      it != owner->guests_.end() && it->second.get() == known) {
    asio::post(*owner->loop_, [owner, kept = it->second] { owner->drop(kept); });
  }
}

void UcxOwner::accept(ucp_conn_request_h request) {
  if (stopped_ != nullptr || guests_.size() >= kMaxUcxGuests) {
    ucp_listener_reject(listener_, request);
    return;
  }
  auto guest = std::make_shared<Guest>();
  guest->owner = this;
  ucp_ep_params_t params{};
  params.field_mask = UCP_EP_PARAM_FIELD_CONN_REQUEST | UCP_EP_PARAM_FIELD_ERR_HANDLER |
                      UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE;
  params.conn_request = request;
  params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
  params.err_handler = {&UcxOwner::on_error, guest.get()};
  if (const auto status = ucp_ep_create(worker_.handle(), &params, &guest->endpoint);
      status != UCS_OK) {
    log(LogLevel::kWarn, "ucx reader not accepted", {{"reason", ucs_status_string(status)}});
    return;
  }
  ++under_way_;
  guests_[guest->endpoint] = std::move(guest);
  worker_.kick();
}

ucs_status_t UcxOwner::on_fetch(void* self, const void* header, std::size_t header_bytes,
                                void* body, std::size_t body_bytes,
                                const ucp_am_recv_param_t* param) {
  auto* owner = static_cast<UcxOwner*>(self);
  if ((param->recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP) == 0) return UCS_OK;
  const auto it = owner->guests_.find(param->reply_ep);
  if (it == owner->guests_.end() || it->second->dropped) return UCS_OK;
  const std::shared_ptr<Guest> guest = it->second;
  // A rendezvous would mean a body that no fetch has.
  const bool is_whole = (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) == 0;
  const std::span<const std::byte> content{static_cast<const std::byte*>(body),
                                           is_whole ? body_bytes : 0};
  if (!guest->admitted) {
    owner->greet(guest, content);
    return UCS_OK;
  }
  auto fetch = wire::parse_fetch({static_cast<const std::byte*>(header), header_bytes}, content);
  if (!fetch || guest->queue.size() + fetch->wanted.size() > kMaxUcxQueued) {
    log(LogLevel::kWarn, "ucx reader dropped",
        {{"reason", fetch ? "it asks for too much at once" : fetch.error().message}});
    asio::post(*owner->loop_, [owner, guest] { owner->drop(guest); });
    return UCS_OK;
  }
  for (const wire::Wanted& wanted : fetch->wanted) {
    guest->queue.push_back({fetch->transfer, wanted, fetch->slices});
  }
  owner->serve(guest);
  return UCS_OK;
}

void UcxOwner::greet(const std::shared_ptr<Guest>& guest, std::span<const std::byte> token) {
  const std::string_view text(reinterpret_cast<const char*>(token.data()), token.size());
  if (!tokens_.redeem(text, Clock::now())) {
    log(LogLevel::kWarn, "ucx reader dropped", {{"reason", "it has no valid token"}});
    asio::post(*loop_, [this, guest] { drop(guest); });
    return;
  }
  guest->admitted = true;
  auto* greeting = new Answer{.owner = this, .guest = guest};
  greeting->piece.header.status = wire::PieceStatus::kWelcome;
  send(greeting);
}

void UcxOwner::serve(const std::shared_ptr<Guest>& guest) {
  while (!guest->dropped && !guest->queue.empty() && guest->outstanding < kUcxMaxOutstanding) {
    const Request request = guest->queue.front();
    guest->queue.pop_front();
    answer(guest, request);
  }
}

void UcxOwner::answer(const std::shared_ptr<Guest>& guest, const Request& request) {
  auto* answer = new Answer{.owner = this, .guest = guest};
  blocks_.answer(request.transfer, request.wanted, request.slices, answer->piece);
  send(answer);
}

void UcxOwner::send(Answer* answer) {
  const auto body = answer->piece.body;
  ++under_way_;
  if (answer->guest->outstanding++ == 0) answer->guest->took = Clock::now();
  watch();
  ucp_request_param_t param{};
  param.op_attr_mask =
      UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  // The reader tells by the endpoint from which of its links a piece came.
  param.flags = UCP_AM_SEND_FLAG_REPLY | (body.empty() ? 0u : UCP_AM_SEND_FLAG_RNDV);
  param.cb.send = &UcxOwner::on_sent;
  param.user_data = answer;
  void* request = ucp_am_send_nbx(answer->guest->endpoint, kUcxPieceMessage, &answer->piece.header,
                                  sizeof(answer->piece.header), body.data(), body.size(), &param);
  if (!UCS_PTR_IS_PTR(request)) sent(answer);
  worker_.kick();
}

void UcxOwner::on_sent(void* request, ucs_status_t, void* answer) {
  ucp_request_free(request);
  auto* known = static_cast<Answer*>(answer);
  UcxOwner* owner = known->owner;
  const std::shared_ptr<Guest> guest = known->guest;
  owner->sent(known);
  owner->serve(guest);
}

void UcxOwner::sent(Answer* answer) {
  blocks_.let_go(answer->piece);
  --answer->guest->outstanding;
  answer->guest->took = Clock::now();
  --under_way_;
  delete answer;
  settle();
}

void UcxOwner::watch() {
  if (stopped_ != nullptr || std::exchange(watching_, true)) return;
  watch_.expires_after(kTakeTime / 4);
  watch_.async_wait([this](boost::system::error_code error) {
    if (error || stopped_ != nullptr) return;
    watching_ = false;
    const auto guests = guests_;
    bool is_owing = false;
    for (const auto& [endpoint, guest] : guests) {
      if (guest->outstanding == 0) continue;
      is_owing = true;
      if (guest->dropped || Clock::now() - guest->took < kTakeTime) continue;
      log(LogLevel::kWarn, "ucx reader dropped", {{"reason", "it takes nothing"}});
      drop(guest);
    }
    if (is_owing) watch();
  });
}

void UcxOwner::drop(const std::shared_ptr<Guest>& guest) {
  if (std::exchange(guest->dropped, true)) return;
  guest->queue.clear();
  // The guest stays known, and so alive, until UCX is done with its endpoint.
  worker_.close(guest->endpoint, [this, guest] {
    // UCX may have given the address of this endpoint to another one already.
    const auto it = guests_.find(guest->endpoint);
    if (it != guests_.end() && it->second == guest) guests_.erase(it);
    --under_way_;
    settle();
  });
}

void UcxOwner::settle() {
  if (stopped_ == nullptr || under_way_ > 0) return;
  asio::post(*loop_, std::exchange(stopped_, nullptr));
}

}  // namespace baton::kv
