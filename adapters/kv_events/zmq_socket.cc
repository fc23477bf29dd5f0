#include "adapters/kv_events/zmq_socket.h"

#include <zmq.h>

#include <array>
#include <cassert>
#include <charconv>
#include <stdexcept>

namespace baton::adapters {
namespace {

constexpr std::size_t kMaxFrames = 16;

std::string url_of(std::string_view host, std::uint16_t port) {
  const bool is_v6 = host.contains(':') && !host.starts_with('[');
  return "tcp://" + (is_v6 ? "[" + std::string(host) + "]" : std::string(host)) + ":" +
         std::to_string(port);
}

std::string last_error() { return zmq_strerror(zmq_errno()); }

}  // namespace

ZmqContext::ZmqContext() : context_(zmq_ctx_new()) {
  if (context_ == nullptr) throw std::runtime_error("zmq_ctx_new(): " + last_error());
  zmq_ctx_set(context_, ZMQ_MAX_SOCKETS, 65'535);
}

ZmqContext::~ZmqContext() { zmq_ctx_term(context_); }

ZmqSocket::ZmqSocket(const ZmqContext& context, int type)
    : socket_(zmq_socket(context.get(), type)) {
  if (socket_ == nullptr) throw std::runtime_error("zmq_socket(): " + last_error());
  set(ZMQ_LINGER, 0);
}

ZmqSocket::~ZmqSocket() { zmq_close(socket_); }

void ZmqSocket::set(int option, int value) {
  [[maybe_unused]] const int done = zmq_setsockopt(socket_, option, &value, sizeof value);
  assert(done == 0);
}

void ZmqSocket::set(int option, std::string_view value) {
  [[maybe_unused]] const int done = zmq_setsockopt(socket_, option, value.data(), value.size());
  assert(done == 0);
}

Result<void> ZmqSocket::connect(std::string_view host, std::uint16_t port) {
  const std::string url = url_of(host, port);
  set(ZMQ_IPV6, host.contains(':') ? 1 : 0);
  if (zmq_connect(socket_, url.c_str()) == 0) return {};
  return fail(ErrorCode::kInvalidArgument, Stage::kRouter, url + ": " + last_error());
}

Result<void> ZmqSocket::bind(std::string_view host, std::uint16_t port) {
  const std::string url = url_of(host, port);
  set(ZMQ_IPV6, host.contains(':') ? 1 : 0);
  if (zmq_bind(socket_, url.c_str()) == 0) return {};
  return fail(ErrorCode::kUnavailable, Stage::kRouter, url + ": " + last_error());
}

std::uint16_t ZmqSocket::port() const {
  std::array<char, 256> url{};
  std::size_t size = url.size();
  if (zmq_getsockopt(socket_, ZMQ_LAST_ENDPOINT, url.data(), &size) != 0) return 0;
  const std::string_view text(url.data());
  std::uint16_t port = 0;
  const std::string_view digits = text.substr(text.find_last_of(':') + 1);
  std::from_chars(digits.data(), digits.data() + digits.size(), port);
  return port;
}

bool ZmqSocket::send(std::initializer_list<std::string_view> frames) {
  std::size_t left = frames.size();
  for (const std::string_view frame : frames) {
    const int more = --left > 0 ? ZMQ_SNDMORE : 0;
    // A message is taken whole or not at all: only its first frame can be turned away.
    if (zmq_send(socket_, frame.data(), frame.size(), ZMQ_DONTWAIT | more) < 0) return false;
  }
  return true;
}

bool ZmqSocket::receive(std::vector<std::string>& frames) {
  frames.clear();
  for (bool more = true; more;) {
    zmq_msg_t part;
    zmq_msg_init(&part);
    const bool got = zmq_msg_recv(&part, socket_, ZMQ_DONTWAIT) >= 0;
    if (got && frames.size() < kMaxFrames) {
      frames.emplace_back(static_cast<const char*>(zmq_msg_data(&part)), zmq_msg_size(&part));
    }
    more = got && zmq_msg_more(&part) != 0;
    zmq_msg_close(&part);
    if (!got) return false;
  }
  return true;
}

std::string big_endian_64(std::uint64_t value) {
  std::string bytes(8, '\0');
  for (std::size_t i = 8; i-- > 0; value >>= 8) bytes[i] = static_cast<char>(value & 0xFF);
  return bytes;
}

std::uint64_t from_big_endian_64(std::string_view bytes) {
  assert(bytes.size() == 8);
  std::uint64_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

}  // namespace baton::adapters
