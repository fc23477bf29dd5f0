#include "orchestrator/bench/generator/reference_server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/use_future.hpp>
#include <boost/asio/write.hpp>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "adapters/http/client.h"

namespace baton::orchestrator::bench {
namespace {

using namespace std::chrono_literals;
namespace http = adapters::http;
using Json = nlohmann::json;

struct Answer {
  unsigned status = 0;
  std::string body;
};

http::Task<Answer> fetch(http::Client& client, std::uint16_t port, http::ClientRequest request) {
  auto exchange = co_await client.send("127.0.0.1", port, std::move(request));
  if (!exchange) co_return Answer{0, exchange.error().message};
  const unsigned status = (*exchange)->status();
  auto body = co_await (*exchange)->read_all(Bytes(1 << 20));
  co_return Answer{status, body ? std::move(*body) : "broken"};
}

Answer ask(std::uint16_t port, std::string method, std::string target, std::string body = {}) {
  boost::asio::io_context io(1);
  auto client = http::Client::create(io, {});
  auto answer = boost::asio::co_spawn(
      io, fetch(*client, port, {std::move(method), std::move(target), {}, std::move(body)}),
      boost::asio::use_future);
  while (answer.wait_for(0s) != std::future_status::ready) io.run_one();
  client.reset();
  return answer.get();
}

std::unique_ptr<ReferenceServer> start(ReferenceOptions options = {}) {
  auto server = ReferenceServer::start(std::move(options));
  EXPECT_TRUE(server) << server.error().message;
  return std::move(*server);
}

TEST(ReferenceServer, ListsItsModelAndIsHealthy) {
  const auto server = start({.model = "m\"1"});
  const Json models = Json::parse(ask(server->port(), "GET", "/v1/models").body);
  EXPECT_EQ(models["data"][0]["id"], "m\"1");
  EXPECT_EQ(models["data"][0]["root"], "m\"1");
  EXPECT_EQ(ask(server->port(), "GET", "/health").status, 200u);
  EXPECT_EQ(ask(server->port(), "GET", "/x").status, 404u);
}

TEST(ReferenceServer, CountsOneTokenAByte) {
  const auto server = start();
  const Json tokens =
      Json::parse(ask(server->port(), "POST", "/tokenize", R"({"prompt":"aé\n"})").body);
  EXPECT_EQ(tokens["count"], 4);
  EXPECT_EQ(tokens["tokens"], Json({97, 195, 169, 10}));
  EXPECT_EQ(ask(server->port(), "POST", "/tokenize", "no").status, 400u);
  const Json answer = Json::parse(
      ask(server->port(), "POST", "/v1/chat/completions",
          R"({"messages":[{"role":"system","content":"abc"},{"role":"user","content":"de"}],)"
          R"("max_tokens":3})")
          .body);
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 5);
  EXPECT_EQ(answer["usage"]["completion_tokens"], 3);
  EXPECT_EQ(answer["choices"][0]["message"]["content"], "aaa");
}

TEST(ReferenceServer, AnswersCompletionsOfTextAndOfTokens) {
  const auto server = start();
  const Json answer = Json::parse(
      ask(server->port(), "POST", "/v1/completions", R"({"prompt":[5,6,7],"max_tokens": 2})").body);
  EXPECT_EQ(answer["usage"]["prompt_tokens"], 3);
  EXPECT_EQ(answer["choices"][0]["text"], "aa");
}

TEST(ReferenceServer, RefusesWhatIsNoRequest) {
  const auto server = start();
  EXPECT_EQ(ask(server->port(), "POST", "/v1/completions", "{}").status, 400u);
  EXPECT_EQ(ask(server->port(), "POST", "/v1/chat/completions", "nonsense").status, 400u);
  EXPECT_EQ(server->requests(), 0);
}

TEST(ReferenceServer, SendsTokensNoEarlierThanItSays) {
  const auto server = start({.timing = {.ttft = 20ms, .gap = 5ms}});
  const Answer answer =
      ask(server->port(), "POST", "/v1/chat/completions",
          R"({"messages":[{"role":"user","content":"reference id=41 "}],"max_tokens":4,)"
          R"("stream":true})");
  EXPECT_EQ(answer.status, 200u);
  EXPECT_TRUE(answer.body.ends_with("data: [DONE]\n\n"));
  EXPECT_THAT(answer.body, testing::HasSubstr(R"("completion_tokens":4)"));
  const std::vector<ServedTruth> truth = server->stop();
  ASSERT_EQ(truth.size(), 1u);
  EXPECT_EQ(truth[0].id, 41);
  EXPECT_TRUE(truth[0].whole);
  ASSERT_EQ(truth[0].tokens.size(), 4u);
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_GE(truth[0].tokens[i] - truth[0].received, 20ms + i * 5ms);
  }
  EXPECT_GE(truth[0].ended, truth[0].tokens.back());
}

TEST(ReferenceServer, APromptSetsItsOwnTimes) {
  const auto server = start({.timing = {.ttft = 10h, .gap = 10h}});
  const Answer answer =
      ask(server->port(), "POST", "/v1/completions",
          R"({"prompt":"x reference id=3 ttft_us=1000 gap_us=0 tokens=2 \n","stream":true})");
  EXPECT_EQ(answer.status, 200u);
  const std::vector<ServedTruth> truth = server->stop();
  ASSERT_EQ(truth.size(), 1u);
  EXPECT_EQ(truth[0].id, 3);
  EXPECT_EQ(truth[0].tokens.size(), 2u);
}

// More than the sockets hold, to a client that reads late and wants the connection closed.
TEST(ReferenceServer, ClosesOnceASlowReaderHasAll) {
  const auto server = start();
  boost::asio::io_context io;
  boost::asio::ip::tcp::socket socket(io);
  socket.connect({boost::asio::ip::make_address("127.0.0.1"), server->port()});
  const std::string body = R"({"prompt":"x","stream":true,"max_tokens":100000})";
  boost::asio::write(socket, boost::asio::buffer(
                                 "POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
                                 "content-length: " +
                                 std::to_string(body.size()) + "\r\n\r\n" + body));
  while (server->requests() == 0) std::this_thread::yield();
  std::string answer;
  boost::system::error_code ec;
  boost::asio::read(socket, boost::asio::dynamic_buffer(answer), ec);
  EXPECT_EQ(ec, boost::asio::error::eof);
  EXPECT_GT(answer.size(), 10'000'000U);
  EXPECT_TRUE(answer.ends_with("data: [DONE]\n\n\r\n0\r\n\r\n"));
}

TEST(ReferenceServer, StopEndsWhatIsOpen) {
  const auto server = start({.timing = {.ttft = 10h}});
  Answer answer;
  std::thread client(
      [&] { answer = ask(server->port(), "POST", "/v1/completions", R"({"prompt":"x"})"); });
  while (server->requests() == 0) std::this_thread::yield();
  const std::vector<ServedTruth> truth = server->stop();
  client.join();
  EXPECT_EQ(answer.status, 0u);
  ASSERT_EQ(truth.size(), 1u);
  EXPECT_FALSE(truth[0].whole);
}

TEST(ReferenceServer, RunsInAProcessOfItsOwnToo) {
  auto child = ReferenceChild::start({.model = "m"});
  ASSERT_TRUE(child) << child.error().message;
  const std::uint16_t port = (*child)->port();
  EXPECT_EQ(ask(port, "GET", "/health").status, 200u);
  child->reset();
  EXPECT_EQ(ask(port, "GET", "/health").status, 0u);
}

TEST(ReferenceServer, SaysWhyItCannotListen) {
  const auto server = ReferenceServer::start({.host = "nowhere"});
  ASSERT_FALSE(server);
  EXPECT_THAT(server.error().message, testing::HasSubstr("nowhere"));
  EXPECT_FALSE(ReferenceChild::start({.host = "nowhere"}));
}

}  // namespace
}  // namespace baton::orchestrator::bench
