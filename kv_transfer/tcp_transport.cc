#include "kv_transfer/tcp_transport.h"

#include <fmt/format.h>

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
  TcpTransport(Loop loop, BlockArena& arena, const TcpOptions& options)
      : loop_(loop), connections_(options.connections), owner_(loop, arena) {}

  Result<void> listen(const std::string& host) { return owner_.listen(host); }

  Capabilities capabilities() const override { return {.name = "tcp", .same_host = false}; }
  TransportOffer reserve(TimePoint now) override {
    std::string tokens;
    for (int i = 0; i < TcpLink::kMaxConnections; ++i) tokens += owner_.tokens().issue(now);
    return {"tcp", owner_.address(), std::move(tokens)};
  }
  void publish(TransferId transfer, std::span<const BlockDescriptor> blocks) override {
    owner_.blocks().publish(transfer, blocks);
  }
  void abort(TransferId transfer) override { owner_.blocks().withdraw(transfer); }

  void connect(const TransportOffer& offer, TimePoint deadline, Connected done) override {
    std::erase_if(links_, [](const auto& link) { return link.expired(); });
    const auto link = std::make_shared<TcpLink>(loop_);
    links_.push_back(link);
    link->begin(offer, connections_, deadline, std::move(done));
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
  const int connections_;
  TcpOwner owner_;
  std::vector<std::weak_ptr<TcpLink>> links_;
};

}  // namespace

Result<std::unique_ptr<Transport>> make_tcp_transport(Loop loop, BlockArena& arena,
                                                      const TcpOptions& options) {
  if (options.connections < 1 || options.connections > TcpLink::kMaxConnections) {
    return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
                fmt::format("{} tcp connections to a peer; there can be 1 to {}",
                            options.connections, TcpLink::kMaxConnections));
  }
  auto transport = std::make_unique<TcpTransport>(std::move(loop), arena, options);
  if (auto listening = transport->listen(options.host); !listening) {
    return std::unexpected(listening.error());
  }
  return transport;
}

}  // namespace baton::kv
