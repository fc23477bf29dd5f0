#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/http/request_reader.h"
#include "core/error.h"
#include "core/units.h"
#include "orchestrator/bench/generator/reference_answers.h"
#include "orchestrator/bench/generator/reference_server.h"

namespace baton::orchestrator::bench {

// Serves on the calling thread, straight on epoll: beside the load generator it must not be what
// limits, so it takes one system call a write and hardly any time of its own.
class ReferenceLoop {
 public:
  // Errors: kInvalidArgument, with host and port.
  [[nodiscard]] static Result<std::unique_ptr<ReferenceLoop>> listen(
      const ReferenceOptions& options);
  ReferenceLoop(const ReferenceOptions& options, int epoll, int listener);
  ~ReferenceLoop();
  ReferenceLoop(const ReferenceLoop&) = delete;
  ReferenceLoop& operator=(const ReferenceLoop&) = delete;

  [[nodiscard]] std::uint16_t port() const;
  [[nodiscard]] int requests() const { return requests_.load(std::memory_order_relaxed); }
  // Until the file descriptor `stop` is readable; -1: for good.
  void run(int stop);
  void close_all();
  [[nodiscard]] std::vector<ServedTruth> take_truth() { return std::move(truth_); }

 private:
  struct Connection {
    Connection(const adapters::http::ServerLimits& limits, std::uint32_t own_place)
        : place(own_place), reader(limits) {}
    const std::uint32_t place;
    std::uint32_t life = 0;  // counts the connections that this place has held
    int fd = -1;
    adapters::http::RequestReader reader;
    std::string unread, unsent;
    TimePoint received;  // the last bytes
    bool answering = false;
    bool closing = false;  // once all is sent
    ReferenceAnswer answer;
    int tokens_sent = 0;
    TimePoint due;
    std::size_t truth = 0;
  };
  struct Due {
    TimePoint at;
    std::uint32_t place;
    std::uint32_t life;
    bool operator>(const Due& other) const { return at > other.at; }
  };

  void accept_all();
  void handle(Connection& connection, std::uint32_t events);
  void receive(Connection& connection);
  void read_requests(Connection& connection, std::string_view fresh);
  void begin(Connection& connection);
  void play(Connection& connection);
  void end(Connection& connection);
  void refuse(Connection& connection, unsigned status, std::string_view body);
  void note_write(const Connection& connection, int tokens, bool last);
  void send(Connection& connection, std::string_view bytes);
  void flush(Connection& connection);
  void close(Connection& connection);
  void sleep(Connection& connection);
  void play_due();

  const adapters::http::ServerLimits limits_;
  const bool keep_truth_;
  ReferenceAnswers answers_;
  int epoll_;
  int listener_;
  std::vector<std::unique_ptr<Connection>> connections_;
  std::vector<std::uint32_t> free_places_;
  std::vector<Due> sleeping_;  // a heap, the earliest first
  std::string input_;          // what one recv() takes
  std::string output_;         // one write
  std::vector<ServedTruth> truth_;
  std::atomic<int> requests_ = 0;
};

}  // namespace baton::orchestrator::bench
