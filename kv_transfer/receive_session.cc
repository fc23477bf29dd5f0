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

// Handed to a link at once at most; twice what it has under way, so that it never waits for more.
constexpr std::size_t kWindow = 128;
constexpr auto kLookForSlots = std::chrono::milliseconds(2);

}  // namespace

ReceiveSession::ReceiveSession(const ReceiveContext& context, ReceiveRequest request,
                               std::shared_ptr<Receiver> receiver, std::function<void()> ended)
    : context_(context),
      request_(std::move(request)),
      receiver_(std::move(receiver)),
      ended_(std::move(ended)),
      deadline_(*context_.loop),
      heartbeat_(*context_.loop),
      slots_(*context_.loop) {}

void ReceiveSession::begin(ReaderKey reader) {
  reader_ = reader;
  begun_ = Clock::now();
  deadline_.expires_at(request_.deadline);
  deadline_.async_wait([self = shared_from_this()](error_code error) {
    if (error) return;
    self->end(fail(ErrorCode::kTimeout, Stage::kHandoff,
                   "the hand-off did not end before its deadline", true));
  });
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
    end(std::unexpected(std::move(peer.error())));
    return;
  }
  peer_ = std::move(*peer);
  summary_.transport = peer_->transport;
  last_sign_ = Clock::now();
  follow_ = peer_->control->follow(
      {.transfer = request_.transfer, .epoch = request_.epoch, .reader = reader_},
      [self = shared_from_this()](Result<wire::Event> event) { self->on_event(std::move(event)); });
  watch_heartbeat();
}

void ReceiveSession::on_event(Result<wire::Event> event) {
  if (ended_ == nullptr) return;
  if (!event) {
    if (event.error().code == ErrorCode::kUnavailable) context_.peers.forget(peer_);
    end(std::unexpected(std::move(event.error())));
    return;
  }
  last_sign_ = Clock::now();
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
    end(fail(ErrorCode::kUpstream, Stage::kHandoff,
             "the producer published blocks that cannot be: out of order or too large", true));
    return;
  }
  for (const BlockDescriptor& block : published.blocks) {
    const std::uint32_t index = next_index_++;
    if (block.first_token + block.token_count <= request_.from_token) {
      ++summary_.held_blocks;
    } else {
      wanted_.push_back({index, block});
    }
  }
  pull();
}

bool ReceiveSession::is_acceptable(const BlockDescriptor& block) const {
  return block.bytes <= static_cast<std::uint64_t>(context_.arena.slot_bytes().count());
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

void ReceiveSession::pull() {
  if (ended_ == nullptr || waiting_for_slots_ || under_way_.size() > kWindow / 2) return;
  std::vector<BlockRead> reads;
  while (!wanted_.empty() && under_way_.size() < kWindow) {
    const auto slot = context_.arena.allocate();
    if (!slot) break;
    (void)context_.arena.pin(*slot);
    const Block& block = wanted_.front();
    reads.push_back({.index = block.index,
                     .remote = block.remote.slot,
                     .into = context_.arena.bytes(*slot).first(block.remote.bytes)});
    under_way_[block.index] = {.remote = block.remote, .local = *slot};
    wanted_.pop_front();
  }
  if (!wanted_.empty() && under_way_.size() < kWindow) wait_for_slots();
  if (reads.empty()) return;
  peer_->link->fetch(request_.transfer, std::move(reads),
                     [self = shared_from_this()](std::uint32_t index, Result<void> result) {
                       self->arrived(index, result);
                     });
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

void ReceiveSession::arrived(std::uint32_t index, const Result<void>& result) {
  const auto node = under_way_.extract(index);
  const Piece& piece = node.mapped();
  const auto bytes = context_.arena.bytes(piece.local).first(piece.remote.bytes);
  const bool is_wanted = ended_ != nullptr && result.has_value();
  if (is_wanted && checksum_of(bytes) == piece.remote.checksum) {
    summary_.bytes += Bytes(piece.remote.bytes);
    ++summary_.blocks;
    BlockDescriptor local = piece.remote;
    local.slot = piece.local;
    receiver_->on_block(local);
    pull();
    finish_if_complete();
    return;
  }
  context_.arena.unpin(piece.local);
  context_.arena.free(piece.local);
  if (is_wanted) {
    end(fail(ErrorCode::kCorrupt, Stage::kHandoff,
             fmt::format("block {} does not have its checksum", index), true));
  } else if (!result) {
    if (result.error().code == ErrorCode::kUnavailable && ended_ != nullptr) {
      context_.peers.forget(peer_);
    }
    end(std::unexpected(result.error()));
  }
  detach_when_settled();
}

void ReceiveSession::finish_if_complete() {
  if (ended_ == nullptr || !sealed_ || !wanted_.empty() || !under_way_.empty()) return;
  summary_.total = Clock::now() - begun_;
  outcome_ = wire::Outcome::kAcknowledged;
  end(summary_);
}

void ReceiveSession::watch_heartbeat() {
  heartbeat_.expires_after(context_.options.heartbeat);
  heartbeat_.async_wait([self = shared_from_this()](error_code error) {
    if (error || self->ended_ == nullptr) return;
    if (Clock::now() - self->last_sign_ > 3 * self->context_.options.heartbeat) {
      self->context_.peers.forget(self->peer_);
      self->end(fail(ErrorCode::kUnavailable, Stage::kHandoff,
                     fmt::format("{} missed three heartbeats", self->request_.peer), true));
    } else {
      self->watch_heartbeat();
    }
  });
}

void ReceiveSession::end(Result<ReceiveSummary> result) {
  if (ended_ == nullptr) return;
  const auto ended = std::exchange(ended_, nullptr);
  deadline_.cancel();
  heartbeat_.cancel();
  slots_.cancel();
  wanted_.clear();
  const Duration exposed = result ? Clock::now() - result->sealed_at : Duration::zero();
  if (result) {
    context_.metrics.received(result->transport, result->bytes, result->blocks, result->held_blocks,
                              result->total, exposed);
  } else {
    context_.metrics.failed(result.error().code);
  }
  receiver_->on_end(result);  // before the log: a decode step waits for it
  log_end(result, exposed);
  detach_when_settled();
  ended();
}

void ReceiveSession::log_end(const Result<ReceiveSummary>& result, Duration exposed) const {
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
       {"exposed_ms", to_ms(exposed)}});
}

// The producer may reuse the slots once this reader is gone, so the reader goes last.
void ReceiveSession::detach_when_settled() {
  if (ended_ != nullptr || !under_way_.empty() || detached_) return;
  detached_ = true;
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
