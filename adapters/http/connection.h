#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "adapters/http/http_metrics.h"
#include "adapters/http/request_reader.h"
#include "adapters/http/server.h"
#include "adapters/http/stream.h"

namespace baton::adapters::http {

// What the connections of one server share. Owned by the server and its connections.
struct ServerState {
  ServerState(asio::io_context& context, const ServerLimits& server_limits,
              Server::Handler request_handler);

  asio::io_context& io;
  ServerLimits limits;
  Server::Handler handler;
  ServerStats stats;
  std::shared_ptr<DeadlineSweep> sweep;
  bool draining = false;
  std::function<void()> drained;  // set while draining

  // For the field Date, formed once a second.
  [[nodiscard]] std::string_view http_date();

 private:
  std::int64_t date_second_ = -1;
  std::string date_;
};

// One client's connection: reads requests, runs the handler for each, and is the answering half of
// the exchange that is open. Owned by its own coroutine and its pending operations, on the server's
// thread. Whatever the handler does, the client sees one whole answer, or one cut short.
class Connection final : public Stream, public Exchange {
 public:
  Connection(std::shared_ptr<ServerState> server, Socket socket);
  ~Connection() override;

  // The connection's life; one coroutine.
  static Task<void> run(boost::intrusive_ptr<Connection> connection);
  // Ends it if no exchange is open: for draining.
  void close_if_idle();
  void stop();

  [[nodiscard]] const Request& request() const override { return reader_->request(); }
  [[nodiscard]] Request take_request() override;
  [[nodiscard]] bool client_gone() const override { return !open(); }
  void on_client_gone(std::function<void()> callback) override;
  Task<Result<void>> send(unsigned status, Fields fields, std::string body) override;
  Task<Result<void>> start(unsigned status, Fields fields) override;
  Task<Result<void>> write(std::string_view bytes) override;
  Task<Result<void>> finish() override;
  void abandon() override;
  Task<void> answer_raw(std::string bytes, RawEnd end) override;
  [[nodiscard]] bool started() const override { return answer_ != Answer::kNone; }

 private:
  enum class Answer : std::uint8_t { kNone, kHeadHeld, kStreaming, kDone };

  void on_end() override;
  Task<bool> read_request();
  bool receive_body();
  Task<void> answer_exchange();
  Task<void> send_refusal();
  Task<void> linger();
  void begin_head(unsigned status, const Fields& fields);
  Task<Result<void>> send_pieces(std::span<asio::const_buffer> pieces);
  [[nodiscard]] Error broken() const;
  [[nodiscard]] Error out_of_turn() const;

  std::shared_ptr<ServerState> server_;
  std::unique_ptr<RequestReader> reader_;
  std::string head_;  // of the answer, until it is sent
  std::function<void()> gone_;
  TimePoint request_start_;
  Answer answer_ = Answer::kNone;
  bool in_exchange_ = false;
  bool keep_alive_ = true;
  bool lingers_ = false;      // the client may be sending still when this closes
  bool body_allowed_ = true;  // by the method and the status
  bool chunked_ = true;
};

}  // namespace baton::adapters::http
