#include "kv_transfer/nccl/nccl_transport.h"

#include <boost/asio/post.hpp>
#include <cstdlib>
#include <unordered_map>
#include <utility>

#include "core/log.h"
#include "kv_transfer/nccl/nccl_communicator.h"
#include "kv_transfer/nccl/nccl_link.h"
#include "kv_transfer/nccl/nccl_owner.h"

namespace baton::kv {
namespace {

namespace asio = boost::asio;

class NcclTransport final : public Transport {
 public:
  NcclTransport(Loop loop, BlockArena& arena, std::shared_ptr<const NcclContext> context)
      : loop_(loop), context_(context), owner_(loop, arena, std::move(context)) {}

  Result<void> listen(const std::string& host) { return owner_.listen(host); }

  Capabilities capabilities() const override { return {.name = "nccl", .same_host = false}; }
  TransportOffer reserve(TimePoint now) override {
    return {"nccl", owner_.address(), owner_.tokens().issue(now)};
  }
  void publish(TransferId transfer, std::span<const BlockDescriptor> blocks) override {
    owner_.blocks().publish(transfer, blocks);
  }
  void abort(TransferId transfer) override { owner_.blocks().withdraw(transfer); }

  void connect(const TransportOffer& offer, TimePoint deadline, Connected done) override {
    const std::uint64_t key = ++last_key_;
    const auto link = std::make_shared<NcclLink>(loop_, context_, [this, key] { gone(key); });
    links_[key] = link;
    link->begin(offer, deadline, std::move(done));
  }

  void stop(std::function<void()> done) override {
    stopped_ = std::move(done);
    for (const auto& [key, link] : std::unordered_map(links_)) {
      link->give_up({ErrorCode::kUnavailable, Stage::kHandoff, "nccl: stopping", true});
    }
    owner_.stop([this] {
      owner_stopped_ = true;
      settle();
    });
  }

 private:
  void gone(std::uint64_t key) {
    links_.erase(key);
    settle();
  }
  void settle() {
    if (!owner_stopped_ || !links_.empty() || stopped_ == nullptr) return;
    asio::post(*loop_, std::exchange(stopped_, nullptr));
  }

  const Loop loop_;
  const std::shared_ptr<const NcclContext> context_;
  NcclOwner owner_;
  std::unordered_map<std::uint64_t, std::shared_ptr<NcclLink>> links_;  // until they are gone
  std::uint64_t last_key_ = 0;
  bool owner_stopped_ = false;
  std::function<void()> stopped_;
};

// NCCL has no option for it but this; it is not ours to set in a process with other threads.
void warn_of_open_ports() {
  if (std::getenv("NCCL_SOCKET_IFNAME") != nullptr) return;
  log(LogLevel::kWarn, "nccl listens where it likes",
      {{"reason", "NCCL_SOCKET_IFNAME is not set; set it to the interface of the hand-offs"}});
}

}  // namespace

Result<std::unique_ptr<Transport>> make_nccl_transport(Loop loop, BlockArena& arena,
                                                       const NcclOptions& options,
                                                       const nccl::Library& nccl,
                                                       const cuda::DriverTable& driver) {
  const auto version = nccl::usable_version(nccl);
  if (!version) return std::unexpected(version.error());
  auto gpu = cuda::PrimaryContext::open(driver, options.gpu);
  if (!gpu) return fail(ErrorCode::kUnsupported, Stage::kConfig, std::move(gpu.error().message));
  const auto context = std::make_shared<const NcclContext>(NcclContext{
      .nccl = nccl, .version = *version, .gpu = std::move(*gpu), .limits = options.limits});
  if (auto tried = try_nccl(*context); !tried) return std::unexpected(tried.error());
  warn_of_open_ports();
  auto transport = std::make_unique<NcclTransport>(std::move(loop), arena, context);
  if (auto listening = transport->listen(options.host); !listening) {
    return std::unexpected(listening.error());
  }
  log(LogLevel::kInfo, "nccl transport ready",
      {{"nccl", nccl::version_text(*version)}, {"gpu", options.gpu}});
  return transport;
}

Result<std::unique_ptr<Transport>> make_nccl_transport(Loop loop, BlockArena& arena,
                                                       const NcclOptions& options) {
  const auto driver = cuda::load_driver();
  const auto nccl = nccl::open_library();
  if (driver && nccl) return make_nccl_transport(std::move(loop), arena, options, *nccl, *driver);
  const std::string both = driver || nccl ? "" : driver.error().message + "; ";
  return fail(ErrorCode::kUnsupported, Stage::kConfig,
              both + (nccl ? driver.error() : nccl.error()).message);
}

}  // namespace baton::kv
