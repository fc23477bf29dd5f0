#include "kv_transfer/ucx_reader.h"

#include <fmt/format.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

namespace baton::kv {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

// New pieces are asked for once this many can be, so that one message names many.
constexpr std::size_t kAskedAtOnce = 16;
constexpr std::size_t kAskedPerTurn = 1 << 20;  // of one transfer

Error lost(std::string_view why) {
  return {ErrorCode::kUnavailable, Stage::kHandoff, fmt::format("ucx: {}", why), true};
}

}  // namespace

// A connection to one owner, and what is asked of it. It is known to the reader from connect()
// until UCX has closed its endpoint.
class UcxLink final : public Link, public std::enable_shared_from_this<UcxLink> {
 public:
  explicit UcxLink(UcxReader& reader) : reader_(reader), timer_(*reader.loop_) {}

  void begin(const tcp::endpoint& owner, const std::string& token, TimePoint deadline,
             Transport::Connected done) {
    connected_ = std::move(done);
    ucp_ep_params_t params{};
    params.field_mask = UCP_EP_PARAM_FIELD_FLAGS | UCP_EP_PARAM_FIELD_SOCK_ADDR |
                        UCP_EP_PARAM_FIELD_ERR_HANDLER | UCP_EP_PARAM_FIELD_ERR_HANDLING_MODE;
    params.flags = UCP_EP_PARAMS_FLAGS_CLIENT_SERVER;
    params.sockaddr = {owner.data(), static_cast<socklen_t>(owner.size())};
    params.err_mode = UCP_ERR_HANDLING_MODE_PEER;
    params.err_handler = {&UcxLink::on_error, this};
    const auto status = ucp_ep_create(reader_.worker_.handle(), &params, &endpoint_);
    if (status != UCS_OK) {
      endpoint_ = nullptr;
      failure_ = ucx_failure("connecting", status).error();
      report_connected();
      return;
    }
    ++reader_.under_way_;
    reader_.links_[endpoint_] = shared_from_this();
    timer_.expires_at(deadline);
    timer_.async_wait([self = shared_from_this()](boost::system::error_code error) {
      if (!error) self->give_up(lost("no answer in time"));
    });
    // A greeting: whoever answers it can be reached both ways.
    auto greeting = std::make_unique<Question>(shared_from_this());
    wire::append(greeting->body, std::as_bytes(std::span(token)));
    send(std::move(greeting));
  }

  void fetch(const FetchTerms& terms, std::vector<BlockRead> reads, PieceDone done) override {
    queue_.add(terms, std::move(reads), std::move(done));
    if (failed()) {
      give_up_queue(lost("the link has failed"));
    } else {
      ask();
    }
  }
  bool failed() const override { return failure_.has_value(); }
  void close() override {
    asio::post(*reader_.loop_,
               [self = shared_from_this()] { self->give_up(lost("the link was closed")); });
  }

  // A message from the owner; the answer is UCX's: whether the body is being received.
  ucs_status_t take(const Result<wire::PieceHeader>& header, void* body, bool is_rendezvous);

 private:
  struct Asked {
    Piece piece;
    bool receiving = false;      // UCX writes to its place
    std::uint64_t checksum = 0;  // that the answer has
  };
  struct Question {
    std::shared_ptr<UcxLink> link;
    wire::FetchHeader header;
    std::vector<std::byte> body{};
  };
  struct Arrival {
    std::shared_ptr<UcxLink> link;
    std::uint64_t tag = 0;
  };

  static void on_error(void* self, ucp_ep_h, ucs_status_t status);
  static void on_sent(void* request, ucs_status_t status, void* question);
  static void on_received(void* request, ucs_status_t status, std::size_t bytes, void* arrival);

  void ask();
  void send(std::unique_ptr<Question> question);
  ucs_status_t receive(std::uint64_t tag, Asked& asked, void* body);
  void finish(std::uint64_t tag, Result<void> result);
  void give_up(const Error& reason);
  void give_up_queue(const Error& reason);
  void report_connected();
  void sent(Question* question);

  UcxReader& reader_;
  asio::steady_timer timer_;
  Transport::Connected connected_;
  ucp_ep_h endpoint_ = nullptr;
  PieceQueue queue_;
  std::unordered_map<std::uint64_t, Asked> asked_;  // by tag
  std::uint64_t last_tag_ = 0;
  std::optional<Error> failure_;
};

void UcxLink::on_error(void* self, ucp_ep_h, ucs_status_t status) {
  auto* link = static_cast<UcxLink*>(self);
  asio::post(*link->reader_.loop_, [link = link->shared_from_this(), status] {
    link->give_up(lost(ucs_status_string(status)));
  });
}

void UcxLink::ask() {
  if (failed() || connected_ != nullptr) return;
  while (!queue_.empty()) {
    const std::size_t room = kUcxMaxOutstanding - asked_.size();
    if (room == 0 || (room < kAskedAtOnce && queue_.size() > room)) return;
    std::vector<Piece> pieces = queue_.take(room, kAskedPerTurn);
    const FetchTerms terms = pieces.front().order->terms;
    auto question = std::make_unique<Question>(shared_from_this());
    question->header = wire::fetch_header(terms, pieces.size());
    for (Piece& piece : pieces) {
      wire::append(question->body, wire::wanted(*piece.read, ++last_tag_));
      asked_.emplace(last_tag_, Asked{.piece = std::move(piece)});
    }
    if (terms.slices != nullptr) {
      wire::append(question->body, std::as_bytes(std::span(*terms.slices)));
    }
    send(std::move(question));
  }
}

void UcxLink::send(std::unique_ptr<Question> question) {
  ++reader_.under_way_;
  ucp_request_param_t param{};
  param.op_attr_mask =
      UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.flags = UCP_AM_SEND_FLAG_REPLY | UCP_AM_SEND_FLAG_EAGER;
  param.cb.send = &UcxLink::on_sent;
  Question* const sending = question.release();  // until sent()
  param.user_data = sending;
  void* request =
      ucp_am_send_nbx(endpoint_, kUcxFetchMessage, &sending->header, sizeof(sending->header),
                      sending->body.data(), sending->body.size(), &param);
  if (!UCS_PTR_IS_PTR(request)) sent(sending);
  reader_.worker_.kick();
}

void UcxLink::on_sent(void* request, ucs_status_t, void* question) {
  ucp_request_free(request);
  auto* known = static_cast<Question*>(question);
  known->link->sent(known);
}

// Where sending failed the endpoint fails too, which on_error() reports.
void UcxLink::sent(Question* question) {
  const auto self = shared_from_this();
  delete question;
  --reader_.under_way_;
  reader_.settle();
}

ucs_status_t UcxLink::take(const Result<wire::PieceHeader>& header, void* body,
                           bool is_rendezvous) {
  if (failed()) return UCS_OK;
  if (!header) {
    asio::post(*reader_.loop_,
               [self = shared_from_this(), reason = header.error()] { self->give_up(reason); });
    return UCS_OK;
  }
  if (header->status == wire::PieceStatus::kWelcome) {
    report_connected();
    return UCS_OK;
  }
  const auto it = asked_.find(header->tag);
  if (it == asked_.end() || it->second.receiving) return UCS_OK;
  Asked& asked = it->second;
  const BlockRead& read = *asked.piece.read;
  if (header->status == wire::PieceStatus::kStale) {
    finish(header->tag, std::unexpected(stale(read)));
    return UCS_OK;
  }
  if (header->index != read.index || header->generation != read.remote.slot.generation ||
      header->bytes != read.into.size()) {
    finish(header->tag, fail(ErrorCode::kCorrupt, Stage::kHandoff,
                             "the producer sent another block than was asked for", true));
    return UCS_OK;
  }
  asked.checksum = header->checksum;
  if (is_rendezvous) return receive(header->tag, asked, body);
  std::memcpy(read.into.data(), body, read.into.size());
  finish(header->tag, {});
  return UCS_OK;
}

ucs_status_t UcxLink::receive(std::uint64_t tag, Asked& asked, void* body) {
  asked.receiving = true;
  ++reader_.under_way_;
  auto* arrival = new Arrival{.link = shared_from_this(), .tag = tag};
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.cb.recv_am = &UcxLink::on_received;
  param.user_data = arrival;
  const std::span<std::byte> into = asked.piece.read->into;
  void* request =
      ucp_am_recv_data_nbx(reader_.worker_.handle(), body, into.data(), into.size(), &param);
  if (!UCS_PTR_IS_PTR(request)) {
    on_received(nullptr, UCS_PTR_STATUS(request), into.size(), arrival);
  }
  return UCS_INPROGRESS;
}

void UcxLink::on_received(void* request, ucs_status_t status, std::size_t, void* arrival) {
  if (request != nullptr) ucp_request_free(request);
  const std::unique_ptr<Arrival> known(static_cast<Arrival*>(arrival));
  UcxReader& reader = known->link->reader_;
  --reader.under_way_;
  known->link->finish(known->tag, status == UCS_OK
                                      ? Result<void>{}
                                      : std::unexpected(lost(ucs_status_string(status))));
  reader.settle();
}

void UcxLink::finish(std::uint64_t tag, Result<void> result) {
  const auto node = asked_.extract(tag);
  if (node.empty()) return;
  const Asked& asked = node.mapped();
  if (result) result = verify(asked.piece, asked.checksum);
  asked.piece.report(std::move(result));
  ask();
}

void UcxLink::give_up(const Error& reason) {
  if (failed()) return;
  failure_ = reason;
  const auto self = shared_from_this();
  report_connected();
  give_up_queue(reason);
  std::vector<std::uint64_t> tags;
  for (const auto& [tag, asked] : asked_) {
    if (!asked.receiving) tags.push_back(tag);  // the others end by on_received()
  }
  for (const std::uint64_t tag : tags) finish(tag, std::unexpected(reason));
  reader_.worker_.close(endpoint_, [self] {
    // UCX may have given the address of this endpoint to another one already.
    auto& links = self->reader_.links_;
    const auto it = links.find(self->endpoint_);
    if (it != links.end() && it->second == self) links.erase(it);
    --self->reader_.under_way_;
    self->reader_.settle();
  });
}

void UcxLink::give_up_queue(const Error& reason) {
  if (queue_.empty()) return;
  asio::post(*reader_.loop_, [left = queue_.take_all(), reason] {
    for (const Piece& piece : left) piece.report(std::unexpected(reason));
  });
}

void UcxLink::report_connected() {
  if (connected_ == nullptr) return;
  timer_.cancel();
  asio::post(*reader_.loop_,
             [done = std::exchange(connected_, nullptr), self = shared_from_this()] {
               if (self->failed()) {  // perhaps since it was greeted
                 done(std::unexpected(*self->failure_));
               } else {
                 done(self);
               }
             });
}

UcxReader::UcxReader(Loop loop, UcxWorker& worker) : loop_(std::move(loop)), worker_(worker) {}

Result<void> UcxReader::begin() {
  ucp_am_handler_param_t handler{};
  handler.field_mask = UCP_AM_HANDLER_PARAM_FIELD_ID | UCP_AM_HANDLER_PARAM_FIELD_CB |
                       UCP_AM_HANDLER_PARAM_FIELD_ARG;
  handler.id = kUcxPieceMessage;
  handler.cb = &UcxReader::on_piece;
  handler.arg = this;
  const auto status = ucp_worker_set_am_recv_handler(worker_.handle(), &handler);
  if (status != UCS_OK) return ucx_failure("setting a message handler", status);
  return {};
}

void UcxReader::connect(const HostAndPort& to, const std::string& token, TimePoint deadline,
                        Transport::Connected done) {
  const auto begin = [this, token, deadline, done = std::move(done)](
                         boost::system::error_code error,
                         const tcp::resolver::results_type& found) {
    if (stopping_ || error || found.empty()) {
      done(std::unexpected(lost(stopping_ ? "stopping" : error.message())));
    } else {
      std::make_shared<UcxLink>(*this)->begin(found.begin()->endpoint(), token, deadline, done);
    }
  };
  auto resolver = std::make_shared<tcp::resolver>(*loop_);
  resolver->async_resolve(
      to.host, to.port, [begin, resolver](auto error, const auto& found) { begin(error, found); });
}

void UcxReader::stop(std::function<void()> done) {
  stopping_ = true;
  stopped_ = std::move(done);
  for (const auto& [endpoint, link] : links_) link->close();
  settle();
}

ucs_status_t UcxReader::on_piece(void* self, const void* header, std::size_t header_bytes,
                                 void* body, std::size_t body_bytes,
                                 const ucp_am_recv_param_t* param) {
  auto* reader = static_cast<UcxReader*>(self);
  if ((param->recv_attr & UCP_AM_RECV_ATTR_FIELD_REPLY_EP) == 0) return UCS_OK;
  const auto it = reader->links_.find(param->reply_ep);
  if (it == reader->links_.end()) return UCS_OK;
  const auto link = it->second;
  return link->take(
      wire::parse_piece({static_cast<const std::byte*>(header), header_bytes}, body_bytes), body,
      (param->recv_attr & UCP_AM_RECV_ATTR_FLAG_RNDV) != 0);
}

void UcxReader::settle() {
  if (stopped_ == nullptr || under_way_ > 0) return;
  asio::post(*loop_, std::exchange(stopped_, nullptr));
}

}  // namespace baton::kv
