#include "kv_transfer/nccl/nccl_channel.h"

#include <pthread.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cstring>
#include <iterator>
#include <utility>

#include "core/log.h"

namespace baton::kv {

namespace asio = boost::asio;

namespace {

constexpr int kOwnerRank = 0;
constexpr int kReaderRank = 1;

Error closed_error() {
  return {ErrorCode::kUnavailable, Stage::kHandoff, "nccl: the connection was closed", true};
}

}  // namespace

NcclChannel::NcclChannel(Loop loop, std::shared_ptr<const NcclContext> context)
    : loop_(std::move(loop)),
      context_(std::move(context)),
      work_(loop_->get_executor()),
      timer_(*loop_) {}

void NcclChannel::begin_as_owner(IdMade id_made, Done joined) {
  id_made_ = std::move(id_made);
  joined_ = std::move(joined);
  begin(std::nullopt);
}

void NcclChannel::begin_as_reader(const nccl::UniqueId& id, Done joined) {
  joined_ = std::move(joined);
  begin(id);
}

void NcclChannel::begin(std::optional<nccl::UniqueId> id) {
  thread_ = std::jthread([self = shared_from_this(), id](const std::stop_token& stop) mutable {
    ::pthread_setname_np(::pthread_self(), "kv-nccl");
    self->run(stop, id);
    // Not here, but on the kv thread, the last reference to it may go.
    const Loop loop = self->loop_;
    asio::post(*loop, [self = std::move(self)] { self->ended(); });
  });
}

void NcclChannel::send(std::vector<std::span<const std::byte>> from, Done done) {
  Job job;
  job.from.emplace(std::move(from));
  job.to_post = job.from->left();
  job.done = std::move(done);
  add(std::move(job));
}

void NcclChannel::receive(std::vector<std::span<std::byte>> into, Done done) {
  Job job;
  job.into.emplace(std::move(into));
  job.to_post = job.into->left();
  job.done = std::move(done);
  add(std::move(job));
}

void NcclChannel::add(Job job) {
  job.to_finish = job.to_post;
  {
    const std::lock_guard lock(inbox_mutex_);
    inbox_.push_back(std::make_unique<Job>(std::move(job)));
  }
  wake_.notify_one();
}

void NcclChannel::close(const Error& reason, std::function<void()> closed) {
  closed_ = std::move(closed);
  {
    const std::lock_guard lock(places_mutex_);
    places_gone_ = true;
  }
  fail_jobs(reason);
  thread_.request_stop();
  timer_.expires_after(context_->limits.abort);
  timer_.async_wait([self = shared_from_this()](boost::system::error_code error) {
    if (error || self->closed_ == nullptr) return;
    log(LogLevel::kError, "nccl communicator left behind",
        {{"reason", "NCCL does not return from a call; its thread and GPU memory are lost"}});
    self->thread_.detach();
    self->ended();
  });
}

void NcclChannel::ended() {
  if (closed_ == nullptr) return;  // left behind before
  timer_.cancel();
  if (thread_.joinable()) {
    thread_.join();
    id_made_ = nullptr;
    joined_ = nullptr;
  }
  work_.reset();
  std::exchange(closed_, nullptr)();
}

void NcclChannel::report(Done& done, Result<void> result) {
  if (done == nullptr) return;
  // Moved, so that what it holds goes on the kv thread.
  asio::post(*loop_,
             [done = std::exchange(done, nullptr), result = std::move(result)] { done(result); });
}

void NcclChannel::fail_jobs(const Error& error) {
  const std::scoped_lock lock(places_mutex_, inbox_mutex_);
  for (const auto& job : jobs_) report(job->done, std::unexpected(error));
  for (const auto& job : inbox_) report(job->done, std::unexpected(error));
}

void NcclChannel::run(const std::stop_token& stop, std::optional<nccl::UniqueId> id) {
  Error error;
  if (auto taken = context_->gpu->use_in_this_thread(); !taken) {
    error = taken.error();
  } else if (auto staging = NcclStaging::create(context_->gpu->driver()); !staging) {
    error = staging.error();
  } else {
    error = work(stop, id, **staging);
    (*staging)->release(context_->limits.abort / 2);
  }
  if (!stop.stop_requested()) report(joined_, std::unexpected(error));
  do {
    take_jobs();
    fail_jobs(error);
  } while (wait_for_jobs(stop));
}

Error NcclChannel::work(const std::stop_token& stop, std::optional<nccl::UniqueId> id,
                        NcclStaging& staging) {
  const int rank = id ? kReaderRank : kOwnerRank;
  if (!id) {
    id.emplace();
    auto made = nccl::check(context_->nccl, "making an id", context_->nccl.get_unique_id(&*id));
    if (!made) return made.error();
    asio::post(*loop_, [made = std::exchange(id_made_, nullptr), id = *id] { made(id); });
  }
  Patience patience(stop);
  NcclCommunicator communicator(*context_, patience);
  if (auto joined = communicator.join(*id, 2, rank); !joined) return joined.error();
  report(joined_, {});
  Error error = exchange(stop, communicator, staging, patience);
  // Nothing touches the places any more, so their owners need not wait for the abort.
  fail_jobs(error);
  return error;
}

Error NcclChannel::exchange(const std::stop_token& stop, NcclCommunicator& communicator,
                            NcclStaging& staging, Patience& patience) {
  for (;;) {
    take_jobs();
    Result<void> step;
    if (posting_ < jobs_.size() && under_way_.size() < NcclStaging::kHalves) {
      step = post_chunk(communicator, staging);
    } else if (!under_way_.empty()) {
      step = finish_oldest(communicator, staging, patience);
    } else if (!wait_for_jobs(stop)) {
      return closed_error();
    }
    if (!step) return step.error();
  }
}

void NcclChannel::take_jobs() {
  const std::scoped_lock lock(places_mutex_, inbox_mutex_);
  std::ranges::move(inbox_, std::back_inserter(jobs_));
  inbox_.clear();
}

bool NcclChannel::wait_for_jobs(const std::stop_token& stop) {
  std::unique_lock lock(inbox_mutex_);
  return wake_.wait(lock, stop, [this] { return !inbox_.empty(); });
}

Result<void> NcclChannel::post_chunk(NcclCommunicator& communicator, NcclStaging& staging) {
  const NcclStaging::Half& half = staging.half(next_half_);
  Chunk chunk{.half = &half};
  {
    const std::lock_guard lock(places_mutex_);
    if (places_gone_) return std::unexpected(closed_error());
    chunk.job = jobs_[posting_].get();
    chunk.bytes = std::min(chunk.job->to_post, kNcclChunkBytes);
    if (chunk.job->from) {
      chunk.job->from->next(chunk.bytes, [&half](std::span<const std::byte> from, std::size_t at) {
        std::memcpy(half.host + at, from.data(), from.size());
      });
    }
  }
  if (chunk.job->from) {
    if (auto copied = staging.to_device(half, chunk.bytes); !copied) return copied;
    auto sent = communicator.send(half.device, chunk.bytes, kReaderRank, staging.stream());
    if (!sent) return sent;
  } else {
    auto received = communicator.receive(half.device, chunk.bytes, kOwnerRank, staging.stream());
    if (!received) return received;
    if (auto copied = staging.to_host(half, chunk.bytes); !copied) return copied;
  }
  if (auto marked = staging.mark(half); !marked) return marked;
  chunk.job->to_post -= chunk.bytes;
  if (chunk.job->to_post == 0) ++posting_;
  under_way_.push_back(chunk);
  next_half_ = (next_half_ + 1) % NcclStaging::kHalves;
  return {};
}

Result<void> NcclChannel::finish_oldest(const NcclCommunicator& communicator,
                                        const NcclStaging& staging, Patience& patience) {
  const Chunk chunk = under_way_.front();
  const auto passed =
      patience.until("moving blocks", context_->limits.stall, [&]() -> Result<bool> {
        if (auto healthy = communicator.health(); !healthy) {
          return std::unexpected(healthy.error());
        }
        return staging.has_passed(*chunk.half);
      });
  if (!passed) return passed;
  under_way_.pop_front();
  const std::lock_guard lock(places_mutex_);
  if (places_gone_) return std::unexpected(closed_error());
  if (chunk.job->into) {
    chunk.job->into->next(chunk.bytes, [&chunk](std::span<std::byte> into, std::size_t at) {
      std::memcpy(into.data(), chunk.half->host + at, into.size());
    });
  }
  chunk.job->to_finish -= chunk.bytes;
  if (chunk.job->to_finish > 0) return {};
  report(chunk.job->done, {});
  jobs_.pop_front();
  --posting_;
  return {};
}

}  // namespace baton::kv
