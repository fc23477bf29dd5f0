#pragma once

#include <ucp/api/ucp.h>

#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/units.h"
#include "kv_transfer/loop.h"

namespace baton::kv {

// One UCX context and worker whose progress is driven by its event descriptor: no thread spins.
// Owned by the ucx transport, used on the kv thread only; not for use from inside a callback of UCX
// save kick().
class UcxWorker {
 public:
  // `device` is UCX_NET_DEVICES; empty: what the environment says, or all of them.
  [[nodiscard]] static Result<std::unique_ptr<UcxWorker>> create(Loop loop, const std::string& tls,
                                                                 const std::string& device);
  ~UcxWorker();
  UcxWorker(const UcxWorker&) = delete;
  UcxWorker& operator=(const UcxWorker&) = delete;

  [[nodiscard]] ucp_worker_h handle() const { return worker_; }
  // Whatever was posted to UCX moves on soon. Call it after every post.
  void kick();

  // No more events: nothing of this worker is under way any more.
  void stop();

  // Closes an endpoint without waiting for the peer; `closed` runs when nothing of it is left.
  void close(ucp_ep_h endpoint, std::function<void()> closed);

 private:
  struct Closing {
    void* request = nullptr;
    std::function<void()> closed;
  };

  UcxWorker(Loop loop, ucp_context_h context, ucp_worker_h worker, int event_fd);
  void progress();
  void await_event();
  void reap_closed();

  const Loop loop_;
  const ucp_context_h context_;
  const ucp_worker_h worker_;
  boost::asio::posix::stream_descriptor events_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::vector<Closing> closing_;
  bool kicked_ = false;
  bool waiting_ = false;
  bool stopped_ = false;
};

[[nodiscard]] std::unexpected<Error> ucx_failure(std::string_view what, ucs_status_t status);

}  // namespace baton::kv
