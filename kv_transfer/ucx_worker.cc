#include "kv_transfer/ucx_worker.h"

#include <fmt/format.h>
#include <ucs/config/global_opts.h>

#include <utility>

namespace baton::kv {
namespace {

namespace asio = boost::asio;

// Turns of progress before other work of the kv thread gets its turn.
constexpr int kProgressTurns = 256;

}  // namespace

std::unexpected<Error> ucx_failure(std::string_view what, ucs_status_t status) {
  return fail(ErrorCode::kUnavailable, Stage::kHandoff,
              fmt::format("ucx: {}: {}", what, ucs_status_string(status)), true);
}

Result<std::unique_ptr<UcxWorker>> UcxWorker::create(Loop loop, const std::string& tls,
                                                     const std::string& device) {
  // UCX would print to the terminal when a peer dies; that is ours to report.
  (void)ucs_global_opts_set_value("LOG_LEVEL", "fatal");
  ucp_config_t* config = nullptr;
  ucs_status_t status = ucp_config_read(nullptr, nullptr, &config);
  if (status != UCS_OK) return ucx_failure("reading its configuration", status);
  status = ucp_config_modify(config, "TLS", tls.c_str());
  if (status == UCS_OK && !device.empty()) {
    status = ucp_config_modify(config, "NET_DEVICES", device.c_str());
  }
  // Over TCP a put may land after its endpoint was closed, and an acknowledgement that UCX does not
  // expect ends the process. Without puts it sends active messages; RDMA keeps its own. The first
  // name is that of versions before 1.17, which later ones refuse.
  (void)ucp_config_modify(config, "PUT_ENABLE", "n");
  if (status == UCS_OK) status = ucp_config_modify(config, "TCP_PUT_ENABLE", "n");
  ucp_context_h context = nullptr;
  if (status == UCS_OK) {
    ucp_params_t params{};
    params.field_mask = UCP_PARAM_FIELD_FEATURES;
    params.features = UCP_FEATURE_AM | UCP_FEATURE_WAKEUP;
    status = ucp_init(&params, config, &context);
  }
  ucp_config_release(config);
  if (status != UCS_OK) return ucx_failure("UCX_TLS=" + tls, status);

  ucp_worker_params_t params{};
  params.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  params.thread_mode = UCS_THREAD_MODE_SINGLE;
  ucp_worker_h worker = nullptr;
  status = ucp_worker_create(context, &params, &worker);
  int event_fd = -1;
  if (status == UCS_OK) status = ucp_worker_get_efd(worker, &event_fd);
  if (status != UCS_OK) {
    if (worker != nullptr) ucp_worker_destroy(worker);
    ucp_cleanup(context);
    return ucx_failure("creating a worker", status);
  }
  return std::unique_ptr<UcxWorker>(new UcxWorker(std::move(loop), context, worker, event_fd));
}

UcxWorker::UcxWorker(Loop loop, ucp_context_h context, ucp_worker_h worker, int event_fd)
    : loop_(std::move(loop)), context_(context), worker_(worker), events_(*loop_, event_fd) {}

UcxWorker::~UcxWorker() {
  *alive_ = false;
  events_.release();  // the descriptor is UCX's own
  ucp_worker_destroy(worker_);
  ucp_cleanup(context_);
}

void UcxWorker::stop() {
  stopped_ = true;
  boost::system::error_code ignored;
  events_.cancel(ignored);
}

void UcxWorker::kick() {
  if (stopped_ || std::exchange(kicked_, true)) return;
  asio::post(*loop_, [this, alive = alive_] {
    if (*alive) progress();
  });
}

void UcxWorker::progress() {
  kicked_ = false;
  if (stopped_) return;
  for (int turn = 0; turn < kProgressTurns; ++turn) {
    if (ucp_worker_progress(worker_) > 0) continue;
    reap_closed();
    // Arming fails as busy while there is something to do.
    if (ucp_worker_arm(worker_) != UCS_OK) continue;
    await_event();
    return;
  }
  reap_closed();
  kick();
}

void UcxWorker::await_event() {
  if (std::exchange(waiting_, true)) return;
  events_.async_wait(asio::posix::stream_descriptor::wait_read,
                     [this, alive = alive_](boost::system::error_code) {
                       if (!*alive) return;
                       waiting_ = false;
                       kick();
                     });
}

void UcxWorker::close(ucp_ep_h endpoint, std::function<void()> closed) {
  ucp_request_param_t param{};
  param.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
  param.flags = UCP_EP_CLOSE_FLAG_FORCE;
  void* request = ucp_ep_close_nbx(endpoint, &param);
  closing_.push_back({UCS_PTR_IS_PTR(request) ? request : nullptr, std::move(closed)});
  kick();
}

void UcxWorker::reap_closed() {
  for (std::size_t i = 0; i < closing_.size();) {
    if (closing_[i].request != nullptr &&
        ucp_request_check_status(closing_[i].request) == UCS_INPROGRESS) {
      ++i;
      continue;
    }
    if (closing_[i].request != nullptr) ucp_request_free(closing_[i].request);
    asio::post(*loop_, std::move(closing_[i].closed));
    closing_.erase(closing_.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

}  // namespace baton::kv
