#include "kv_transfer/receive_session.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "core/log.h"

namespace baton::kv {
namespace {

using boost::system::error_code;

// Asked of a link at once at most, in blocks and in bytes: what the receiver has room for, and so
// all that its producer may send.
constexpr std::size_t kWindow = 512;
constexpr std::size_t kWindowBytes = 16 << 20;
constexpr int kMostFetches = 3;      // of a block that comes wrong
constexpr int kMostConnections = 4;  // of one hand-off
constexpr auto kFirstBackOff = std::chrono::milliseconds(50);
constexpr auto kLookForSlots = std::chrono::milliseconds(2);

}  // namespace

ReceiveSession::ReceiveSession(const ReceiveContext& context, ReceiveRequest request,
                               std::shared_ptr<Receiver> receiver, std::function<void()> ended)
    : context_(context),
      request_(std::move(request)),
      slice_bytes_(request_.slices == nullptr ? 0 : bytes_of(*request_.slices)),
      receiver_(std::move(receiver)),
      ended_(std::move(ended)),
      deadline_(*context_.loop),
      heartbeat_(*context_.loop),
      slots_(*context_.loop),
      back_off_(*context_.loop) {}

void ReceiveSession::begin() {
  begun_ = Clock::now();
  if (request_.slices != nullptr && !are_sound(*request_.slices)) {
    end(fail(ErrorCode::kInvalidArgument, Stage::kHandoff,
             "the slices of a receive() are none, too many, or empty ones"));
    return;
  }
  deadline_.expires_at(request_.deadline);
  deadline_.async_wait([self = shared_from_this()](error_code error) {
    if (error) return;
    // Whether or not it is its connection's fault: the next one has a connection of its own.
    if (self->peer_ != nullptr) self->context_.peers.retire(self->peer_);
    self->end(fail(
        ErrorCode::kTimeout, Stage::kHandoff,
        fmt::format("the hand-off from {} did not end before its deadline", self->request_.peer),
        true));
  });
  connect();
}

void ReceiveSession::connect() {
  going_on_ = false;
  ++connections_;
  reader_ = context_.draw_reader();
  next_index_ = 0;
  sealed_ = false;
  context_.peers.acquire(request_.peer, request_.engine_id, request_.epoch,
                         [self = shared_from_this()](Result<std::shared_ptr<Peer>> peer) {
                           self->acquired(std::move(peer));
                         });
}

void ReceiveSession::cancel(Error reason) {
  if (ended_ == nullptr) return;
  outcome_ = wire::Outcome::kCancelled;
  end(std::unexpected(std::move(reason)));
}

void ReceiveSession::acquired(Result<std::shared_ptr<Peer>> peer) {
  if (ended_ == nullptr) return;
  if (!peer) {
    const bool says_no_more = interruption_ && (peer.error().code == ErrorCode::kUnavailable ||
                                                peer.error().code == ErrorCode::kTimeout);
    end(std::unexpected(says_no_more ? *interruption_ : std::move(peer.error())));
    return;
  }
  interruption_.reset();
  peer_ = std::move(*peer);
  summary_.transport = peer_->transport;
  last_sign_ = Clock::now();
  may_have_been_cut_ = std::exchange(peer_->was_used, true);
  follow_ = peer_->control->follow(
      {.transfer = request_.transfer, .epoch = request_.epoch, .reader = reader_},
      [self = shared_from_this(), reader = reader_](Result<wire::Event> event) {
        if (reader == self->reader_) self->on_event(std::move(event));
      });
  watch_heartbeat();
}

void ReceiveSession::on_event(Result<wire::Event> event) {
  last_sign_ = Clock::now();
  may_have_been_cut_ = false;
  if (ended_ == nullptr && !event) heartbeat_.cancel();
  if (ended_ == nullptr || interruption_) return;
  if (!event) {
    const ErrorCode code = event.error().code;
    if (code == ErrorCode::kUnavailable || code == ErrorCode::kCorrupt) {
      return interrupt(event.error());
    }
    end(std::unexpected(std::move(event.error())));
    return;
  }
  if (const auto* published = std::get_if<wire::Published>(&*event)) {
    on_published(*published);
  } else if (const auto* sealed = std::get_if<wire::Sealed>(&*event)) {
    on_sealed(*sealed);
  } else if (const auto* error = std::get_if<Error>(&*event)) {
    end(std::unexpected(*error));
  }
}

void ReceiveSession::on_published(const wire::Published& published) {
  const bool is_next = published.first_index == next_index_ && !sealed_;
  if (!is_next || !std::ranges::all_of(published.blocks, [this](const BlockDescriptor& block) {
        return is_acceptable(block);
      })) {
    end(fail(
        ErrorCode::kUpstream, Stage::kHandoff,
        fmt::format("{} published blocks that cannot be: out of order, or not of the size that "
                    "fits a slot here",
                    request_.peer),
        true));
    return;
  }
  for (const BlockDescriptor& block : published.blocks) {
    const std::uint32_t index = next_index_++;
    if (index >= arrived_.size()) arrived_.resize(index + 1);
    if (arrived_[index]) continue;
    if (block.first_token + block.token_count <= request_.from_token) {
      arrived_[index] = true;
      ++summary_.held_blocks;
    } else {
      wanted_.push_back({index, block});
    }
  }
  pull();
}

std::size_t ReceiveSession::bytes_here(const BlockDescriptor& remote) const {
  return slice_bytes_ == 0 ? remote.bytes : slice_bytes_;
}

bool ReceiveSession::is_acceptable(const BlockDescriptor& block) const {
  const bool has_slices = request_.slices == nullptr || end_of(*request_.slices) <= block.bytes;
  return has_slices &&
         bytes_here(block) <= static_cast<std::uint64_t>(context_.arena.slot_bytes().count());
}

void ReceiveSession::on_sealed(const wire::Sealed& sealed) {
  if (sealed_ || sealed.total_blocks != next_index_) {
    end(fail(ErrorCode::kUpstream, Stage::kHandoff, "the producer's seal does not fit its blocks",
             true));
    return;
  }
  sealed_ = true;
  summary_.sealed_at = Clock::now();
  summary_.prompt_tokens = sealed.terms.prompt_tokens;
  summary_.cached_tokens = sealed.terms.cached_tokens;
  finish_if_complete();
}

std::span<std::byte> ReceiveSession::place_of(const UnderWay& piece) const {
  return context_.arena.bytes(piece.local).first(bytes_here(piece.remote));
}

void ReceiveSession::pull() {
  if (ended_ == nullptr || interruption_ || waiting_for_slots_) return;
  if (under_way_.size() > kWindow / 2 || bytes_under_way_ > kWindowBytes / 2) return;
  std::vector<BlockRead> reads;
  while (!wanted_.empty() && under_way_.size() < kWindow && bytes_under_way_ < kWindowBytes) {
    const auto slot = context_.arena.allocate();
    if (!slot) {
      wait_for_slots();
      break;
    }
    (void)context_.arena.pin(*slot);
    const Block& block = wanted_.front();
    const auto& piece = under_way_[block.index] = {.remote = block.remote, .local = *slot};
    reads.push_back({.index = block.index, .remote = block.remote, .into = place_of(piece)});
    change_under_way(static_cast<std::int64_t>(reads.back().into.size()));
    wanted_.pop_front();
  }
  if (!reads.empty()) fetch(std::move(reads));
}

void ReceiveSession::fetch(std::vector<BlockRead> reads) {
  const TimePoint from = Clock::now();
  peer_->link->fetch({.transfer = request_.transfer,
                      .priority = request_.priority,
                      .deadline = request_.deadline,
                      .slices = request_.slices},
                     std::move(reads),
                     [self = shared_from_this()](std::uint32_t index, const Result<void>& result) {
                       self->arrived(index, result);
                     });
  posting_ += Clock::now() - from;
}

void ReceiveSession::wait_for_slots() {
  waiting_for_slots_ = true;
  if (context_.options.on_shortage) {
    context_.options.on_shortage(static_cast<int>(wanted_.size()));
  }
  slots_.expires_after(kLookForSlots);
  slots_.async_wait([self = shared_from_this()](error_code error) {
    if (error) return;
    self->waiting_for_slots_ = false;
    self->pull();
  });
}

void ReceiveSession::change_under_way(std::int64_t bytes) {
  bytes_under_way_ += static_cast<std::size_t>(bytes);
  context_.metrics.asked_for(bytes);
}

void ReceiveSession::arrived(std::uint32_t index, const Result<void>& result) {
  const auto it = under_way_.find(index);
  UnderWay& piece = it->second;
  const bool is_wrong = !result && result.error().code == ErrorCode::kCorrupt;
  if (is_wrong) context_.metrics.came_wrong();
  if (is_wrong && ended_ != nullptr && !interruption_ && !peer_->link->failed() &&
      piece.fetches < kMostFetches) {
    ++piece.fetches;
    context_.metrics.retried();
    fetch({{.index = index, .remote = piece.remote, .into = place_of(piece)}});
    return;
  }
  const UnderWay settled = under_way_.extract(it).mapped();
  change_under_way(-static_cast<std::int64_t>(bytes_here(settled.remote)));
  if (result && ended_ != nullptr) {
    took(index, settled);
  } else {
    context_.arena.unpin(settled.local);
    context_.arena.free(settled.local);
    if (!result) failed_to_come(result.error());
  }
  go_on_when_settled();
  detach_when_settled();
}

void ReceiveSession::failed_to_come(const Error& reason) {
  if (ended_ == nullptr || interruption_) return;
  if (reason.code == ErrorCode::kUnavailable || peer_->link->failed()) {
    interrupt(reason);
    return;
  }
  if (reason.code == ErrorCode::kStale) context_.metrics.was_stale();
  end(std::unexpected(reason));
}

void ReceiveSession::took(std::uint32_t index, const UnderWay& piece) {
  summary_.bytes += Bytes(static_cast<std::int64_t>(bytes_here(piece.remote)));
  ++summary_.blocks;
  arrived_[index] = true;
  BlockDescriptor local = piece.remote;
  local.slot = piece.local;
  if (slice_bytes_ > 0) {
    local.bytes = static_cast<std::uint32_t>(slice_bytes_);
    local.checksum = 0;
  }
  receiver_->on_block(local);
  pull();
  finish_if_complete();
}

void ReceiveSession::interrupt(const Error& reason) {
  if (ended_ == nullptr || interruption_) return;
  interruption_ = reason;
  heartbeat_.cancel();
  slots_.cancel();
  waiting_for_slots_ = false;
  wanted_.clear();  // the next connection tells of every block again
  context_.peers.forget(peer_);
  if (follow_ != nullptr) follow_->close();
  if (connections_ == kMostConnections) {
    end(std::unexpected(reason));
  } else {
    go_on_when_settled();
  }
}

void ReceiveSession::go_on_when_settled() {
  if (ended_ == nullptr || !interruption_ || !under_way_.empty() || going_on_) return;
  going_on_ = true;
  context_.metrics.retried();
  log(LogLevel::kWarn, "KV hand-off goes on over another connection",
      {{"transfer", request_.transfer.str()},
       {"peer", request_.peer},
       {"reason", interruption_->message},
       {"blocks", summary_.blocks}});
  // At once, then later and later.
  back_off_.expires_after(connections_ == 1 ? Duration::zero()
                                            : kFirstBackOff * (1 << connections_));
  back_off_.async_wait([self = shared_from_this()](error_code error) {
    if (!error && self->ended_ != nullptr) self->connect();
  });
}

void ReceiveSession::finish_if_complete() {
  if (ended_ == nullptr || interruption_) return;
  if (!sealed_ || !wanted_.empty() || !under_way_.empty()) return;
  summary_.total = Clock::now() - begun_;
  outcome_ = wire::Outcome::kAcknowledged;
  end(summary_);
}

// Goes on beyond the end while pieces are under way: a producer that is lost will not send them.
void ReceiveSession::watch_heartbeat() {
  heartbeat_.expires_after(context_.options.heartbeat);
  heartbeat_.async_wait([self = shared_from_this()](error_code error) {
    if (error || self->detached_) return;
    if (Clock::now() - self->last_sign_ > 3 * self->context_.options.heartbeat) {
      self->fell_silent();
    } else {
      self->watch_heartbeat();
    }
  });
}

void ReceiveSession::fell_silent() {
  const Error silence{ErrorCode::kUnavailable, Stage::kHandoff,
                      fmt::format("{} missed three heartbeats", request_.peer), true};
  // A connection that lay idle may be known to nobody on its way any more.
  if (may_have_been_cut_ && ended_ != nullptr) return interrupt(silence);
  context_.peers.forget(peer_);
  end(std::unexpected(silence));
}

void ReceiveSession::end(Result<ReceiveSummary> result) {
  if (ended_ == nullptr) return;
  const auto ended = std::exchange(ended_, nullptr);
  deadline_.cancel();
  slots_.cancel();
  back_off_.cancel();
  wanted_.clear();
  if (result) result->exposed = Clock::now() - result->sealed_at;
  if (result) {
    const auto blocks = static_cast<std::uint64_t>(result->blocks);
    context_.metrics.received(
        {.transport = result->transport,
         .bytes = result->bytes,
         .blocks = result->blocks,
         .held = result->held_blocks,
         .total = result->total,
         .exposed = result->exposed,
         .posting = posting_,
         .runs = blocks * (request_.slices == nullptr ? 1 : chunks_of(*request_.slices)),
         .descriptors = blocks * (request_.slices == nullptr ? 1 : request_.slices->size())});
  } else {
    context_.metrics.failed(result.error().code);
  }
  receiver_->on_end(result ? result : named(result.error()));  // before the log: a step waits
  log_end(result);
  detach_when_settled();
  ended();
}

std::unexpected<Error> ReceiveSession::named(Error error) const {
  error.message += fmt::format(" (transfer {} from {} at {})", request_.transfer.str(),
                               request_.engine_id, request_.peer);
  return std::unexpected(std::move(error));
}

void ReceiveSession::log_end(const Result<ReceiveSummary>& result) const {
  if (!result) {
    log(result.error().code == ErrorCode::kCancelled ? LogLevel::kInfo : LogLevel::kWarn,
        "KV hand-off failed",
        {{"transfer", request_.transfer.str()},
         {"peer", request_.peer},
         {"transport", summary_.transport},
         {"code", name_of(result.error().code)},
         {"reason", result.error().message},
         {"blocks", summary_.blocks}});
    return;
  }
  log(LogLevel::kInfo, "KV hand-off received",
      {{"transfer", request_.transfer.str()},
       {"peer", request_.peer},
       {"transport", result->transport},
       {"bytes", result->bytes.count()},
       {"blocks", result->blocks},
       {"held_blocks", result->held_blocks},
       {"total_ms", to_ms(result->total)},
       {"exposed_ms", to_ms(result->exposed)}});
}

// The producer may reuse the slots once this reader is gone, so the reader goes last.
void ReceiveSession::detach_when_settled() {
  if (ended_ != nullptr || !under_way_.empty() || detached_) return;
  detached_ = true;
  heartbeat_.cancel();
  if (peer_ == nullptr) return;
  if (outcome_) {
    peer_->control->release({.transfer = request_.transfer,
                             .epoch = request_.epoch,
                             .reader = reader_,
                             .outcome = *outcome_});
  }
  if (follow_ != nullptr) follow_->close();
}

}  // namespace baton::kv
