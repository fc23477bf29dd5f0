#include "adapters/http/connection.h"

#include <cxxabi.h>

#include <array>
#include <charconv>
#include <ctime>
#include <exception>
#include <typeinfo>
#include <utility>

#include "adapters/http/syntax.h"
#include "core/log.h"

namespace baton::adapters::http {
namespace {

constexpr std::size_t kHeadBuffer = 4096;
constexpr std::int64_t kLeastBodyRate = 4096;  // bytes a second that a slow client must reach
constexpr Duration kLingerTime = std::chrono::seconds(2);
constexpr std::size_t kLingerBytes = 64 << 20;

void append_number(std::string& text, std::size_t number, int base = 10) {
  std::array<char, 24> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number, base).ptr;
  text.append(digits.data(), end);
}

// The type of the exception being handled; its text may hold what a client sent.
std::string_view current_exception_name() {
  const std::type_info* type = abi::__cxa_current_exception_type();
  return type != nullptr ? type->name() : "unknown";
}

}  // namespace

ServerState::ServerState(asio::io_context& context, const ServerLimits& server_limits,
                         Server::Handler request_handler)
    : io(context),
      limits(server_limits),
      handler(std::move(request_handler)),
      sweep(std::make_shared<DeadlineSweep>(
          io, std::min({limits.header_time, limits.idle_time, limits.write_time}))) {}

std::string_view ServerState::http_date() {
  const std::time_t now = std::time(nullptr);
  if (now != date_second_) {
    std::tm parts{};
    gmtime_r(&now, &parts);
    std::array<char, 40> text;
    date_.assign(text.data(),
                 std::strftime(text.data(), text.size(), "%a, %d %b %Y %H:%M:%S GMT", &parts));
    date_second_ = now;
  }
  return date_;
}

Connection::Connection(std::shared_ptr<ServerState> server, Socket socket)
    : Stream(server->io, std::move(socket), kHeadBuffer,
             static_cast<std::size_t>(server->limits.header.count()) + 1),
      server_(std::move(server)),
      reader_(std::make_unique<RequestReader>(server_->limits)) {
  server_->stats.connections_open.add(1);
  server_->stats.connections_accepted.add(1);
  server_->sweep->add(*this);
}

Connection::~Connection() {
  ServerStats& stats = server_->stats;
  stats.connections_open.add(-1);
  if (server_->draining && stats.connections_open.get() == 0 && server_->drained) {
    asio::post(server_->io, std::exchange(server_->drained, nullptr));
  }
}

Task<void> Connection::run(boost::intrusive_ptr<Connection> connection) {
  Connection& self = *connection;
  while (self.open()) {
    if (!co_await self.read_request()) break;
    if (self.reader_->state() == RequestReader::State::kRefused) {
      co_await self.send_refusal();
    } else {
      co_await self.answer_exchange();
    }
    if (!self.keep_alive_) break;
    self.reader_->reset();
  }
  if (self.open() && self.lingers_) co_await self.linger();
  self.close();
}

// True: a request, or a refusal of one. False: the connection ended between requests.
Task<bool> Connection::read_request() {
  RequestReader& reader = *reader_;
  const ServerLimits& limits = server_->limits;
  bool continued = false;
  bool was_idle = true;
  TimePoint now = Clock::now();
  set_deadline(now + limits.idle_time);
  for (;;) {
    consume(reader.take(unread_text()));
    if (reader.state() == RequestReader::State::kBody && receive_body()) continue;
    if (reader.state() >= RequestReader::State::kComplete) break;
    if (was_idle && !reader.idle()) {
      was_idle = false;
      request_start_ = now = Clock::now();
    }
    if (reader.state() == RequestReader::State::kBody && reader.head().expects_continue &&
        !std::exchange(continued, true)) {
      std::array pieces{asio::buffer(std::string_view("HTTP/1.1 100 Continue\r\n\r\n"))};
      if (!send_now(pieces)) co_return false;
    }
    if (!was_idle) {
      const auto earned = std::chrono::seconds(reader.body_bytes() / kLeastBodyRate);
      set_deadline(request_start_ + limits.header_time + earned);
    } else if (server_->draining) {
      co_return false;
    }
    if (!co_await more()) {
      if (end() == End::kTimeout && !was_idle) {
        reader.refuse({RefusalReason::kTimeout, 408, "The request came too slowly."});
        break;
      }
      if (!open() || was_idle) co_return false;
      reader.refuse({RefusalReason::kHeadTooLarge, 431, "The head of the request is too large."});
      break;
    }
  }
  clear_deadline();
  co_return true;
}

// Takes body bytes that are in the socket already past the buffer. True: something came.
bool Connection::receive_body() {
  if (reading() || !open()) return false;
  const std::span<char> space = reader_->body_space();
  if (space.size() < kHeadBuffer) return false;
  const std::size_t bytes = receive_now(space);
  reader_->body_received(bytes);
  return bytes > 0;
}

Task<void> Connection::answer_exchange() {
  ServerStats& stats = server_->stats;
  stats.exchanges.add(1);
  stats.exchanges_open.add(1);
  stats.bytes_received.add(static_cast<std::int64_t>(reader_->request().body.size()));
  const RequestHead& head = reader_->head();
  keep_alive_ = head.keep_alive;
  chunked_ = !head.http10;
  body_allowed_ = reader_->request().method != "HEAD";
  answer_ = Answer::kNone;
  in_exchange_ = true;
  watch(false);
  bool failed = false;
  try {
    co_await server_->handler(*this);
  } catch (...) {
    failed = true;
    log(LogLevel::kError, "request handler failed", {{"exception", current_exception_name()}});
  }
  gone_ = nullptr;
  if (answer_ <= Answer::kHeadHeld && open()) {
    answer_ = Answer::kNone;
    if (!failed) log(LogLevel::kError, "request handler gave no answer");
    constexpr std::string_view kBody =
        R"({"error":{"message":"The server failed to answer this request.","type":"server_error",)"
        R"("param":null,"code":"internal_error","stage":"router","retryable":false}})";
    (void)co_await send(500, {{"content-type", "application/json"}}, std::string(kBody));
  } else if (answer_ != Answer::kDone) {
    abandon();
  }
  lingers_ = !unread().empty();
  in_exchange_ = false;
  stats.exchanges_open.add(-1);
}

Task<void> Connection::send_refusal() {
  const Refusal& refusal = reader_->refusal();
  server_->stats.refused[static_cast<std::size_t>(refusal.reason)].add(1);
  // The answer has a body, which one to HEAD must not have on a connection that goes on.
  keep_alive_ = !refusal.close && reader_->head().keep_alive && reader_->request().method != "HEAD";
  lingers_ = true;
  body_allowed_ = true;
  chunked_ = false;
  answer_ = Answer::kNone;
  std::string body = refusal_body(refusal);
  begin_head(refusal.status, {{"content-type", "application/json"}});
  head_ += "content-length: ";
  append_number(head_, body.size());
  head_ += "\r\n\r\n";
  std::array pieces{asio::buffer(std::as_const(head_)), asio::buffer(std::as_const(body))};
  if (send_now(pieces)) (void)co_await send_rest(pieces, server_->limits.write_time);
  head_.clear();
}

// Closing with unread bytes would reset the connection and could take the answer with it, so what
// still comes is thrown away for a while (RFC 9112 §9.6).
Task<void> Connection::linger() {
  shut_down_sending();
  set_deadline(Clock::now() + kLingerTime);
  std::size_t dropped = 0;
  do {
    dropped += unread().size();
    consume(unread().size());
    if (dropped > kLingerBytes) break;
  } while (co_await more());
}

void Connection::on_end() {
  if (!in_exchange_ || answer_ == Answer::kDone || !gone_) return;
  const std::function<void()> callback = std::exchange(gone_, nullptr);
  callback();
}

void Connection::close_if_idle() {
  if (!in_exchange_ && reader_->idle()) close();
}

void Connection::stop() {
  close();
  on_end();
}

Request Connection::take_request() { return std::move(reader_->request()); }

void Connection::on_client_gone(std::function<void()> callback) {
  gone_ = std::move(callback);
  if (!open()) on_end();
}

void Connection::begin_head(unsigned status, const Fields& fields) {
  if (server_->draining) keep_alive_ = false;
  body_allowed_ = body_allowed_ && status != 204 && status != 304;
  head_ = "HTTP/1.1 ";
  append_number(head_, status);
  head_ += ' ';
  head_ += reason_phrase(status);
  head_ += "\r\n";
  append_field(head_, "date", server_->http_date());
  for (const auto& [name, value] : fields) append_field(head_, name, value);
  if (!keep_alive_) {
    head_ += "connection: close\r\n";
  } else if (reader_->head().http10) {
    head_ += "connection: keep-alive\r\n";
  }
}

// The handler broke the order of calls, or the answer was cut short before.
Error Connection::out_of_turn() const {
  if (!open()) return broken();
  return {ErrorCode::kInternal, Stage::kRouter, "the answer cannot go on from here"};
}

Error Connection::broken() const {
  if (end() == End::kTimeout) {
    return {ErrorCode::kTimeout, Stage::kRouter, "the client reads too slowly"};
  }
  return {ErrorCode::kCancelled, Stage::kRouter, "the client closed the connection"};
}

Task<Result<void>> Connection::send_pieces(std::span<asio::const_buffer> pieces) {
  bool sent = open() && send_now(pieces);
  if (sent && asio::buffer_size(pieces) > 0) {
    sent = co_await send_rest(pieces, server_->limits.write_time);
  }
  if (!sent) {
    const Error error = broken();
    close();
    co_return std::unexpected(error);
  }
  co_return Result<void>();
}

Task<Result<void>> Connection::send(unsigned status, Fields fields, std::string body) {
  if (answer_ != Answer::kNone) co_return std::unexpected(out_of_turn());
  begin_head(status, fields);
  if (status != 204 && status != 304) {
    head_ += "content-length: ";
    append_number(head_, body.size());
    head_ += "\r\n";
  }
  head_ += "\r\n";
  answer_ = Answer::kDone;
  if (!body_allowed_) body.clear();
  server_->stats.bytes_sent.add(static_cast<std::int64_t>(body.size()));
  std::array pieces{asio::buffer(std::as_const(head_)), asio::buffer(std::as_const(body))};
  co_return co_await send_pieces(pieces);
}

Task<Result<void>> Connection::start(unsigned status, Fields fields) {
  if (answer_ != Answer::kNone) co_return std::unexpected(out_of_turn());
  if (!chunked_) keep_alive_ = false;  // to HTTP/1.0, the end of the connection ends the body
  begin_head(status, fields);
  if (chunked_ && status != 204 && status != 304) head_ += "transfer-encoding: chunked\r\n";
  head_ += "\r\n";
  answer_ = Answer::kHeadHeld;
  if (!open()) co_return std::unexpected(broken());
  co_return Result<void>();
}

Task<Result<void>> Connection::write(std::string_view bytes) {
  if (answer_ == Answer::kNone || answer_ == Answer::kDone) {
    co_return std::unexpected(out_of_turn());
  }
  if (bytes.empty() || !body_allowed_) co_return Result<void>();
  const bool with_head = std::exchange(answer_, Answer::kStreaming) == Answer::kHeadHeld;
  if (!with_head) head_.clear();
  if (chunked_) {
    append_number(head_, bytes.size(), 16);
    head_ += "\r\n";
  }
  server_->stats.bytes_sent.add(static_cast<std::int64_t>(bytes.size()));
  std::array pieces{asio::buffer(std::as_const(head_)), asio::buffer(bytes),
                    asio::buffer(std::string_view(chunked_ ? "\r\n" : ""))};
  co_return co_await send_pieces(pieces);
}

Task<Result<void>> Connection::finish() {
  if (answer_ == Answer::kNone || answer_ == Answer::kDone) {
    co_return std::unexpected(out_of_turn());
  }
  const bool with_head = std::exchange(answer_, Answer::kDone) == Answer::kHeadHeld;
  if (!with_head) head_.clear();
  if (chunked_ && body_allowed_) head_ += "0\r\n\r\n";
  std::array pieces{asio::buffer(std::as_const(head_))};
  co_return co_await send_pieces(pieces);
}

Task<void> Connection::answer_raw(std::string bytes, RawEnd end) {
  if (answer_ != Answer::kNone) co_return;
  answer_ = Answer::kDone;
  keep_alive_ = false;
  std::array pieces{asio::buffer(std::as_const(bytes))};
  const auto sent = co_await send_pieces(pieces);
  if (!sent) co_return;
  if (end == RawEnd::kReset) reset_on_close();
  if (end == RawEnd::kHalfClose) {
    shut_down_sending();
    do consume(unread().size());
    while (co_await more());
  }
  close();
}

void Connection::abandon() {
  answer_ = Answer::kDone;
  keep_alive_ = false;
  if (!open()) return;
  if (!chunked_) reset_on_close();
  close();
}

}  // namespace baton::adapters::http
