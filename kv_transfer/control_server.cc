#include "kv_transfer/control_server.h"

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>

#include <chrono>
#include <deque>
#include <utility>
#include <variant>

#include "kv_transfer/control.grpc.pb.h"
#include "kv_transfer/wire_proto.h"

namespace baton::kv {
namespace {

namespace asio = boost::asio;

// gRPC calls this object on its own threads; it goes when gRPC says OnDone, which it does only
// after finish(). Everything but the On…() methods runs on the kv thread.
class FollowReactor final : public grpc::ServerWriteReactor<v1::FollowEvent> {
 public:
  // What the handler holds: it may outlive the reactor, and then does nothing.
  class Stream final : public FollowStream {
   public:
    explicit Stream(FollowReactor* reactor) : reactor_(reactor) {}
    void send(wire::Event event) override {
      if (reactor_ != nullptr) reactor_->send(std::move(event));
    }
    void finish() override {
      if (FollowReactor* reactor = std::exchange(reactor_, nullptr)) reactor->finish();
    }

   private:
    FollowReactor* reactor_;
  };

  FollowReactor(Loop loop, ControlHandler& handler, wire::Follow follow)
      : loop_(std::move(loop)), handler_(handler), follow_(follow) {}

  void begin() {
    asio::post(*loop_, [this] {
      stream_ = std::make_shared<Stream>(this);
      handler_.on_follow(follow_, stream_);
    });
  }

  void OnWriteDone(bool ok) override {
    asio::post(*loop_, [this, ok] { written(ok); });
  }
  void OnCancel() override {
    asio::post(*loop_, [this] { lost(); });
  }
  void OnDone() override {
    // Posted, so that handlers queued before this one still find the reactor.
    const Loop loop = loop_;
    asio::post(*loop, [this] { delete this; });
  }

 private:
  void send(wire::Event event) {
    if (std::holds_alternative<wire::Heartbeat>(event) && !queue_.empty()) return;
    queue_.push_back(std::move(event));
    if (queue_.size() == 1) write_next();
  }

  void write_next() {
    message_.Clear();
    wire::encode(queue_.front(), message_);
    StartWrite(&message_);
  }

  void written(bool ok) {
    const bool was_error = std::holds_alternative<Error>(queue_.front());
    queue_.pop_front();
    if (!ok) queue_.clear();
    if (ok && was_error && !finishing_) handler_.on_told(follow_);
    if (!queue_.empty()) {
      write_next();
    } else if (finishing_) {
      Finish(grpc::Status::OK);
    }
  }

  void lost() {
    if (finishing_) return;
    stream_->finish();
    handler_.on_follow_lost(follow_);
  }

  void finish() {
    finishing_ = true;
    if (queue_.empty()) Finish(grpc::Status::OK);
  }

  const Loop loop_;
  ControlHandler& handler_;
  const wire::Follow follow_;
  std::shared_ptr<Stream> stream_;
  std::deque<wire::Event> queue_;  // the front one is being written
  v1::FollowEvent message_;
  bool finishing_ = false;
};

// Ends at once with `status`.
class RefusedFollow final : public grpc::ServerWriteReactor<v1::FollowEvent> {
 public:
  explicit RefusedFollow(const grpc::Status& status) { Finish(status); }
  void OnDone() override { delete this; }
};

grpc::Status invalid(const Error& error) {
  return {grpc::StatusCode::INVALID_ARGUMENT, error.message};
}

class Service final : public v1::KvControl::CallbackService {
 public:
  Service(Loop loop, ControlHandler& handler) : loop_(std::move(loop)), handler_(handler) {}

  grpc::ServerUnaryReactor* Handshake(grpc::CallbackServerContext* context,
                                      const v1::HandshakeRequest* request,
                                      v1::HandshakeReply* reply) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    auto hello = wire::decode(*request);
    if (!hello) {
      reactor->Finish(invalid(hello.error()));
      return reactor;
    }
    asio::post(*loop_, [this, reactor, reply, hello = std::move(*hello)] {
      wire::encode(handler_.on_handshake(hello), *reply);
      reactor->Finish(grpc::Status::OK);
    });
    return reactor;
  }

  grpc::ServerWriteReactor<v1::FollowEvent>* Follow(grpc::CallbackServerContext*,
                                                    const v1::FollowRequest* request) override {
    const auto follow = wire::decode(*request);
    if (!follow) return new RefusedFollow(invalid(follow.error()));
    auto* reactor = new FollowReactor(loop_, handler_, *follow);
    reactor->begin();
    return reactor;
  }

  grpc::ServerUnaryReactor* Release(grpc::CallbackServerContext* context,
                                    const v1::ReleaseRequest* request, v1::ReleaseReply*) override {
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    const auto release = wire::decode(*request);
    if (!release) {
      reactor->Finish(invalid(release.error()));
      return reactor;
    }
    asio::post(*loop_, [this, reactor, release = *release] {
      handler_.on_release(release);
      reactor->Finish(grpc::Status::OK);
    });
    return reactor;
  }

 private:
  const Loop loop_;
  ControlHandler& handler_;
};

class GrpcControlServer final : public ControlServer {
 public:
  GrpcControlServer(Loop loop, ControlHandler& handler) : service_(std::move(loop), handler) {}

  Result<void> listen(const std::string& listen, const TlsFiles& tls) {
    const auto colon = listen.rfind(':');
    if (colon == std::string::npos) {
      return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
                  fmt::format("KV control address \"{}\" is not host:port", listen));
    }
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort(listen, server_credentials(tls), &port);
    builder.RegisterService(&service_);
    builder.SetMaxReceiveMessageSize(static_cast<int>(wire::kMaxMessageBytes));
    // A reader whose host has gone is found by pings, since it can send nothing itself.
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, 1000);
    builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 3000);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr || port == 0) {
      return fail(
          ErrorCode::kUnavailable, Stage::kConfig,
          fmt::format("KV control address {} cannot be bound; is the port in use?", listen));
    }
    address_ = fmt::format("{}:{}", listen.substr(0, colon), port);
    return {};
  }

  ~GrpcControlServer() override { shut_down(); }
  const std::string& address() const override { return address_; }
  void shut_down() override {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(200));
    server_->Wait();
    server_.reset();
  }

 private:
  Service service_;
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

}  // namespace

Result<std::unique_ptr<ControlServer>> ControlServer::start(const std::string& listen,
                                                            const TlsFiles& tls, Loop loop,
                                                            ControlHandler& handler) {
  if (auto files = check(tls); !files) return std::unexpected(files.error());
  auto server = std::make_unique<GrpcControlServer>(std::move(loop), handler);
  if (auto bound = server->listen(listen, tls); !bound) return std::unexpected(bound.error());
  return server;
}

}  // namespace baton::kv
