#include "adapters/http/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_future.hpp>
#include <memory>
#include <string>

#include "tests/unit/http/test_server.h"

namespace baton::adapters::http {
namespace {

using testing::EndsWith;
using testing::HasSubstr;

Task<void> echo(Exchange& exchange) {
  const Request& request = exchange.request();
  std::string body = request.method + " " + request.target + " " + request.body;
  (void)co_await exchange.send(200, {{"content-type", "text/plain"}}, std::move(body));
}

Task<void> stream_three(Exchange& exchange) {
  (void)co_await exchange.start(200, {{"content-type", "text/event-stream"}});
  for (const std::string_view piece : {"one ", "two ", "three"}) {
    (void)co_await exchange.write(piece);
  }
  (void)co_await exchange.finish();
}

// A client on a thread of its own.
class ClientTest : public testing::Test {
 protected:
  ~ClientTest() override {
    asio::post(io_, [this] { client_.reset(); });
    work_.reset();
    thread_.join();
  }
  void start(ClientLimits limits = {}) {
    client_ = Client::create(io_, limits);
    thread_ = std::thread([this] { io_.run(); });
  }
  static Task<Result<std::string>> fetch(Client& client, std::uint16_t port,
                                         ClientRequest request) {
    Result<std::unique_ptr<ClientExchange>> exchange =
        co_await client.send("127.0.0.1", port, std::move(request));
    if (!exchange) co_return std::unexpected(exchange.error());
    co_return co_await (*exchange)->read_all(Bytes(1 << 20));
  }
  Result<std::string> fetch(std::uint16_t port, ClientRequest request) {
    return asio::co_spawn(io_, fetch(*client_, port, std::move(request)), asio::use_future).get();
  }

  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  std::unique_ptr<Client> client_;
  std::thread thread_;
};

TEST_F(ClientTest, ReusesConnections) {
  TestServer server(echo);
  start();
  for (int i = 0; i < 3; ++i) {
    const Result<std::string> answer = fetch(server.port(), {"POST", "/x", {}, "body"});
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(*answer, "POST /x body");
  }
  EXPECT_EQ(server.server().stats().connections_accepted.get(), 1);
}

TEST_F(ClientTest, ReadsStreams) {
  TestServer server(stream_three);
  start();
  for (int i = 0; i < 3; ++i) {
    const Result<std::string> answer = fetch(server.port(), {"POST", "/x", {}, "body"});
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(*answer, "one two three");
  }
  EXPECT_EQ(server.server().stats().connections_accepted.get(), 1);
}

}  // namespace
}  // namespace baton::adapters::http
