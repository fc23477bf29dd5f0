#include "kv_transfer/nccl/nccl_communicator.h"

#include <bit>
#include <stop_token>
#include <thread>

namespace baton::kv {
namespace {

// A hand-off is not worth more of a GPU that computes: each is one block of threads while it runs.
constexpr int kMaxCtas = 4;

}  // namespace

NcclCommunicator::~NcclCommunicator() {
  if (comm_ != nullptr) (void)context_.nccl.comm_abort(comm_);
}

Result<void> NcclCommunicator::join(const nccl::UniqueId& id, int ranks, int rank) {
  nccl::Config config;
  config.blocking = 0;
  config.max_ctas = kMaxCtas;
  const auto status = context_.nccl.comm_init_rank_config(&comm_, ranks, id, rank, &config);
  return settle("making the communicator", context_.limits.setup, status);
}

Result<void> NcclCommunicator::send(cuda::DeviceAddress from, std::size_t bytes, int peer,
                                    cuda::Stream stream) {
  const auto* data = std::bit_cast<const void*>(from);
  return settle("sending", context_.limits.stall,
                context_.nccl.send(data, bytes, nccl::kInt8, peer, comm_, stream));
}

Result<void> NcclCommunicator::receive(cuda::DeviceAddress into, std::size_t bytes, int peer,
                                       cuda::Stream stream) {
  auto* data = std::bit_cast<void*>(into);
  return settle("receiving", context_.limits.stall,
                context_.nccl.recv(data, bytes, nccl::kInt8, peer, comm_, stream));
}

Result<void> NcclCommunicator::health() const {
  const auto settled = is_settled();
  if (!settled) return std::unexpected(settled.error());
  return {};
}

Result<bool> NcclCommunicator::is_settled() const {
  nccl::Status found = nccl::Status::kInternalError;
  const auto asked = nccl::check(context_.nccl, "asking for the communicator's state",
                                 context_.nccl.comm_get_async_error(comm_, &found));
  if (!asked) return std::unexpected(asked.error());
  const auto good = nccl::check(context_.nccl, "the communicator failed", found);
  if (!good) return std::unexpected(good.error());
  return found != nccl::Status::kInProgress;
}

Result<void> NcclCommunicator::settle(std::string_view what, Duration limit, nccl::Status status) {
  if (auto begun = nccl::check(context_.nccl, what, status); !begun) return begun;
  return patience_.until(what, limit, [this] { return is_settled(); });
}

Result<void> try_nccl(const NcclContext& context) {
  const auto trial = [&context]() -> Result<void> {
    if (auto taken = context.gpu->use_in_this_thread(); !taken) return taken;
    nccl::UniqueId id{};
    if (auto made = nccl::check(context.nccl, "making an id", context.nccl.get_unique_id(&id));
        !made) {
      return made;
    }
    Patience patience{std::stop_token()};
    NcclCommunicator alone(context, patience);
    return alone.join(id, 1, 0);
  };
  Result<void> result;
  // A thread of its own, so that the caller's keeps the context that it has.
  std::jthread([&] { result = trial(); }).join();
  if (result) return {};
  return fail(ErrorCode::kUnsupported, Stage::kConfig,
              result.error().message +
                  " (trying it alone; NCCL_DEBUG=WARN in the environment makes NCCL say why)");
}

}  // namespace baton::kv
