#include "kv_transfer/nccl/nccl_link.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/connect.hpp>
#include <boost/asio/post.hpp>
#include <cstring>
#include <utility>

#include "kv_transfer/address.h"

namespace baton::kv {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

// New pieces are asked for once this many can be, so that one message names many.
constexpr std::size_t kBatch = 16;
// Asked for in one turn of a transfer: what is sent by one call.
constexpr std::size_t kTurnBytes = kNcclChunkBytes;
// Enough to keep both halves of the staging busy at either end, and so little that an urgent
// transfer waits some milliseconds at most.
constexpr std::size_t kMaxOutstandingBytes = 4 * kNcclChunkBytes;

Error lost(std::string_view why) {
  return {ErrorCode::kUnavailable, Stage::kHandoff, fmt::format("nccl: {}", why), true};
}

Error nonsense(std::string_view what) {
  return {ErrorCode::kCorrupt, Stage::kHandoff, fmt::format("nccl: the producer sent {}", what),
          true};
}

template <class T>
std::span<std::byte> bytes_of(T& value) {
  return std::as_writable_bytes(std::span(&value, 1));
}

}  // namespace

NcclLink::NcclLink(Loop loop, std::shared_ptr<const NcclContext> context,
                   std::function<void()> gone)
    : loop_(std::move(loop)),
      context_(std::move(context)),
      gone_(std::move(gone)),
      socket_(*loop_),
      resolver_(*loop_),
      timer_(*loop_) {}

void NcclLink::begin(const TransportOffer& offer, TimePoint deadline, Transport::Connected done) {
  connected_ = std::move(done);
  timer_.expires_at(deadline);
  timer_.async_wait([self = shared_from_this()](error_code error) {
    if (!error) self->give_up(lost("no communicator in time"));
  });
  const HostAndPort to = split_address(offer.address).value_or(HostAndPort{});
  resolver_.async_resolve(to.host, to.port,
                          [self = shared_from_this(), token = offer.token](
                              error_code error, const tcp::resolver::results_type& found) {
                            if (error || self->failed()) {
                              return self->give_up(lost(error.message()));
                            }
                            asio::async_connect(
                                self->socket_, found,
                                [self, token](error_code failure, const tcp::endpoint&) {
                                  if (failure) return self->give_up(lost(failure.message()));
                                  self->connected(std::move(self->socket_), token);
                                });
                          });
}

void NcclLink::connected(tcp::socket socket, const std::string& token) {
  if (failed()) return;
  control_ = std::make_shared<ControlStream>(
      std::move(socket), [self = shared_from_this()](const std::string& why) {
        self->give_up(lost("the control connection to the producer: " + why));
      });
  const auto bytes = std::as_bytes(std::span(token));
  control_->write({bytes.begin(), bytes.end()});
  control_->read(bytes_of(welcome_), [self = shared_from_this()] { self->welcomed(); });
}

void NcclLink::welcomed() {
  const wire::PieceHeader& header = welcome_.header;
  const auto parsed = wire::parse_piece(std::as_bytes(std::span(&header, 1)), 0);
  if (!parsed) return give_up(parsed.error());
  if (parsed->status != wire::PieceStatus::kWelcome) return give_up(nonsense("no welcome"));
  if (std::cmp_not_equal(header.tag, context_->version)) {
    return give_up(
        {ErrorCode::kUnsupported, Stage::kHandoff,
         fmt::format("nccl: the producer has NCCL {} and this pod {}: both need the same",
                     nccl::version_text(static_cast<int>(header.tag % 1'000'000)),
                     nccl::version_text(context_->version))});
  }
  channel_ = std::make_shared<NcclChannel>(loop_, context_);
  channel_->begin_as_reader(welcome_.id, [self = shared_from_this()](const Result<void>& result) {
    self->joined(result);
  });
  await_pack();  // notices, too, that the producer goes
}

void NcclLink::joined(const Result<void>& result) {
  if (failed()) return;
  if (!result) return give_up(result.error());
  report_connected();
}

void NcclLink::fetch(const FetchTerms& terms, std::vector<BlockRead> reads, PieceDone done) {
  queue_.add(terms, std::move(reads), std::move(done));
  if (!failed()) return ask();
  asio::post(*loop_, [left = queue_.take_all()] {
    for (const Piece& piece : left) piece.report(std::unexpected(lost("the link has failed")));
  });
}

void NcclLink::close() {
  asio::post(*loop_, [self = shared_from_this()] { self->give_up(lost("the link was closed")); });
}

std::size_t NcclLink::room() const {
  const std::size_t room =
      kMaxOutstanding - std::min<std::size_t>(asked_.size() + in_channel_, kMaxOutstanding);
  if (room < kBatch || outstanding_bytes_ >= kMaxOutstandingBytes) return 0;
  return std::min(room, wire::kMaxWanted);
}

void NcclLink::ask() {
  while (!failed() && !queue_.empty() && room() > 0) {
    std::vector<Piece> pieces = queue_.take(room(), kTurnBytes);
    const FetchTerms& terms = pieces.front().order->terms;
    std::vector<std::byte> message;
    wire::append(message, wire::fetch_header(terms, pieces.size()));
    for (const Piece& piece : pieces) wire::append(message, wire::wanted(*piece.read, ++last_tag_));
    if (terms.slices != nullptr) wire::append(message, std::as_bytes(std::span(*terms.slices)));
    std::uint64_t tag = last_tag_ - pieces.size();
    for (Piece& piece : pieces) {
      outstanding_bytes_ += piece.read->into.size();
      asked_.push_back({.piece = std::move(piece), .tag = ++tag});
    }
    control_->write(std::move(message));
  }
}

void NcclLink::await_pack() {
  control_->read(bytes_of(pack_), [self = shared_from_this()] { self->pack_announced(); });
}

void NcclLink::pack_announced() {
  if (pack_.magic != wire::PackHeader::kMagic || pack_.count == 0 ||
      pack_.count > wire::kMaxWanted) {
    return give_up(nonsense("what is no pack"));
  }
  headers_.resize(pack_.count);
  control_->read(std::as_writable_bytes(std::span(headers_)),
                 [self = shared_from_this()] { self->pack_described(); });
}

bool NcclLink::is_answer() const {
  if (headers_.size() > asked_.size()) return false;
  std::uint64_t bytes = 0;
  for (std::size_t i = 0; i < headers_.size(); ++i) {
    const wire::PieceHeader& header = headers_[i];
    const BlockRead& read = *asked_[i].piece.read;
    const std::size_t body = header.status == wire::PieceStatus::kOk ? read.into.size() : 0;
    if (!wire::parse_piece(std::as_bytes(std::span(&header, 1)), body) ||
        header.status == wire::PieceStatus::kWelcome || header.tag != asked_[i].tag ||
        header.index != read.index || header.generation != read.remote.slot.generation) {
      return false;
    }
    bytes += body;
  }
  return bytes == pack_.bytes;
}

void NcclLink::pack_described() {
  if (!is_answer()) return give_up(nonsense("other blocks than were asked for"));
  std::vector<Asked> good;
  std::vector<Piece> gone;
  for (const wire::PieceHeader& header : headers_) {
    Asked asked = std::move(asked_.front());
    asked_.pop_front();
    asked.checksum = header.checksum;
    if (header.status == wire::PieceStatus::kOk) {
      good.push_back(std::move(asked));
    } else {
      outstanding_bytes_ -= asked.piece.read->into.size();
      gone.push_back(std::move(asked.piece));
    }
  }
  if (!good.empty()) receive(std::move(good));
  await_pack();
  for (const Piece& piece : gone) piece.report(std::unexpected(stale(*piece.read)));
  ask();
}

void NcclLink::receive(std::vector<Asked> good) {
  std::vector<std::span<std::byte>> into;
  for (const Asked& asked : good) into.push_back(asked.piece.read->into);
  in_channel_ += good.size();
  channel_->receive(std::move(into),
                    [self = shared_from_this(), good = std::move(good)](
                        const Result<void>& result) { self->received(good, result); });
}

void NcclLink::received(const std::vector<Asked>& good, const Result<void>& result) {
  in_channel_ -= good.size();
  if (!result) give_up(result.error());
  for (const Asked& asked : good) {
    outstanding_bytes_ -= asked.piece.read->into.size();
    asked.piece.report(result ? verify(asked.piece, asked.checksum) : result);
  }
  ask();
}

void NcclLink::give_up(const Error& reason) {
  if (failed()) return;
  failure_ = reason;
  const auto self = shared_from_this();
  error_code ignored;
  resolver_.cancel();
  socket_.close(ignored);
  if (control_ != nullptr) control_->close();
  report_connected();
  // What the channel has is reported by the channel, which no longer writes to it.
  if (channel_ != nullptr) {
    channel_->close(reason, [self] { self->gone_(); });
  } else {
    asio::post(*loop_, [self] { self->gone_(); });
  }
  std::vector<Piece> left = queue_.take_all();
  for (Asked& asked : asked_) left.push_back(std::move(asked.piece));
  asked_.clear();
  for (const Piece& piece : left) piece.report(std::unexpected(reason));
}

void NcclLink::report_connected() {
  if (connected_ == nullptr) return;
  timer_.cancel();
  asio::post(*loop_, [done = std::exchange(connected_, nullptr), self = shared_from_this()] {
    if (self->failed()) {
      done(std::unexpected(*self->failure_));
    } else {
      done(self);
    }
  });
}

}  // namespace baton::kv
