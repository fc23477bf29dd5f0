#include "kv_transfer/control_client.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <boost/asio/executor_work_guard.hpp>
#include <chrono>
#include <utility>

#include "kv_transfer/control.grpc.pb.h"
#include "kv_transfer/wire_proto.h"

namespace baton::kv {
namespace {

namespace asio = boost::asio;
using WorkGuard = asio::executor_work_guard<asio::io_context::executor_type>;

constexpr auto kReleaseTimeout = std::chrono::seconds(2);

std::unexpected<Error> lost(const std::string& address, const grpc::Status& status) {
  const bool late = status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED;
  return fail(late ? ErrorCode::kTimeout : ErrorCode::kUnavailable, Stage::kHandoff,
              fmt::format("KV control service at {}: {}", address,
                          status.ok() ? "the stream ended early" : status.error_message()),
              true);
}

// One unary call under way; keeps itself alive until gRPC has called back.
template <class Request, class Reply>
struct Unary {
  explicit Unary(Loop queue) : loop(std::move(queue)), work(loop->get_executor()) {}
  Loop loop;
  WorkGuard work;
  grpc::ClientContext context;
  Request request;
  Reply reply;
};

// gRPC calls this object on its own threads, and the kv thread closes it. It holds on to itself
// until OnDone has been posted.
class FollowReader final : public grpc::ClientReadReactor<v1::FollowEvent>,
                           public FollowCall,
                           public std::enable_shared_from_this<FollowReader> {
 public:
  FollowReader(Loop loop, std::string address, ControlClient::OnEvent on_event)
      : loop_(std::move(loop)),
        work_(loop_->get_executor()),
        address_(std::move(address)),
        on_event_(std::move(on_event)) {}

  void begin(v1::KvControl::Stub& stub, const wire::Follow& follow) {
    self_ = shared_from_this();
    wire::encode(follow, request_);
    stub.async()->Follow(&context_, &request_, this);
    StartRead(&message_);
    StartCall();
  }

  void close() override {
    on_event_ = nullptr;
    context_.TryCancel();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    asio::post(*loop_, [self = shared_from_this(), event = wire::decode(message_)]() mutable {
      self->deliver(std::move(event));
    });
    StartRead(&message_);
  }

  void OnDone(const grpc::Status& status) override {
    const Loop loop = loop_;
    asio::post(*loop, [self = std::move(self_), status] {
      self->deliver(lost(self->address_, status));
      self->work_.reset();
    });
  }

 private:
  void deliver(Result<wire::Event> event) {
    if (on_event_ == nullptr) return;
    if (event) {
      const auto handler = on_event_;  // which may close this call, and go with it
      handler(std::move(event));
      return;
    }
    const auto last = std::exchange(on_event_, nullptr);
    context_.TryCancel();
    last(std::move(event));
  }

  const Loop loop_;
  WorkGuard work_;
  const std::string address_;
  ControlClient::OnEvent on_event_;  // kv thread
  grpc::ClientContext context_;
  v1::FollowRequest request_;
  v1::FollowEvent message_;
  std::shared_ptr<FollowReader> self_;
};

class GrpcControlClient final : public ControlClient {
 public:
  GrpcControlClient(Loop loop, const std::string& address, const TlsFiles& tls)
      : loop_(std::move(loop)), address_(address) {
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(static_cast<int>(wire::kMaxMessageBytes));
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1000);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 1000);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    stub_ = v1::KvControl::NewStub(
        grpc::CreateCustomChannel(address, channel_credentials(tls), arguments));
  }

  void handshake(const wire::Hello& hello, Duration timeout, Welcomed done) override {
    auto call = std::make_shared<Unary<v1::HandshakeRequest, v1::HandshakeReply>>(loop_);
    wire::encode(hello, call->request);
    call->context.set_deadline(std::chrono::system_clock::now() + timeout);
    stub_->async()->Handshake(
        &call->context, &call->request, &call->reply,
        [call, address = address_, done = std::move(done)](const grpc::Status& status) mutable {
          const Loop loop = call->loop;
          asio::post(*loop, [call = std::move(call), address, done = std::move(done), status] {
            done(status.ok() ? wire::decode(call->reply) : lost(address, status));
          });
        });
  }

  std::shared_ptr<FollowCall> follow(const wire::Follow& follow, OnEvent on_event) override {
    auto reader = std::make_shared<FollowReader>(loop_, address_, std::move(on_event));
    reader->begin(*stub_, follow);
    return reader;
  }

  void release(const wire::Release& release) override {
    auto call = std::make_shared<Unary<v1::ReleaseRequest, v1::ReleaseReply>>(loop_);
    wire::encode(release, call->request);
    call->context.set_deadline(std::chrono::system_clock::now() + kReleaseTimeout);
    stub_->async()->Release(&call->context, &call->request, &call->reply,
                            [call](const grpc::Status&) mutable {
                              const Loop loop = call->loop;
                              asio::post(*loop, [call = std::move(call)] {});
                            });
  }

 private:
  const Loop loop_;
  const std::string address_;
  std::unique_ptr<v1::KvControl::Stub> stub_;
};

}  // namespace

std::unique_ptr<ControlClient> ControlClient::create(Loop loop, const std::string& address,
                                                     const TlsFiles& tls) {
  return std::make_unique<GrpcControlClient>(std::move(loop), address, tls);
}

}  // namespace baton::kv
