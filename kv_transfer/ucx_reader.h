#pragma once

#include <ucp/api/ucp.h>

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "core/error.h"
#include "kv_transfer/address.h"
#include "kv_transfer/piece_queue.h"
#include "kv_transfer/transport.h"
#include "kv_transfer/ucx_owner.h"
#include "kv_transfer/ucx_worker.h"

namespace baton::kv {

class UcxLink;

// The reader's half of the ucx transport: connects to owners and takes in what they send. Owned by
// the transport, used on the kv thread only.
class UcxReader {
 public:
  UcxReader(Loop loop, UcxWorker& worker);

  [[nodiscard]] Result<void> begin();
  void connect(const HostAndPort& to, const std::string& token, TimePoint deadline,
               Transport::Connected done);
  void stop(std::function<void()> done);

 private:
  friend class UcxLink;

  static ucs_status_t on_piece(void* self, const void* header, std::size_t header_bytes, void* body,
                               std::size_t body_bytes, const ucp_am_recv_param_t* param);
  void settle();

  const Loop loop_;
  UcxWorker& worker_;
  std::unordered_map<ucp_ep_h, std::shared_ptr<UcxLink>> links_;
  int under_way_ = 0;  // sends that UCX has, endpoints not yet closed, pieces being received
  bool stopping_ = false;
  std::function<void()> stopped_;
};

}  // namespace baton::kv
