#pragma once

#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/io_context.hpp>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "adapters/engines/mock/pod.h"

namespace baton::adapters::mock::testing {

inline const std::string kPrompt =
    "Tell me of the sea and of the ships that have left for the north.";

// One request of a client and what it has of the answer so far.
struct Call {
  unsigned status = 0;  // 0: no head yet, or no HTTP
  std::string type;
  std::string body;
  bool ended = false;
  bool cut = false;  // ended, but not in order
  http::asio::cancellation_signal leave;
  [[nodiscard]] Json json() const { return Json::parse(body, nullptr, false); }
  // The data of a stream's events; "[DONE]" as that string.
  [[nodiscard]] std::vector<Json> events() const;
  [[nodiscard]] std::string error_message() const;
};

// Mock pods and a client of theirs on the test's thread, over real sockets.
class Street {
 public:
  Street() : commons_(io) {}
  ~Street();

  MockPod& add(MockOptions options);
  // A prefill and a decode pod of the same model.
  MockPod& prefill(MockOptions options = {});
  MockPod& decode(MockOptions options = {});

  [[nodiscard]] std::shared_ptr<Call> begin(const MockPod& pod, std::string method,
                                            std::string target, std::string body,
                                            http::Fields fields = {}) {
    return begin_at(pod.options().port, std::move(method), std::move(target), std::move(body),
                    std::move(fields));
  }
  [[nodiscard]] std::shared_ptr<Call> begin_at(std::uint16_t port, std::string method,
                                               std::string target, std::string body,
                                               http::Fields fields = {});
  // The same, run to its end.
  [[nodiscard]] std::shared_ptr<Call> call(const MockPod& pod, std::string method,
                                           std::string target, std::string body = {},
                                           http::Fields fields = {});
  [[nodiscard]] std::shared_ptr<Call> post(const MockPod& pod, std::string target, const Json& body,
                                           http::Fields fields = {});
  [[nodiscard]] std::shared_ptr<Call> get(const MockPod& pod, std::string target) {
    return call(pod, "GET", std::move(target));
  }
  [[nodiscard]] Json ledger(const MockPod& pod) { return get(pod, "/debug/ledger")->json(); }
  [[nodiscard]] Json requests(const MockPod& pod) { return get(pod, "/debug/requests")->json(); }
  void set_faults(const MockPod& pod, const std::string& faults);
  // The value behind this series in /metrics; -1: it is not there.
  [[nodiscard]] double metric(const MockPod& pod, const std::string& series);

  // Runs the thread until `done`, at most 10 s; false: it did not come.
  [[nodiscard]] bool run_until(const std::function<bool()>& done);

  http::asio::io_context io;

 private:
  MockCommons commons_;
  std::unique_ptr<http::Client> client_;
  std::vector<std::shared_ptr<MockPod>> pods_;
  std::vector<std::shared_ptr<Call>> calls_;
};

// A completion of `prompt`, greedy.
[[nodiscard]] Json completion(const std::string& prompt, int max_tokens = 8);
// What makes a body the prefill leg of a hand-off, and what makes it the decode leg.
[[nodiscard]] Json prefill_leg(Json body);
[[nodiscard]] Json decode_leg(Json body, const Json& prefill_answer);

}  // namespace baton::adapters::mock::testing
