#include "kv_transfer/ucx_reader.h"

#include <fmt/format.h>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstring>
#include <deque>
#include <utility>
#include <vector>

namespace baton::kv {

namespace asio = boost::asio;
using asio::ip::tcp;

namespace {

// New pieces are asked for once this many can be, so that one message names many.
constexpr std::size_t kBatch = 16;

Error lost(std::string_view why) {
  return {ErrorCode::kUnavailable, Stage::kHandoff, fmt::format("ucx: {}", why), true};
}

}  // namespace

// A connection to one owner, and what is asked of it. It is known to the reader from connect()
// until UCX has closed its endpoint.
class UcxLink final : public Link, public std::enable_shared_from_this<UcxLink> {
 public:
  explicit UcxLink(UcxReader& reader) : reader_(reader), timer_(*reader.loop_) {}

  void begin(const tcp::endpoint& owner, TimePoint deadline, Transport::Connected done) {
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
      failed_ = true;
      report_connected(ucx_failure("connecting", status).error());
      return;
    }
    ++reader_.under_way_;
    reader_.links_[endpoint_] = shared_from_this();
    timer_.expires_at(deadline);
    timer_.async_wait([self = shared_from_this()](boost::system::error_code error) {
      if (!error) self->give_up(lost("no answer in time"));
    });
    send({}, {});  // a greeting: whoever answers it can be reached both ways
  }

  void fetch(TransferId transfer, std::vector<BlockRead> reads, PieceDone done) override {
    const auto shared = std::make_shared<PieceDone>(std::move(done));
    for (const BlockRead& read : reads) queue_.push_back({transfer, read, shared});
    if (failed_) {
      give_up_queue(lost("the link has failed"));
    } else {
      ask();
    }
  }
  bool failed() const override { return failed_; }
  void close() override {
    asio::post(*reader_.loop_,
               [self = shared_from_this()] { self->give_up(lost("the link was closed")); });
  }

  // A message from the owner; the answer is UCX's: whether the body is being received.
  ucs_status_t take(const Result<wire::PieceHeader>& header, void* body, bool is_rendezvous);

 private:
  struct Piece {
    TransferId transfer;
    BlockRead read;
    std::shared_ptr<PieceDone> done;
    bool receiving = false;  // UCX writes to read.into
  };
  struct Question {
    std::shared_ptr<UcxLink> link;
    wire::FetchHeader header;
    std::vector<wire::Wanted> wanted;
  };
  struct Arrival {
    std::shared_ptr<UcxLink> link;
    std::uint64_t tag = 0;
  };

  static void on_error(void* self, ucp_ep_h, ucs_status_t status);
  static void on_sent(void* request, ucs_status_t status, void* question);
  static void on_received(void* request, ucs_status_t status, std::size_t bytes, void* arrival);

  void ask();
  void send(TransferId transfer, std::vector<wire::Wanted> wanted);
  ucs_status_t receive(std::uint64_t tag, Piece& piece, void* body);
  void finish(std::uint64_t tag, Result<void> result);
  void give_up(const Error& reason);
  void give_up_queue(const Error& reason);
  void report_connected(const Error& reason);
  void sent(Question* question);

  UcxReader& reader_;
  asio::steady_timer timer_;
  Transport::Connected connected_;
  ucp_ep_h endpoint_ = nullptr;
  std::deque<Piece> queue_;
  std::unordered_map<std::uint64_t, Piece> asked_;  // by tag
  std::uint64_t last_tag_ = 0;
  bool failed_ = false;
};

void UcxLink::on_error(void* self, ucp_ep_h, ucs_status_t status) {
  auto* link = static_cast<UcxLink*>(self);
  asio::post(*link->reader_.loop_, [link = link->shared_from_this(), status] {
    link->give_up(lost(ucs_status_string(status)));
  });
}

void UcxLink::ask() {
  if (failed_ || connected_ != nullptr) return;
  while (!queue_.empty()) {
    const std::size_t room = kUcxMaxOutstanding - asked_.size();
    if (room == 0 || (room < kBatch && queue_.size() > room)) return;
    const TransferId transfer = queue_.front().transfer;
    std::vector<wire::Wanted> wanted;
    while (!queue_.empty() && wanted.size() < room && queue_.front().transfer == transfer) {
      const BlockRead& read = queue_.front().read;
      wanted.push_back({.tag = ++last_tag_,
                        .generation = read.remote.generation,
                        .slot = read.remote.slot,
                        .index = read.index,
                        .bytes = static_cast<std::uint32_t>(read.into.size())});
      asked_.emplace(last_tag_, std::move(queue_.front()));
      queue_.pop_front();
    }
    send(transfer, std::move(wanted));
  }
}

void UcxLink::send(TransferId transfer, std::vector<wire::Wanted> wanted) {
  auto* question =
      new Question{.link = shared_from_this(), .header = {}, .wanted = std::move(wanted)};
  question->header.count = static_cast<std::uint32_t>(question->wanted.size());
  question->header.transfer_high = transfer.high();
  question->header.transfer_low = transfer.low();
  ++reader_.under_way_;
  ucp_request_param_t param{};
  param.op_attr_mask =
      UCP_OP_ATTR_FIELD_FLAGS | UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.flags = UCP_AM_SEND_FLAG_REPLY | UCP_AM_SEND_FLAG_EAGER;
  param.cb.send = &UcxLink::on_sent;
  param.user_data = question;
  void* request = ucp_am_send_nbx(endpoint_, kUcxFetchMessage, &question->header,
                                  sizeof(question->header), question->wanted.data(),
                                  question->wanted.size() * sizeof(wire::Wanted), &param);
  if (!UCS_PTR_IS_PTR(request)) sent(question);
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
  if (failed_) return UCS_OK;
  if (!header) {
    asio::post(*reader_.loop_,
               [self = shared_from_this(), reason = header.error()] { self->give_up(reason); });
    return UCS_OK;
  }
  if (header->status == wire::PieceStatus::kWelcome) {
    report_connected({});
    return UCS_OK;
  }
  const auto it = asked_.find(header->tag);
  if (it == asked_.end() || it->second.receiving) return UCS_OK;
  Piece& piece = it->second;
  if (header->status == wire::PieceStatus::kStale) {
    finish(header->tag, fail(ErrorCode::kStale, Stage::kHandoff,
                             fmt::format("the producer no longer holds block {} in generation {}",
                                         piece.read.index, piece.read.remote.generation),
                             true));
    return UCS_OK;
  }
  if (header->index != piece.read.index || header->generation != piece.read.remote.generation ||
      header->bytes != piece.read.into.size()) {
    finish(header->tag, fail(ErrorCode::kCorrupt, Stage::kHandoff,
                             "the producer sent another block than was asked for", true));
    return UCS_OK;
  }
  if (is_rendezvous) return receive(header->tag, piece, body);
  std::memcpy(piece.read.into.data(), body, piece.read.into.size());
  finish(header->tag, {});
  return UCS_OK;
}

ucs_status_t UcxLink::receive(std::uint64_t tag, Piece& piece, void* body) {
  piece.receiving = true;
  ++reader_.under_way_;
  auto* arrival = new Arrival{.link = shared_from_this(), .tag = tag};
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA;
  param.cb.recv_am = &UcxLink::on_received;
  param.user_data = arrival;
  void* request = ucp_am_recv_data_nbx(reader_.worker_.handle(), body, piece.read.into.data(),
                                       piece.read.into.size(), &param);
  if (!UCS_PTR_IS_PTR(request)) {
    on_received(nullptr, UCS_PTR_STATUS(request), piece.read.into.size(), arrival);
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
  const Piece& piece = node.mapped();
  (*piece.done)(piece.read.index, std::move(result));
  ask();
}

void UcxLink::give_up(const Error& reason) {
  if (std::exchange(failed_, true)) return;
  const auto self = shared_from_this();
  report_connected(reason);
  give_up_queue(reason);
  std::vector<std::uint64_t> tags;
  for (const auto& [tag, piece] : asked_) {
    if (!piece.receiving) tags.push_back(tag);  // the others end by on_received()
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
  auto queue = std::exchange(queue_, {});
  if (queue.empty()) return;
  asio::post(*reader_.loop_, [queue = std::move(queue), reason] {
    for (const Piece& piece : queue) (*piece.done)(piece.read.index, std::unexpected(reason));
  });
}

void UcxLink::report_connected(const Error& reason) {
  if (connected_ == nullptr) return;
  timer_.cancel();
  const auto done = std::exchange(connected_, nullptr);
  asio::post(*reader_.loop_, [done, self = shared_from_this(), reason] {
    if (self->failed_) {
      done(std::unexpected(reason));
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

void UcxReader::connect(const std::string& host, const std::string& port, TimePoint deadline,
                        Transport::Connected done) {
  const auto begin = [this, deadline, done = std::move(done)](
                         boost::system::error_code error, const tcp::resolver::results_type& to) {
    if (stopping_ || error || to.empty()) {
      done(std::unexpected(lost(stopping_ ? "stopping" : error.message())));
    } else {
      std::make_shared<UcxLink>(*this)->begin(to.begin()->endpoint(), deadline, done);
    }
  };
  auto resolver = std::make_shared<tcp::resolver>(*loop_);
  resolver->async_resolve(host, port,
                          [begin, resolver](auto error, const auto& to) { begin(error, to); });
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
