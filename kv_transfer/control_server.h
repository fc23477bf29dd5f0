#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/error.h"
#include "kv_transfer/control_tls.h"
#include "kv_transfer/loop.h"
#include "kv_transfer/wire.h"

namespace baton::kv {

// The producer's end of one Follow. Used on the kv thread only. Whoever holds it ends it once with
// finish(); what is sent after that, or after the reader has gone, is dropped.
class FollowStream {
 public:
  virtual ~FollowStream() = default;
  // Events are queued behind the one being written; a heartbeat only where none waits.
  virtual void send(wire::Event event) = 0;
  virtual void finish() = 0;
};

// What the control service asks of its Node. Every call runs on the kv thread.
class ControlHandler {
 public:
  virtual ~ControlHandler() = default;
  virtual Result<wire::Welcome> on_handshake(const wire::Hello& hello) = 0;
  virtual void on_follow(const wire::Follow& follow, std::shared_ptr<FollowStream> stream) = 0;
  // An Error sent by this stream is on its way to the reader.
  virtual void on_told(const wire::Follow& follow) = 0;
  // The reader closed the stream, or died.
  virtual void on_follow_lost(const wire::Follow& follow) = 0;
  virtual void on_release(const wire::Release& release) = 0;
};

// The gRPC server of control.proto. Owned by the Node; gRPC's threads only parse and post to the kv
// thread. `handler` outlives it.
class ControlServer {
 public:
  // Errors: kUnavailable where the address cannot be bound, kInvalidArgument where it is none.
  [[nodiscard]] static Result<std::unique_ptr<ControlServer>> start(const std::string& listen,
                                                                    const TlsFiles& tls, Loop loop,
                                                                    ControlHandler& handler);
  virtual ~ControlServer() = default;
  [[nodiscard]] virtual const std::string& address() const = 0;  // host:port that is bound
  // Ends every call; returns when none is left. The kv thread must run meanwhile.
  virtual void shut_down() = 0;
};

}  // namespace baton::kv
