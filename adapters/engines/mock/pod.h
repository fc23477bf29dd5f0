#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "adapters/engines/mock/dress.h"
#include "adapters/engines/mock/kv_event_sink.h"
#include "adapters/http/client.h"
#include "adapters/http/server.h"

namespace baton::adapters::mock {

// What the mock pods of one process share. Outlives them.
struct MockCommons {
  explicit MockCommons(http::asio::io_context& context)
      : io(context), client(http::Client::create(context, {})) {}
  http::asio::io_context& io;
  MockTokenizer tokenizer;
  std::unique_ptr<http::Client> client;
};

// A strict stand-in for a model server of some engine: its HTTP surface, its side channel, a
// simulated engine behind them, a ledger of what it was asked, and scripted faults. Owned by the
// process or a test, and by the requests that are open; lives on one thread's io_context, which it
// shares with any number of others.
class MockPod final : public std::enable_shared_from_this<MockPod> {
 public:
  // Listens on both ports. Errors: kInvalidArgument naming the option or the address.
  [[nodiscard]] static Result<std::shared_ptr<MockPod>> start(MockCommons& commons,
                                                              MockOptions options);
  ~MockPod();
  MockPod(const MockPod&) = delete;
  MockPod& operator=(const MockPod&) = delete;

  [[nodiscard]] const MockOptions& options() const { return parts_.options; }
  [[nodiscard]] PodParts& parts() { return parts_; }
  // Closes its ports and cuts what is open, as if the process had died.
  void stop();

 private:
  MockPod(MockCommons& commons, MockOptions options);
  [[nodiscard]] Result<void> begin();
  [[nodiscard]] Result<void> add_rank(int rank);
  [[nodiscard]] Result<std::unique_ptr<http::Server>> listen(
      const std::string& host, std::uint16_t port,
      http::Task<void> (*handler)(std::shared_ptr<MockPod>, http::Exchange&));
  static http::Task<void> handle(std::shared_ptr<MockPod> pod, http::Exchange& exchange);
  static http::Task<void> handle_side_channel(std::shared_ptr<MockPod> pod,
                                              http::Exchange& exchange);
  [[nodiscard]] Answer debug(const http::Request& request);
  [[nodiscard]] Json ledger_json() const;

  // pod_answer.cc
  static http::Task<void> generate(MockPod& pod, http::Exchange& exchange, Api api,
                                   const http::Request& request);
  static http::Task<void> run(MockPod& pod, http::Exchange& exchange, Generation wanted,
                              std::shared_ptr<RequestRecord> record);
  static http::Task<void> answer_whole(MockPod& pod, http::Exchange& exchange,
                                       const std::shared_ptr<Work>& work);
  static http::Task<void> answer_stream(MockPod& pod, http::Exchange& exchange,
                                        const std::shared_ptr<Work>& work);
  // The same as one text, for faults that spoil it.
  static http::Task<Answer> gather(MockPod& pod, const std::shared_ptr<Work>& work);
  static http::Task<bool> spoil_early(MockPod& pod, http::Exchange& exchange, const Fault& fault,
                                      RequestRecord& record);
  static http::Task<void> spoil(MockPod& pod, http::Exchange& exchange, const Fault& fault,
                                const std::shared_ptr<Work>& work);

  MockCommons& commons_;
  std::vector<std::unique_ptr<KvEventSink>> kv_events_;  // of each rank, if it publishes any
  PodParts parts_;
  std::unique_ptr<Dress> dress_;
  std::set<Work*> open_;
  std::unique_ptr<http::Server> server_;
  std::unique_ptr<http::Server> side_channel_;
};

}  // namespace baton::adapters::mock
