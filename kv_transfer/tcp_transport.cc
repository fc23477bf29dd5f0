#include "kv_transfer/tcp_transport.h"

#include <boost/asio/post.hpp>
#include <utility>
#include <vector>

#include "kv_transfer/tcp_link.h"
#include "kv_transfer/tcp_owner.h"

namespace baton::kv {
namespace {

namespace asio = boost::asio;

class TcpTransport final : public Transport {
 public:
  TcpTransport(Loop loop, BlockArena& arena) : loop_(loop), owner_(loop, arena) {}

  Result<void> listen(const std::string& host) { return owner_.listen(host); }

  Capabilities capabilities() const override {
    return {.name = "tcp", .same_host = false, .max_outstanding = TcpLink::kMaxOutstanding};
  }
  TransportOffer reserve(TimePoint now) override {
    return {"tcp", owner_.address(), owner_.tokens().issue(now)};
  }
  void publish(TransferId transfer, std::span<const BlockDescriptor> blocks) override {
    owner_.blocks().publish(transfer, blocks);
  }
  void abort(TransferId transfer) override { owner_.blocks().withdraw(transfer); }

  void connect(const TransportOffer& offer, TimePoint deadline, Connected done) override {
    std::erase_if(links_, [](const auto& link) { return link.expired(); });
    const auto link = std::make_shared<TcpLink>(loop_);
    links_.push_back(link);
    link->begin(offer, deadline, std::move(done));
  }

  void stop(std::function<void()> done) override {
    for (const auto& known : links_) {
      const auto link = known.lock();
      if (link) link->give_up({ErrorCode::kUnavailable, Stage::kHandoff, "tcp: stopping", true});
    }
    owner_.stop();
    asio::post(*loop_, std::move(done));
  }

 private:
  const Loop loop_;
  TcpOwner owner_;
  std::vector<std::weak_ptr<TcpLink>> links_;
};

}  // namespace

Result<std::unique_ptr<Transport>> make_tcp_transport(Loop loop, BlockArena& arena,
                                                      const std::string& host) {
  auto transport = std::make_unique<TcpTransport>(std::move(loop), arena);
  if (auto listening = transport->listen(host); !listening) {
    return std::unexpected(listening.error());
  }
  return transport;
}

}  // namespace baton::kv
