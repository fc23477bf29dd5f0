#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace baton::adapters {

// libzmq's threads and what they share. Outlives its sockets. Throws std::runtime_error at start
// where the process has no descriptors left.
class ZmqContext {
 public:
  ZmqContext();
  ~ZmqContext();
  ZmqContext(const ZmqContext&) = delete;
  ZmqContext& operator=(const ZmqContext&) = delete;
  [[nodiscard]] void* get() const { return context_; }

 private:
  void* context_;
};

// One socket of a context, for one thread. Nothing blocks: what cannot be sent at once is not sent,
// and what is not sent when it closes is dropped.
class ZmqSocket {
 public:
  // `type` as ZMQ_SUB. Throws std::runtime_error as the context does.
  ZmqSocket(const ZmqContext& context, int type);
  ~ZmqSocket();
  ZmqSocket(const ZmqSocket&) = delete;
  ZmqSocket& operator=(const ZmqSocket&) = delete;

  void set(int option, int value);  // options of libzmq's own, whose values are ours: asserted
  void set(int option, std::string_view value);
  // An address may not resolve yet, or nobody be there: libzmq goes on trying. Errors:
  // kInvalidArgument for what is no address.
  [[nodiscard]] Result<void> connect(std::string_view host, std::uint16_t port);
  // Errors: kUnavailable. With port 0 the system chooses: port().
  [[nodiscard]] Result<void> bind(std::string_view host, std::uint16_t port);
  [[nodiscard]] std::uint16_t port() const;

  bool send(std::initializer_list<std::string_view> frames);
  // A whole message, of at most 16 frames (the rest is dropped); false: there is none.
  bool receive(std::vector<std::string>& frames);

  [[nodiscard]] void* get() const { return socket_; }

 private:
  void* socket_;
};

// Numbers of messages are 8 bytes, big-endian.
[[nodiscard]] std::string big_endian_64(std::uint64_t value);
[[nodiscard]] std::uint64_t from_big_endian_64(std::string_view bytes);  // `bytes` has 8

}  // namespace baton::adapters
