#include "kv_transfer/node.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/steady_timer.hpp>
#include <future>
#include <random>
#include <thread>
#include <unordered_map>
#include <utility>

#include "core/log.h"
#include "kv_transfer/cma_transport.h"
#include "kv_transfer/control_server.h"
#include "kv_transfer/kv_metrics.h"
#include "kv_transfer/lease_table.h"
#include "kv_transfer/nccl/nccl_transport.h"
#include "kv_transfer/peers.h"
#include "kv_transfer/receive_session.h"
#include "kv_transfer/shm_transport.h"
#include "kv_transfer/tcp_transport.h"
#include "kv_transfer/ucx_transport.h"

namespace baton::kv {
namespace {

namespace asio = boost::asio;

constexpr std::size_t kBlocksPerMessage = 1024;  // about 50 KB

Error stopping() { return {ErrorCode::kCancelled, Stage::kHandoff, "the pod is stopping", true}; }

Result<std::unique_ptr<Transport>> make_transport(const std::string& name, const Loop& loop,
                                                  BlockArena& arena, const NodeOptions& options) {
  const std::string host = options.listen.substr(0, options.listen.rfind(':'));
  if (name == "shm") return make_shm_transport(loop, arena);
  if (name == "cma") return make_cma_transport(loop, arena);
  if (name == "tcp") {
    return make_tcp_transport(loop, arena, {.host = host, .connections = options.tcp_connections});
  }
  if (name == "ucx") return make_ucx_transport(loop, arena, {.host = host, .tls = options.ucx_tls});
  if (name == "nccl") return make_nccl_transport(loop, arena, {.host = host});
  return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
              fmt::format("\"{}\" is no KV transport; known are {}", name,
                          fmt::join(kTransportNames, ", ")));
}

}  // namespace

// Everything below the line "kv thread" runs there; the rest is called from anywhere.
class Node::Impl final : public ControlHandler {
 public:
  Impl(NodeOptions options, std::unique_ptr<BlockArena> arena)
      : options_(std::move(options)),
        arena_(std::move(arena)),
        metrics_(options_.metrics != nullptr ? *options_.metrics : own_metrics_),
        leases_({.ttl = options_.lease_ttl,
                 .wait_for_open = options_.wait_for_open,
                 .quarantine = options_.quarantine}),
        peers_(loop_, options_, metrics_, transports_),
        timer_(*loop_),
        work_(loop_->get_executor()) {}

  ~Impl() override { stop(); }

  Result<void> start() {
    const auto& required = options_.require_transport;
    if (!required.empty() &&
        std::ranges::find(options_.transports, required) == options_.transports.end()) {
      return fail(
          ErrorCode::kInvalidArgument, Stage::kConfig,
          fmt::format("the required KV transport \"{}\" is not among the allowed ones", required));
    }
    Result<void> last;
    for (const std::string& name : options_.transports) {
      if (!required.empty() && name != required) continue;
      auto transport = make_transport(name, loop_, *arena_, options_);
      if (transport) {
        transports_.push_back(std::move(*transport));
        continue;
      }
      last = std::unexpected(transport.error());
      if (last.error().code != ErrorCode::kUnsupported || !required.empty()) return last;
      log(LogLevel::kWarn, "KV transport left out",
          {{"transport", name}, {"reason", last.error().message}});
    }
    if (!last && transports_.empty()) return last;
    auto server = ControlServer::start(options_.listen, options_.tls, loop_, *this);
    if (!server) return std::unexpected(server.error());
    server_ = std::move(*server);
    asio::post(*loop_, [this] { tick(); });
    thread_ = std::jthread([this] {
      ::pthread_setname_np(::pthread_self(), "kv");
      loop_->run();
    });
    return {};
  }

  BlockArena& arena() { return *arena_; }
  const std::string& address() const { return server_->address(); }

  template <class Work>
  void on_kv_thread(Work work) {
    asio::post(*loop_, std::move(work));
  }

  void open_lease(TransferId id, LeaseTerms terms) {
    on_kv_thread([this, id, terms] { apply(leases_.open(id, terms, Clock::now())); });
  }

  void publish(TransferId id, std::vector<BlockDescriptor> blocks) {
    const auto slot_bytes = static_cast<std::uint64_t>(arena_->slot_bytes().count());
    for (const BlockDescriptor& block : blocks) {
      if (block.bytes > 0 && block.bytes <= slot_bytes && block.token_count > 0) continue;
      abort(id,
            {ErrorCode::kInternal, Stage::kPrefill, "a published block has no place in a slot"});
      return;
    }
    const auto stale = std::ranges::find_if_not(
        blocks, [this](const BlockDescriptor& block) { return arena_->pin(block.slot); });
    if (stale != blocks.end()) {
      std::for_each(blocks.begin(), stale,
                    [this](const BlockDescriptor& block) { arena_->unpin(block.slot); });
      abort(id, {ErrorCode::kStale, Stage::kPrefill, "a block was freed before it was published",
                 true});
      return;
    }
    on_kv_thread([this, id, blocks = std::move(blocks)]() mutable {
      apply(leases_.publish(id, std::move(blocks)));
    });
  }

  void seal(TransferId id) {
    on_kv_thread([this, id] { apply(leases_.seal(id, Clock::now())); });
  }
  void abort(TransferId id, Error reason) {
    on_kv_thread([this, id, reason = std::move(reason)]() mutable {
      apply(leases_.abort(id, std::move(reason), Clock::now()));
    });
  }
  void release(TransferId id) {
    on_kv_thread([this, id] { apply(leases_.release(id, Clock::now())); });
  }

  ReceiveId receive(ReceiveRequest request, std::shared_ptr<Receiver> receiver) {
    const ReceiveId id = next_receive_.fetch_add(1, std::memory_order_relaxed);
    on_kv_thread(
        [this, id, request = std::move(request), receiver = std::move(receiver)]() mutable {
          begin_receive(id, std::move(request), std::move(receiver));
        });
    return id;
  }

  void cancel(ReceiveId id) {
    on_kv_thread([this, id] {
      if (const auto it = sessions_.find(id); it != sessions_.end()) {
        std::shared_ptr(it->second)
            ->cancel({ErrorCode::kCancelled, Stage::kHandoff, "the hand-off was cancelled"});
      }
    });
  }

  // ---- kv thread ----

  Result<wire::Welcome> on_handshake(const wire::Hello& hello) override {
    if (hello.protocol != wire::kProtocol) {
      log(LogLevel::kWarn, "KV reader refused",
          {{"engine", hello.engine_id}, {"reason", "another protocol"}});
      return std::unexpected(wire::other_protocol(hello.protocol, options_.engine_id));
    }
    if (hello.layout_hash != options_.layout_hash) {
      log(LogLevel::kWarn, "KV reader refused",
          {{"engine", hello.engine_id}, {"reason", "another KV layout"}});
      return fail(ErrorCode::kUnsupported, Stage::kHandoff,
                  fmt::format("KV layout {:016x} is not {:016x}, the producer's: both must run the "
                              "same model, KV types and block size",
                              hello.layout_hash, options_.layout_hash));
    }
    wire::Welcome welcome{.engine_id = options_.engine_id,
                          .epoch = options_.epoch,
                          .layout_hash = options_.layout_hash,
                          .offers = {}};
    for (const auto& transport : transports_) {
      if (std::ranges::find(hello.transports, transport->capabilities().name) !=
          hello.transports.end()) {
        welcome.offers.push_back(transport->reserve(Clock::now()));
      }
    }
    return welcome;
  }

  void on_follow(const wire::Follow& follow, std::shared_ptr<FollowStream> stream) override {
    if (stopping_ || follow.epoch != options_.epoch || streams_.contains(follow.reader)) {
      stream->send(stopping_ ? stopping()
                             : Error{ErrorCode::kStale, Stage::kHandoff,
                                     "the producer is of another epoch", true});
      stream->finish();
      return;
    }
    streams_[follow.reader] = std::move(stream);
    apply(leases_.follow(follow.transfer, follow.reader, Clock::now()));
  }
  void on_told(const wire::Follow& follow) override {
    apply(leases_.told(follow.transfer, follow.reader));
  }
  void on_follow_lost(const wire::Follow& follow) override {
    streams_.erase(follow.reader);
    apply(leases_.lost(follow.transfer, follow.reader, Clock::now()));
  }
  void on_release(const wire::Release& release) override {
    if (release.epoch != options_.epoch) return;
    apply(release.outcome == wire::Outcome::kAcknowledged
              ? leases_.acknowledge(release.transfer, release.reader, Clock::now())
              : leases_.cancel(release.transfer, release.reader, Clock::now()));
  }

 private:
  void apply(LeaseTable::Actions actions) {
    for (LeaseAction& action : actions) apply(action);
    if (!actions.empty()) observe();
  }

  void apply(LeaseAction& action) {
    using Kind = LeaseAction::Kind;
    switch (action.kind) {
      case Kind::kOffer:
        for (const auto& transport : transports_) transport->publish(action.id, action.blocks);
        break;
      case Kind::kWithdraw:
        for (const auto& transport : transports_) transport->abort(action.id);
        break;
      case Kind::kPublish: send_blocks(action); break;
      case Kind::kSeal: send(action.reader, wire::Sealed{action.terms, action.total_blocks}); break;
      case Kind::kAbort: send(action.reader, action.reason); break;
      case Kind::kClose: close_stream(action.reader); break;
      case Kind::kUnpin:
        for (const BlockDescriptor& block : action.blocks) arena_->unpin(block.slot);
        break;
      case Kind::kEnd:
        metrics_.lease_ended(name_of(action.state), action.held, action.margin);
        log(LogLevel::kDebug, "KV lease ended",
            {{"transfer", action.id.str()}, {"state", name_of(action.state)}});
        if (options_.on_lease_end) options_.on_lease_end(action.id, action.state, action.reason);
        break;
    }
  }

  void send(ReaderKey reader, wire::Event event) {
    if (const auto it = streams_.find(reader); it != streams_.end()) {
      it->second->send(std::move(event));
    }
  }

  void send_blocks(const LeaseAction& action) {
    for (std::size_t i = 0; i < action.blocks.size(); i += kBlocksPerMessage) {
      const auto from = action.blocks.begin() + static_cast<std::ptrdiff_t>(i);
      const auto count = std::min(kBlocksPerMessage, action.blocks.size() - i);
      send(action.reader,
           wire::Published{.first_index = action.first_index + static_cast<std::uint32_t>(i),
                           .blocks = {from, from + static_cast<std::ptrdiff_t>(count)}});
    }
  }

  void close_stream(ReaderKey reader) {
    const auto node = streams_.extract(reader);
    if (!node.empty()) node.mapped()->finish();
  }

  void begin_receive(ReceiveId id, ReceiveRequest request, std::shared_ptr<Receiver> receiver) {
    auto session =
        std::make_shared<ReceiveSession>(ReceiveContext{loop_, options_, *arena_, peers_, metrics_,
                                                        [this] { return draw_reader(); }},
                                         std::move(request), std::move(receiver), [this, id] {
                                           sessions_.erase(id);
                                           observe();
                                         });
    sessions_[id] = session;
    if (stopping_) {
      session->cancel(stopping());
    } else {
      session->begin();
    }
  }

  ReaderKey draw_reader() {
    const ReaderKey key = Id128::draw(random_).low();
    return key == 0 ? 1 : key;
  }

  void tick() {
    if (stopping_) return;
    for (const auto& [reader, stream] : streams_) stream->send(wire::Heartbeat{});
    apply(leases_.expire(Clock::now()));
    observe();
    timer_.expires_after(options_.heartbeat);
    timer_.async_wait([this](boost::system::error_code error) {
      if (!error) tick();
    });
  }

  void observe() { metrics_.observe(*arena_, leases_.open_leases(), sessions_.size()); }

  // Ends what is under way and lets the kv thread run out of work.
  void stop() {
    if (!thread_.joinable()) return;
    run_and_wait([this](auto done) { end_everything(std::move(done)); });
    server_->shut_down();
    run_and_wait([this](auto done) { stop_transports(std::move(done)); });
    on_kv_thread([this] { work_.reset(); });
    thread_.join();
  }

  template <class Work>
  void run_and_wait(Work work) {
    std::promise<void> finished;
    on_kv_thread([&] { work([&finished] { finished.set_value(); }); });
    finished.get_future().wait();
  }

  void end_everything(std::function<void()> done) {
    stopping_ = true;
    timer_.cancel();
    const auto sessions = sessions_;
    for (const auto& [id, session] : sessions) session->cancel(stopping());
    for (const TransferId& id : leases_.ids()) apply(leases_.abort(id, stopping(), Clock::now()));
    apply(leases_.expire(TimePoint::max()));
    const auto streams = std::exchange(streams_, {});
    for (const auto& [reader, stream] : streams) stream->finish();
    peers_.stop();
    done();
  }

  void stop_transports(std::function<void()> done) {
    const auto left = std::make_shared<std::size_t>(transports_.size() + 1);
    const auto one_less = [left, done = std::move(done)] {
      if (--*left == 0) done();
    };
    for (const auto& transport : transports_) transport->stop(one_less);
    one_less();
  }

  const Loop loop_ = std::make_shared<asio::io_context>(1);
  const NodeOptions options_;
  const std::unique_ptr<BlockArena> arena_;
  Metrics own_metrics_;
  KvMetrics metrics_;
  std::vector<std::unique_ptr<Transport>> transports_;
  LeaseTable leases_;
  PeerTable peers_;
  std::unordered_map<ReaderKey, std::shared_ptr<FollowStream>> streams_;
  std::unordered_map<ReceiveId, std::shared_ptr<ReceiveSession>> sessions_;
  std::atomic<ReceiveId> next_receive_{1};
  std::random_device random_;
  asio::steady_timer timer_;
  bool stopping_ = false;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::unique_ptr<ControlServer> server_;
  std::jthread thread_;
};

Result<std::unique_ptr<Node>> Node::start(NodeOptions options, std::unique_ptr<BlockArena> arena) {
  auto impl = std::make_unique<Impl>(std::move(options), std::move(arena));
  if (auto started = impl->start(); !started) return std::unexpected(started.error());
  return std::unique_ptr<Node>(new Node(std::move(impl)));
}

Node::Node(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Node::~Node() = default;
BlockArena& Node::arena() { return impl_->arena(); }
const std::string& Node::address() const { return impl_->address(); }
void Node::open_lease(TransferId id, std::int64_t prompt_tokens, std::int64_t cached_tokens) {
  impl_->open_lease(id, {.prompt_tokens = prompt_tokens, .cached_tokens = cached_tokens});
}
void Node::publish(TransferId id, std::vector<BlockDescriptor> blocks) {
  impl_->publish(id, std::move(blocks));
}
void Node::seal(TransferId id) { impl_->seal(id); }
void Node::abort(TransferId id, Error reason) { impl_->abort(id, std::move(reason)); }
void Node::release(TransferId id) { impl_->release(id); }
ReceiveId Node::receive(ReceiveRequest request, std::shared_ptr<Receiver> receiver) {
  return impl_->receive(std::move(request), std::move(receiver));
}
void Node::cancel(ReceiveId id) { impl_->cancel(id); }

}  // namespace baton::kv
