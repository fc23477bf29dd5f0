#include "kv_transfer/nccl/nccl_owner.h"

#include <fmt/format.h>

#include <array>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstring>
#include <deque>
#include <span>
#include <utility>
#include <vector>

#include "core/log.h"
#include "kv_transfer/address.h"
#include "kv_transfer/nccl/control_stream.h"
#include "kv_transfer/nccl/nccl_channel.h"
#include "kv_transfer/nccl/nccl_frame.h"

namespace baton::kv {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

namespace {

// Each has a thread, and memory of the GPU.
constexpr std::size_t kMaxGuests = 64;
constexpr auto kTokenTime = std::chrono::seconds(2);  // from the connection to its token
// What a reader of ours never asks for at once.
constexpr std::size_t kMaxQueued = 8 * wire::kMaxWanted;
// One pack's body is on its way while the next is copied out of its slots.
constexpr int kMaxUnderWay = 2;

}  // namespace

// One reader. Known to the owner until nothing of its communicator is left.
class NcclGuest final : public std::enable_shared_from_this<NcclGuest> {
 public:
  explicit NcclGuest(NcclOwner& owner) : owner_(owner), timer_(*owner.loop_) {}

  void begin(tcp::socket socket) {
    control_ = std::make_shared<ControlStream>(
        std::move(socket), [self = shared_from_this()](const std::string&) { self->close({}); });
    timer_.expires_after(kTokenTime);
    timer_.async_wait([self = shared_from_this()](error_code error) {
      if (!error) self->close("it showed no token");
    });
    control_->read(std::as_writable_bytes(std::span(token_)),
                   [self = shared_from_this()] { self->admit(); });
  }

  void close(std::string_view why) {
    if (std::exchange(closed_, true)) return;
    if (!why.empty()) log(LogLevel::kWarn, "nccl reader dropped", {{"reason", why}});
    timer_.cancel();
    control_->close();
    queue_.clear();
    const auto gone = [self = shared_from_this()] { self->owner_.gone(self); };
    if (channel_ == nullptr) {
      asio::post(*owner_.loop_, gone);
      return;
    }
    channel_->close({ErrorCode::kUnavailable, Stage::kHandoff, "nccl: the reader left", true},
                    gone);
  }

 private:
  struct Request {
    TransferId transfer;
    wire::Wanted wanted;
    Slices slices;
  };
  using Answers = std::deque<PieceAnswer>;  // which does not move them

  void admit() {
    if (!owner_.tokens_.redeem({token_.data(), token_.size()}, Clock::now())) {
      return close("it has no valid token");
    }
    timer_.cancel();
    channel_ = std::make_shared<NcclChannel>(owner_.loop_, owner_.context_);
    channel_->begin_as_owner(
        [self = shared_from_this()](const nccl::UniqueId& id) { self->welcome(id); },
        [self = shared_from_this()](const Result<void>& joined) {
          if (!joined) self->close(joined.error().message);
        });
    await_fetch();
  }

  void welcome(const nccl::UniqueId& id) {
    wire::NcclWelcome welcome;
    welcome.header.tag = static_cast<std::uint64_t>(owner_.context_->version);
    welcome.id = id;
    std::vector<std::byte> message;
    wire::append(message, welcome);
    control_->write(std::move(message));
  }

  void await_fetch() {
    control_->read(std::as_writable_bytes(std::span(&header_, 1)),
                   [self = shared_from_this()] { self->fetch_announced(); });
  }

  void fetch_announced() {
    if (header_.count > wire::kMaxWanted || header_.slices > kMaxSlices) {
      return close("it asks for too much at once");
    }
    body_.resize(wire::body_bytes(header_));
    control_->read(body_, [self = shared_from_this()] { self->fetch_described(); });
  }

  void fetch_described() {
    const auto fetch =
        wire::parse_fetch(std::as_bytes(std::span(&header_, 1)), std::as_bytes(std::span(body_)));
    if (!fetch) return close(fetch.error().message);
    if (queue_.size() + fetch->wanted.size() > kMaxQueued) {
      return close("it asks for too much at once");
    }
    for (const wire::Wanted& wanted : fetch->wanted)
      queue_.push_back({fetch->transfer, wanted, fetch->slices});
    await_fetch();
    serve();
  }

  void serve() {
    while (!closed_ && !queue_.empty() && under_way_ < kMaxUnderWay) send_pack();
  }

  void send_pack() {
    const auto count = std::min(queue_.size(), wire::kMaxWanted);
    wire::PackHeader pack{.count = static_cast<std::uint32_t>(count)};
    std::vector<std::span<const std::byte>> bodies;
    const auto answers = std::make_shared<Answers>();
    for (; answers->size() < count; queue_.pop_front()) {
      const Request& request = queue_.front();
      PieceAnswer& answer = answers->emplace_back();
      owner_.blocks_.answer(request.transfer, request.wanted, request.slices, answer);
      if (answer.body.empty()) continue;
      pack.bytes += answer.body.size();
      bodies.push_back(answer.body);
    }
    announce(pack, *answers);
    if (bodies.empty()) return;
    ++under_way_;
    channel_->send(std::move(bodies),
                   [self = shared_from_this(), answers](const Result<void>& result) {
                     for (const PieceAnswer& one : *answers) self->owner_.blocks_.let_go(one);
                     if (!result) return self->close(result.error().message);
                     self->part_done();
                   });
  }

  void announce(const wire::PackHeader& pack, const Answers& answers) {
    std::vector<std::byte> message;
    wire::append(message, pack);
    for (const PieceAnswer& answer : answers) wire::append(message, answer.header);
    ++under_way_;  // a reader that does not take what it is told is not told more
    control_->write(std::move(message), [self = shared_from_this()] { self->part_done(); });
  }

  void part_done() {
    --under_way_;
    serve();
  }

  NcclOwner& owner_;
  asio::steady_timer timer_;
  std::shared_ptr<ControlStream> control_;
  std::shared_ptr<NcclChannel> channel_;
  bool closed_ = false;
  std::array<char, OneTimeTokens::kBytes> token_{};
  wire::FetchHeader header_;
  std::vector<std::byte> body_;  // of the fetch
  std::deque<Request> queue_;
  int under_way_ = 0;  // headers being written and bodies being sent
};

NcclOwner::NcclOwner(Loop loop, BlockArena& arena, std::shared_ptr<const NcclContext> context)
    : loop_(std::move(loop)), context_(std::move(context)), blocks_(arena), acceptor_(loop_) {}

NcclOwner::~NcclOwner() = default;

Result<void> NcclOwner::listen(const std::string& host) {
  const auto endpoint = endpoint_on(loop_, host, "nccl");
  if (!endpoint) return std::unexpected(endpoint.error());
  const error_code error =
      acceptor_.listen(*endpoint, [this](tcp::socket socket) { welcome(std::move(socket)); });
  if (error) {
    return fail(ErrorCode::kUnavailable, Stage::kConfig,
                fmt::format("listening on {} for the nccl transport: {}", host, error.message()));
  }
  address_ = fmt::format("{}:{}", host, acceptor_.endpoint().port());
  return {};
}

void NcclOwner::stop(std::function<void()> done) {
  acceptor_.close();
  stopped_ = std::move(done);
  for (const auto& guest : std::unordered_set(guests_)) guest->close({});
  if (guests_.empty()) asio::post(*loop_, std::exchange(stopped_, nullptr));
}

void NcclOwner::welcome(tcp::socket socket) {
  if (guests_.size() >= kMaxGuests) {
    log(LogLevel::kWarn, "nccl reader refused", {{"reason", "too many readers"}});
    return;
  }
  const auto guest = std::make_shared<NcclGuest>(*this);
  guests_.insert(guest);
  guest->begin(std::move(socket));
}

void NcclOwner::gone(const std::shared_ptr<NcclGuest>& guest) {
  guests_.erase(guest);
  if (stopped_ && guests_.empty()) asio::post(*loop_, std::exchange(stopped_, nullptr));
}

}  // namespace baton::kv
