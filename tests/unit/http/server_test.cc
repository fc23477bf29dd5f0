#include "adapters/http/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <atomic>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <future>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "adapters/http/wakeup.h"
#include "tests/unit/http/test_server.h"

namespace baton::adapters::http {
namespace {

using namespace std::chrono_literals;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

constexpr std::string_view kGet = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";

TEST(ServerTest, AnswersAndKeepsTheConnection) {
  TestServer server(echo);
  RawClient client(server.port());
  client.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(client.read_answer(), EndsWith("GET /a "));
  client.send("POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
  EXPECT_THAT(client.read_answer(), EndsWith("POST /b hello"));
  client.send(
      "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
      "3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX: y\r\n\r\n");
  const std::string answer = client.read_to_end();
  EXPECT_THAT(answer, EndsWith("POST /c abcde"));
  EXPECT_THAT(answer, HasSubstr("connection: close"));
  EXPECT_EQ(server.server().stats().exchanges.get(), 3);
  EXPECT_EQ(server.server().stats().connections_accepted.get(), 1);
}

TEST(ServerTest, AnswersPipelinedRequestsInOrder) {
  TestServer server(echo);
  RawClient client(server.port());
  std::string requests;
  for (int i = 0; i < 500; ++i) {
    requests +=
        "POST /" + std::to_string(i) + " HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc";
  }
  client.send(requests);
  for (int i = 0; i < 500; ++i) {
    ASSERT_THAT(client.read_answer(), EndsWith("POST /" + std::to_string(i) + " abc"));
  }
}

TEST(ServerTest, ReceivesALargeBody) {
  TestServer server(echo);
  RawClient client(server.port());
  std::string body(5 << 20, 'x');
  for (std::size_t i = 0; i < body.size(); i += 1001) body[i] = static_cast<char>('a' + i % 7);
  for (int i = 0; i < 2; ++i) {
    client.send("POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) +
                "\r\n\r\n" + body);
    const std::string answer = client.read_answer();
    ASSERT_TRUE(answer.ends_with(body));
  }
}

TEST(ServerTest, TellsAClientThatExpectsItToContinue) {
  TestServer server(echo);
  RawClient client(server.port());
  client.send("POST /b HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
  EXPECT_EQ(client.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("hello");
  EXPECT_THAT(client.read_answer(), EndsWith("POST /b hello"));
}

TEST(ServerTest, AnswersHeadWithoutABody) {
  TestServer server(echo);
  RawClient client(server.port());
  client.send("HEAD /a HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(client.read_until("\r\n\r\n"), HasSubstr("content-length: 8\r\n"));
  client.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(client.read_answer(), EndsWith("GET /a "));
}

// What is refused closes the connection, and nothing behind it runs.
TEST(ServerTest, RefusesAndRunsNothingBehindIt) {
  TestServer server(echo);
  for (const std::string_view bad : {
           "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
           "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n",
           "GET / HTTP/1.1\r\n\r\n",
           "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n",
       }) {
    RawClient client(server.port());
    client.send(std::string(bad) + std::string(kGet) + std::string(kGet));
    const std::string answer = client.read_to_end();
    EXPECT_GE(status_of(answer), 400) << bad;
    EXPECT_THAT(answer, HasSubstr("connection: close\r\n"));
    EXPECT_THAT(answer, HasSubstr(R"("type":")"));
    EXPECT_FALSE(client.ended_by_reset()) << bad;
    EXPECT_EQ(answer.find("HTTP/1.1 ", 1), std::string::npos);
  }
  EXPECT_EQ(server.server().stats().exchanges.get(), 0);
  EXPECT_EQ(server.refused(RefusalReason::kLengthAndEncoding), 1);
  EXPECT_EQ(server.refused(RefusalReason::kBadEncoding), 1);
  EXPECT_EQ(server.refused(RefusalReason::kBadHost), 1);
  EXPECT_EQ(server.refused(RefusalReason::kBadMethod), 1);
}

TEST(ServerTest, StaysUsableAfterABodyOverTheLimit) {
  ServerLimits limits;
  limits.body = Bytes(1000);
  TestServer server(echo, limits);
  RawClient client(server.port());
  client.send("POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n" +
              std::string(1001, 'a'));
  EXPECT_EQ(status_of(client.read_answer()), 413);
  client.send("GET /a HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_THAT(client.read_answer(), EndsWith("GET /a "));
  EXPECT_EQ(server.refused(RefusalReason::kBodyTooLarge), 1);
}

// The answer reaches a client that sends everything before it reads.
TEST(ServerTest, AnswersBeforeItClosesOnAHugeBody) {
  ServerLimits limits;
  limits.body = Bytes(1000);
  TestServer server(echo, limits);
  RawClient client(server.port());
  client.try_send("POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 20000000\r\n\r\n" +
                  std::string(20'000'000, 'a'));
  client.socket().shutdown(asio::socket_base::shutdown_send);
  EXPECT_EQ(status_of(client.read_to_end()), 413);
}

TEST(ServerTest, GivesUpOnASlowHead) {
  ServerLimits limits;
  limits.header_time = 50ms;
  TestServer server(echo, limits);
  RawClient client(server.port());
  client.send("GET / HTTP/1.1\r\nHos");
  const std::string answer = client.read_to_end();
  EXPECT_EQ(status_of(answer), 408);
  EXPECT_EQ(server.refused(RefusalReason::kTimeout), 1);
}

TEST(ServerTest, GivesUpOnASlowBody) {
  ServerLimits limits;
  limits.header_time = 50ms;
  TestServer server(echo, limits);
  RawClient client(server.port());
  client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc");
  EXPECT_EQ(status_of(client.read_to_end()), 408);
}

TEST(ServerTest, ClosesIdleConnectionsSilently) {
  ServerLimits limits;
  limits.idle_time = 50ms;
  TestServer server(echo, limits);
  RawClient unused(server.port());
  RawClient used(server.port());
  used.send(kGet);
  EXPECT_EQ(status_of(used.read_answer()), 200);
  EXPECT_EQ(used.read_to_end(), "");
  EXPECT_EQ(unused.read_to_end(), "");
}

TEST(ServerTest, StreamsInChunks) {
  TestServer server(stream_three);
  RawClient client(server.port());
  for (int i = 0; i < 2; ++i) {
    client.send(kGet);
    EXPECT_THAT(client.read_until("\r\n\r\n"), HasSubstr("transfer-encoding: chunked\r\n"));
    EXPECT_EQ(client.read_until("0\r\n\r\n"), "4\r\none \r\n4\r\ntwo \r\n5\r\nthree\r\n0\r\n\r\n");
  }
}

TEST(ServerTest, StreamsToHttp10UntilItCloses) {
  TestServer server(stream_three);
  RawClient client(server.port());
  client.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
  const std::string answer = client.read_to_end();
  EXPECT_THAT(answer, EndsWith("\r\n\r\none two three"));
  EXPECT_THAT(answer, HasSubstr("connection: close\r\n"));
  EXPECT_THAT(answer, Not(HasSubstr("transfer-encoding")));
}

Task<void> stream_cut_short(Exchange& exchange) {
  (void)co_await exchange.start(200, {});
  (void)co_await exchange.write("part");
  exchange.abandon();
}

TEST(ServerTest, CutsAnAbandonedStreamShort) {
  TestServer server(stream_cut_short);
  RawClient client(server.port());
  client.send(kGet);
  EXPECT_THAT(client.read_to_end(), EndsWith("4\r\npart\r\n"));
}

Task<void> inject(Exchange& exchange) {
  (void)co_await exchange.send(200, {{"x-model", "a\r\nset-cookie: b"}}, "");
}

TEST(ServerTest, LetsNoValueAddAField) {
  TestServer server(inject);
  RawClient client(server.port());
  client.send(kGet);
  EXPECT_THAT(client.read_answer(), HasSubstr("x-model: a  set-cookie: b\r\n"));
}

Task<void> throws(Exchange&) {
  throw std::runtime_error("secret");
  co_return;
}
Task<void> throws_in_stream(Exchange& exchange) {
  (void)co_await exchange.start(200, {});
  (void)co_await exchange.write("part");
  throw std::runtime_error("secret");
}
Task<void> says_nothing(Exchange&) { co_return; }

TEST(ServerTest, Answers500ForAHandlerThatFails) {
  for (auto* handler : {throws, says_nothing}) {
    TestServer server(handler);
    RawClient client(server.port());
    for (int i = 0; i < 2; ++i) {
      client.send(kGet);
      const std::string answer = client.read_answer();
      EXPECT_EQ(status_of(answer), 500);
      EXPECT_THAT(answer, Not(HasSubstr("secret")));
      EXPECT_THAT(answer, HasSubstr(R"("stage":"router")"));
    }
  }
}

TEST(ServerTest, CutsAStreamShortWhoseHandlerFails) {
  TestServer server(throws_in_stream);
  RawClient client(server.port());
  client.send(kGet);
  EXPECT_THAT(client.read_to_end(), EndsWith("4\r\npart\r\n"));
}

Task<void> answers_twice(Exchange& exchange) {
  EXPECT_FALSE(co_await exchange.write("too early"));
  EXPECT_TRUE(co_await exchange.send(200, {}, "once"));
  EXPECT_FALSE(co_await exchange.send(200, {}, "twice"));
  EXPECT_FALSE(co_await exchange.start(200, {}));
  EXPECT_FALSE(co_await exchange.finish());
}

TEST(ServerTest, SendsOneAnswerOnly) {
  TestServer server(answers_twice);
  RawClient client(server.port());
  for (int i = 0; i < 2; ++i) {
    client.send(kGet);
    EXPECT_THAT(client.read_answer(), EndsWith("once"));
  }
}

// A handler that waits until its client leaves or the test lets it go on.
struct Waiter {
  std::promise<void> entered;
  std::promise<bool> client_left;
  std::optional<Wakeup> wakeup;

  Task<void> handle(Exchange& exchange, asio::io_context& io) {
    wakeup.emplace(io);
    exchange.on_client_gone([this] { wakeup->wake(); });
    entered.set_value();
    if (!exchange.client_gone()) (void)co_await wakeup->wait();
    const bool left = exchange.client_gone();
    const Result<void> sent = co_await exchange.send(200, {}, "waited");
    EXPECT_EQ(sent.has_value(), !left);
    client_left.set_value(left);
  }
};

class ClientGoneTest : public testing::Test {
 protected:
  Waiter waiter_;
  asio::io_context* io_ = nullptr;
  TestServer server_{[this](Exchange& exchange) { return waiter_.handle(exchange, *io_); }};
  ClientGoneTest() { io_ = &server_.io(); }
  void begin(RawClient& client) {
    client.send(kGet);
    waiter_.entered.get_future().wait();
  }
};

TEST_F(ClientGoneTest, SeesAnOrderlyEnd) {
  RawClient client(server_.port());
  begin(client);
  client.socket().close();
  EXPECT_TRUE(waiter_.client_left.get_future().get());
}

TEST_F(ClientGoneTest, SeesAReset) {
  RawClient client(server_.port());
  begin(client);
  client.reset();
  EXPECT_TRUE(waiter_.client_left.get_future().get());
}

TEST_F(ClientGoneTest, SeesAnEndBehindAPipelinedRequest) {
  RawClient client(server_.port());
  begin(client);
  client.send(kGet);
  client.socket().close();
  EXPECT_TRUE(waiter_.client_left.get_future().get());
}

TEST_F(ClientGoneTest, StopIsLikeLeaving) {
  RawClient client(server_.port());
  begin(client);
  server_.on_thread([this] { server_.server().stop(); });
  EXPECT_TRUE(waiter_.client_left.get_future().get());
  EXPECT_EQ(client.read_to_end(), "");
}

TEST_F(ClientGoneTest, DrainLetsExchangesEnd) {
  RawClient idle(server_.port());
  RawClient client(server_.port());
  begin(client);
  EXPECT_EQ(server_.server().open_exchanges(), 1);
  std::promise<void> drained;
  server_.on_thread([&] { server_.server().drain([&drained] { drained.set_value(); }); });
  EXPECT_EQ(idle.read_to_end(), "");
  server_.on_thread([this] { waiter_.wakeup->wake(); });
  EXPECT_FALSE(waiter_.client_left.get_future().get());
  const std::string answer = client.read_to_end();
  EXPECT_THAT(answer, EndsWith("waited"));
  EXPECT_THAT(answer, HasSubstr("connection: close"));
  drained.get_future().wait();
  EXPECT_EQ(server_.server().open_exchanges(), 0);
}

TEST(ServerTest, DrainsAtOnceWhereNobodyIsConnected) {
  TestServer server(echo);
  std::promise<void> drained;
  server.on_thread([&] { server.server().drain([&drained] { drained.set_value(); }); });
  drained.get_future().wait();
}

struct Flood {
  std::atomic<std::int64_t> written{0};
  std::promise<Error> failed;
  Task<void> handle(Exchange& exchange) {
    (void)co_await exchange.start(200, {});
    const std::string block(64 << 10, 'x');
    for (;;) {
      const Result<void> sent = co_await exchange.write(block);
      if (!sent) {
        failed.set_value(sent.error());
        co_return;
      }
      written += static_cast<std::int64_t>(block.size());
      if (written > 256 << 20) co_return;
    }
  }
};

TEST(ServerTest, WaitsForASlowReaderAndGivesUp) {
  Flood flood;
  ServerLimits limits;
  limits.write_time = 50ms;
  TestServer server([&flood](Exchange& exchange) { return flood.handle(exchange); }, limits);
  RawClient client(server.port());
  client.send(kGet);
  EXPECT_EQ(flood.failed.get_future().get().code, ErrorCode::kTimeout);
  EXPECT_LT(flood.written.load(), 64 << 20);  // what the two kernels hold
}

TEST(ServerTest, StopsWritingWhenTheReaderLeaves) {
  Flood flood;
  TestServer server([&flood](Exchange& exchange) { return flood.handle(exchange); });
  RawClient client(server.port());
  client.send(kGet);
  client.read_until("\r\n\r\n");
  client.socket().close();
  EXPECT_EQ(flood.failed.get_future().get().code, ErrorCode::kCancelled);
}

TEST(ServerTest, TurnsAwayConnectionsOverTheLimit) {
  ServerLimits limits;
  limits.connections = 1;
  TestServer server(echo, limits);
  RawClient first(server.port());
  first.send(kGet);
  EXPECT_EQ(status_of(first.read_answer()), 200);
  RawClient second(server.port());
  EXPECT_EQ(status_of(second.read_to_end()), 503);
  EXPECT_EQ(server.refused(RefusalReason::kTooManyConnections), 1);
  first.send(kGet);
  EXPECT_EQ(status_of(first.read_answer()), 200);
}

TEST(ServerTest, SurvivesRunningOutOfDescriptors) {
  TestServer server(echo);
  RawClient before(server.port());
  before.send(kGet);
  EXPECT_EQ(status_of(before.read_answer()), 200);
  asio::io_context io;
  asio::ip::tcp::socket waiting(io);
  waiting.open(asio::ip::tcp::v4());
  rlimit old{};
  getrlimit(RLIMIT_NOFILE, &old);
  const rlimit none{0, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &none), 0);
  waiting.connect({asio::ip::address_v4::loopback(), server.port()});
  while (server.server().stats().accept_failures.get() == 0) {  // open connections are served
    before.send(kGet);
    ASSERT_EQ(status_of(before.read_answer()), 200);
  }
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &old), 0);
  RawPeer accepted(std::move(waiting));
  accepted.send(kGet);
  EXPECT_EQ(status_of(accepted.read_answer()), 200);
}

TEST(ServerTest, NamesThePortInUse) {
  TestServer server(echo);
  const Result<void> free = Server::check_port_free("127.0.0.1", server.port());
  ASSERT_FALSE(free);
  EXPECT_EQ(free.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(free.error().message, "cannot listen on 127.0.0.1:" + std::to_string(server.port()) +
                                      ": address already in use");
  EXPECT_TRUE(Server::check_port_free("127.0.0.1", 0));
  EXPECT_FALSE(Server::check_port_free("no.such.host.invalid", 0));
}

TEST(ServerTest, SharesAPortBetweenThreads) {
  TestServer first(echo);
  asio::io_context io;
  EXPECT_TRUE(Server::listen(io, "127.0.0.1", first.port(), {}, echo));
}

// Everything that is suspended is destroyed with its io_context.
TEST(ServerTest, LeavesNothingBehindWithItsIoContext) {
  auto io = std::make_unique<asio::io_context>(1);
  std::optional<Wakeup> wakeup(std::in_place, *io);
  bool entered = false;
  auto server = Server::listen(*io, "127.0.0.1", 0, {}, [&](Exchange&) -> Task<void> {
    entered = true;
    return [](Wakeup& w) -> Task<void> { (void)co_await w.wait(); }(*wakeup);
  });
  ASSERT_TRUE(server);
  RawClient busy((*server)->port());
  RawClient idle((*server)->port());
  busy.send(kGet);
  while (!entered || (*server)->stats().connections_open.get() < 2) io->run_one();
  server->reset();
  wakeup.reset();
  io.reset();
}

TEST(HttpMetricsTest, CarriesCountsIntoTheRegistry) {
  TestServer server(echo);
  Metrics metrics;
  HttpMetrics carried(metrics, {&server.server().stats()});
  RawClient client(server.port());
  client.send("GET /abc HTTP/1.1\r\nHost: x\r\n\r\n");
  client.read_answer();
  client.send("GET / HTTP/1.1\r\n\r\n");
  client.read_to_end();
  carried.update();
  carried.update();
  const std::string text = metrics.expose();
  EXPECT_THAT(text, HasSubstr("baton_http_exchanges_total 1\n"));
  EXPECT_THAT(text, HasSubstr("baton_http_sent_bytes_total 9\n"));
  EXPECT_THAT(text, HasSubstr("baton_http_rejected_total{reason=\"bad_host\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("baton_http_rejected_total{reason=\"bad_length\"} 0\n"));
}

}  // namespace
}  // namespace baton::adapters::http
