#pragma once

#include <cstddef>
#include <memory>

#include "core/error.h"
#include "kv_transfer/cuda/driver_functions.h"
#include "kv_transfer/nccl/nccl_context.h"
#include "kv_transfer/nccl/nccl_library.h"
#include "kv_transfer/nccl/patience.h"

namespace baton::kv {

// One rank's end of a communicator that does not block. Used on one thread, which has taken the
// GPU. Promises: no call is made while another is in progress; the destructor ends it by
// ncclCommAbort, which needs nothing of the peer. Every error is the end of it.
class NcclCommunicator {
 public:
  NcclCommunicator(const NcclContext& context, Patience& patience)
      : context_(context), patience_(patience) {}
  ~NcclCommunicator();
  NcclCommunicator(const NcclCommunicator&) = delete;
  NcclCommunicator& operator=(const NcclCommunicator&) = delete;

  // Returns when every rank is there.
  [[nodiscard]] Result<void> join(const nccl::UniqueId& id, int ranks, int rank);
  // Put on the stream when they return, by no means done.
  [[nodiscard]] Result<void> send(cuda::DeviceAddress from, std::size_t bytes, int peer,
                                  cuda::Stream stream);
  [[nodiscard]] Result<void> receive(cuda::DeviceAddress into, std::size_t bytes, int peer,
                                     cuda::Stream stream);
  // Errors: what NCCL found meanwhile.
  [[nodiscard]] Result<void> health() const;

 private:
  [[nodiscard]] Result<bool> is_settled() const;
  [[nodiscard]] Result<void> settle(std::string_view what, Duration limit, nccl::Status status);

  const NcclContext& context_;
  Patience& patience_;
  nccl::Comm* comm_ = nullptr;
};

// Makes a communicator of one rank and ends it: whether this NCCL and this GPU work together.
// Errors: kUnsupported, with what NCCL says.
[[nodiscard]] Result<void> try_nccl(const NcclContext& context);

}  // namespace baton::kv
