#pragma once

#include <functional>
#include <memory>
#include <string>

#include "core/error.h"
#include "core/units.h"
#include "kv_transfer/control_tls.h"
#include "kv_transfer/loop.h"
#include "kv_transfer/wire.h"

namespace baton::kv {

// The reader's end of one Follow. Used on the kv thread only.
class FollowCall {
 public:
  virtual ~FollowCall() = default;
  // Tells the producer that this reader has gone; no event is delivered after it.
  virtual void close() = 0;
};

// A gRPC channel to one producer. Owned by its peer entry, used on the kv thread only; gRPC's
// threads parse and post there. Calls that are under way outlive it and keep the kv thread's queue
// alive and running until gRPC is done with them.
class ControlClient {
 public:
  using Welcomed = std::function<void(Result<wire::Welcome>)>;
  // An unexpected() ends the stream: nothing comes after it.
  using OnEvent = std::function<void(Result<wire::Event>)>;

  [[nodiscard]] static std::unique_ptr<ControlClient> create(Loop loop, const std::string& address,
                                                             const TlsFiles& tls);
  virtual ~ControlClient() = default;

  virtual void handshake(const wire::Hello& hello, Duration timeout, Welcomed done) = 0;
  [[nodiscard]] virtual std::shared_ptr<FollowCall> follow(const wire::Follow& follow,
                                                           OnEvent on_event) = 0;
  // Fire and forget: a release that is lost is made good by the lease's time to live.
  virtual void release(const wire::Release& release) = 0;
};

}  // namespace baton::kv
