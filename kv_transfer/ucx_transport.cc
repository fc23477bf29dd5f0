#include "kv_transfer/ucx_transport.h"

#include <cstdlib>
#include <string_view>
#include <utility>

#include "kv_transfer/address.h"
#include "kv_transfer/ucx_owner.h"
#include "kv_transfer/ucx_reader.h"
#include "kv_transfer/ucx_worker.h"

namespace baton::kv {
namespace {

namespace asio = boost::asio;

class UcxTransport final : public Transport {
 public:
  UcxTransport(Loop loop, std::unique_ptr<UcxWorker> worker, BlockArena& arena)
      : loop_(loop),
        worker_(std::move(worker)),
        owner_(loop, *worker_, arena),
        reader_(loop, *worker_) {}

  Result<void> begin(const std::string& host) {
    if (auto listening = owner_.listen(host); !listening) return listening;
    return reader_.begin();
  }

  Capabilities capabilities() const override { return {.name = "ucx", .same_host = false}; }
  TransportOffer reserve(TimePoint now) override {
    return {"ucx", owner_.address(), owner_.tokens().issue(now)};
  }
  void publish(TransferId transfer, std::span<const BlockDescriptor> blocks) override {
    owner_.blocks().publish(transfer, blocks);
  }
  void abort(TransferId transfer) override { owner_.blocks().withdraw(transfer); }

  void connect(const TransportOffer& offer, TimePoint deadline, Connected done) override {
    const auto to = split_address(offer.address);
    if (!to) {
      asio::post(*loop_, [done = std::move(done)] {
        done(fail(ErrorCode::kUnsupported, Stage::kHandoff, "malformed ucx offer"));
      });
      return;
    }
    reader_.connect(*to, offer.token, deadline, std::move(done));
  }

  void stop(std::function<void()> done) override {
    reader_.stop([this, done = std::move(done)]() mutable {
      owner_.stop([this, done = std::move(done)] {
        worker_->stop();
        done();
      });
    });
  }

 private:
  const Loop loop_;
  const std::unique_ptr<UcxWorker> worker_;
  UcxOwner owner_;
  UcxReader reader_;
};

}  // namespace

Result<std::unique_ptr<Transport>> make_ucx_transport(Loop loop, BlockArena& arena,
                                                      const UcxOptions& options) {
  // Of two pods on one host, each in a network namespace of its own, UCX takes the loopback device
  // for one that they share. Names of RDMA devices are others than those of interfaces.
  const bool is_free = options.tls == "tcp" && std::getenv("UCX_NET_DEVICES") == nullptr;
  auto worker = UcxWorker::create(loop, options.tls, is_free ? interface_with(options.host) : "");
  if (!worker) return std::unexpected(worker.error());
  auto transport = std::make_unique<UcxTransport>(loop, std::move(*worker), arena);
  if (auto begun = transport->begin(options.host); !begun) return std::unexpected(begun.error());
  return transport;
}

}  // namespace baton::kv
