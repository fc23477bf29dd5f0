#include "adapters/http/client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/use_future.hpp>
#include <future>
#include <memory>
#include <string>
#include <vector>

#include "tests/unit/http/test_server.h"

namespace baton::adapters::http {
namespace {

using namespace std::chrono_literals;
using testing::StartsWith;

// What came of one exchange.
struct Fetched {
  unsigned status = 0;
  std::string field;  // x-test
  std::string body;
};

Task<Result<Fetched>> fetch(Client& client, std::string host, std::uint16_t port,
                            ClientRequest request) {
  Result<std::unique_ptr<ClientExchange>> exchange =
      co_await client.send(std::move(host), port, std::move(request));
  if (!exchange) co_return std::unexpected(exchange.error());
  Fetched fetched{(*exchange)->status(), std::string((*exchange)->field("x-test")), {}};
  Result<std::string> body = co_await (*exchange)->read_all(Bytes(8 << 20));
  if (!body) co_return std::unexpected(body.error());
  fetched.body = std::move(*body);
  co_return fetched;
}

// Sends, and gives the exchange up before its body was read.
Task<unsigned> send_and_drop(Client& client, std::uint16_t port) {
  Result<std::unique_ptr<ClientExchange>> exchange =
      co_await client.send("127.0.0.1", port, {"GET", "/", {}, ""});
  co_return exchange ? (*exchange)->status() : 0;
}

// How old the first piece of a body is when it is read. Nothing on this thread reads before `go`.
Task<Duration> age_when_read(Client& client, std::uint16_t port, std::future<void> go) {
  auto exchange = co_await client.send("127.0.0.1", port, {"GET", "/", {}, ""});
  go.wait();
  const Result<std::string_view> piece = co_await (*exchange)->read_some();
  if (!piece) co_return Duration::min();
  const TimePoint received = (*exchange)->received_at();
  co_return Clock::now() - received;
}

// The same by the connection's own count, which needs nothing to be noted.
Task<Duration> age_by_the_kernel(Client& client, std::uint16_t port, std::future<void> go) {
  auto exchange = co_await client.send("127.0.0.1", port, {"GET", "/", {}, ""});
  go.wait();
  const Duration age = (*exchange)->since_last_data();
  const Result<std::string> body = co_await (*exchange)->read_all(Bytes(8));
  co_return body && *body == "ok" ? age : Duration::min();
}

// A client on a thread of its own; the pod is the test's own hand, or a Server.
class ClientTest : public testing::Test {
 protected:
  ~ClientTest() override {
    asio::post(io_, [this] { client_.reset(); });
    work_.reset();
    if (thread_.joinable()) thread_.join();
  }
  void start(ClientLimits limits = {}) {
    client_ = Client::create(io_, limits);
    thread_ = std::thread([this] { io_.run(); });
  }
  std::future<Result<Fetched>> begin(std::uint16_t port, ClientRequest request,
                                     std::string host = "127.0.0.1") {
    return asio::co_spawn(io_, fetch(*client_, std::move(host), port, std::move(request)),
                          asio::use_future);
  }
  std::future<Result<Fetched>> begin_get(std::uint16_t port) {
    return begin(port, {"GET", "/", {}, ""});
  }
  // The answer is `bytes`, after which the pod closes.
  Result<Fetched> answered_by(std::string_view bytes) {
    RawServer pod;
    std::future<Result<Fetched>> result = begin_get(pod.port());
    {
      RawPeer peer = pod.accept();
      peer.read_until("\r\n\r\n");
      peer.try_send(bytes);
    }
    return result.get();
  }
  int open_connections() {
    std::promise<int> count;
    asio::post(io_, [&] { count.set_value(client_->open_connections()); });
    return count.get_future().get();
  }

  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_{io_.get_executor()};
  std::unique_ptr<Client> client_;
  std::thread thread_;
};

// A body that has been here for 30 ms when the client's thread reads it.
class LateReader : public ClientTest, public testing::WithParamInterface<bool> {};

TEST_P(LateReader, KnowsWhenItsBytesArrivedIfItNotesThat) {
  RawServer pod;
  start({.note_arrivals = GetParam()});
  std::promise<void> go;
  auto age =
      asio::co_spawn(io_, age_when_read(*client_, pod.port(), go.get_future()), asio::use_future);
  RawPeer peer = pod.accept();
  peer.read_until("\r\n\r\n");
  peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
  peer.send("ok");
  const TimePoint sent = Clock::now();
  std::this_thread::sleep_for(30ms);
  const Duration waited = Clock::now() - sent;
  go.set_value();
  const Duration read_at_age = age.get();
  if (GetParam()) {
    EXPECT_GE(read_at_age, waited - 1ms);
  } else {
    EXPECT_GE(read_at_age, 0ms);
  }
  EXPECT_LT(read_at_age, 10s);
}

TEST_F(ClientTest, KnowsHowLongItsBytesHaveWaited) {
  RawServer pod;
  start();
  std::promise<void> go;
  auto age = asio::co_spawn(io_, age_by_the_kernel(*client_, pod.port(), go.get_future()),
                            asio::use_future);
  RawPeer peer = pod.accept();
  peer.read_until("\r\n\r\n");
  peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
  peer.send("ok");
  const TimePoint sent = Clock::now();
  std::this_thread::sleep_for(50ms);
  const Duration waited = Clock::now() - sent;
  go.set_value();
  const Duration age_when_read = age.get();
  EXPECT_GE(age_when_read, waited - 20ms);  // counted in ticks of the kernel
  EXPECT_LT(age_when_read, 10s);
}

INSTANTIATE_TEST_SUITE_P(Noted, LateReader, testing::Bool());

TEST_F(ClientTest, KeepsConnectionsWhoseArrivalsAreNoted) {
  TestServer server(echo);
  start({.note_arrivals = true});
  for (int i = 0; i < 3; ++i) {
    const Result<Fetched> answer = begin(server.port(), {"POST", "/x", {}, "body"}).get();
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->body, "POST /x body");
  }
  EXPECT_EQ(open_connections(), 1);
  EXPECT_FALSE(answered_by("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort"));
}

TEST_F(ClientTest, ReusesConnections) {
  TestServer server(echo);
  start();
  for (int i = 0; i < 3; ++i) {
    const Result<Fetched> answer = begin(server.port(), {"POST", "/x", {}, "body"}).get();
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->body, "POST /x body");
  }
  EXPECT_EQ(server.server().stats().connections_accepted.get(), 1);
  EXPECT_EQ(open_connections(), 1);
}

TEST_F(ClientTest, ReadsStreams) {
  TestServer server(stream_three);
  start();
  for (int i = 0; i < 3; ++i) {
    const Result<Fetched> answer = begin(server.port(), {"POST", "/x", {}, "body"}).get();
    ASSERT_TRUE(answer) << answer.error().message;
    EXPECT_EQ(answer->body, "one two three");
  }
  EXPECT_EQ(server.server().stats().connections_accepted.get(), 1);
}

TEST_F(ClientTest, SendsWhatItWasGivenAndNothingMore) {
  RawServer pod;
  start();
  auto result = begin(pod.port(), {"POST", "/v1/x?y", {{"x-a", "b\r\nevil: c"}}, "{}"});
  RawPeer peer = pod.accept();
  EXPECT_EQ(peer.read_until("{}"),
            "POST /v1/x?y HTTP/1.1\r\nhost: 127.0.0.1:" + std::to_string(pod.port()) +
                "\r\ncontent-length: 2\r\nx-a: b  evil: c\r\n\r\n{}");
  peer.send("HTTP/1.1 201 \r\nX-Test: yes\r\nContent-Length: 2\r\n\r\nok");
  const Result<Fetched> answer = result.get();
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 201u);
  EXPECT_EQ(answer->field, "yes");
  EXPECT_EQ(answer->body, "ok");
}

TEST_F(ClientTest, MovesLargeBodiesBothWays) {
  TestServer server(echo);
  start();
  std::string body(5 << 20, 'x');
  for (std::size_t i = 0; i < body.size(); i += 1001) body[i] = static_cast<char>('a' + i % 7);
  const Result<Fetched> answer = begin(server.port(), {"POST", "/", {}, body}).get();
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_TRUE(answer->body == "POST / " + body);
}

TEST_F(ClientTest, ResolvesNames) {
  TestServer server(echo);
  start();
  const Result<Fetched> local = begin(server.port(), {"GET", "/", {}, ""}, "localhost").get();
  EXPECT_TRUE(local) << local.error().message;
  const Result<Fetched> unknown = begin(server.port(), {"GET", "/", {}, ""}, "a.invalid").get();
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::kUnavailable);
  EXPECT_TRUE(unknown.error().retryable);
}

TEST_F(ClientTest, SaysWhatWasRefused) {
  std::uint16_t port = 0;
  {
    RawServer gone;
    port = gone.port();
  }
  start();
  const Result<Fetched> answer = begin_get(port).get();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(answer.error().message,
            "cannot connect to 127.0.0.1:" + std::to_string(port) + ": Connection refused");
  EXPECT_TRUE(answer.error().retryable);
  EXPECT_EQ(open_connections(), 0);
}

TEST_F(ClientTest, ReplaysOnceOnAStaleConnection) {
  RawServer pod;
  start();
  auto first = begin_get(pod.port());
  RawPeer peer = pod.accept();
  peer.read_until("\r\n\r\n");
  peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(first.get());
  auto second = begin_get(pod.port());
  peer.read_until("\r\n\r\n");
  peer.reset();  // as a pod does whose idle time ended while the request was under way
  RawPeer fresh = pod.accept();
  fresh.read_until("\r\n\r\n");
  fresh.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  const Result<Fetched> answer = second.get();
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->body, "ok");
}

TEST_F(ClientTest, DoesNotReplayOnANewConnection) {
  start();
  const Result<Fetched> failed = answered_by("");
  ASSERT_FALSE(failed);
  EXPECT_EQ(failed.error().code, ErrorCode::kUnavailable);
}

TEST_F(ClientTest, DoesNotReplayOnceAByteOfTheAnswerCame) {
  RawServer pod;
  start();
  auto first = begin_get(pod.port());
  RawPeer peer = pod.accept();
  peer.read_until("\r\n\r\n");
  peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(first.get());
  auto second = begin_get(pod.port());
  peer.read_until("\r\n\r\n");
  peer.send("HTTP/1.1 200");
  peer.socket().close();
  const Result<Fetched> answer = second.get();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kUpstream);
}

TEST_F(ClientTest, DropsKeptConnectionsThatThePodClosed) {
  RawServer pod;
  start();
  auto first = begin_get(pod.port());
  {
    RawPeer peer = pod.accept();
    peer.read_until("\r\n\r\n");
    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    EXPECT_TRUE(first.get());
  }
  while (open_connections() > 0) std::this_thread::yield();
  auto second = begin_get(pod.port());
  RawPeer peer = pod.accept();
  peer.read_until("\r\n\r\n");
  peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
  EXPECT_TRUE(second.get());
}

TEST_F(ClientTest, ClosesKeptConnectionsAfterAWhile) {
  TestServer server(echo);
  ClientLimits limits;
  limits.keep_time = 50ms;
  start(limits);
  EXPECT_TRUE(begin_get(server.port()).get());
  while (open_connections() > 0) std::this_thread::yield();
}

TEST_F(ClientTest, RefusesAnswersThatCanBeReadInTwoWays) {
  start();
  const std::string ok = "HTTP/1.1 200 OK\r\n";
  for (const std::string& bad : {
           ok + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
           ok + "Transfer-Encoding: gzip\r\n\r\nabc",
           ok + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
           ok + "Content-Length: 1\r\nContent-Length: 1\r\n\r\na",
           ok + "Content-Length: +1\r\n\r\na",
           ok + "X : y\r\nContent-Length: 0\r\n\r\n",
           ok + "X: y\r\n folded\r\nContent-Length: 0\r\n\r\n",
           std::string("HTTP/1.1 200 OK\nContent-Length: 0\n\n"),
           std::string("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
           std::string("HTTP/2 200 OK\r\n\r\n"),
           std::string("HTTP/1.1 2000 OK\r\n\r\n"),
           std::string("HTTP/1.1 099 OK\r\n\r\n"),
           std::string("garbage garbage\r\n\r\n"),
           std::string("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\n\r\n"),
           ok + "Transfer-Encoding: chunked\r\n\r\nzz\r\n",
           // Cut short.
           ok + "Content-Length: 5\r\n\r\nabc",
           ok + "Transfer-Encoding: chunked\r\n\r\n5\r\nabc",
           ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
           ok + "X: y\r\n",
       }) {
    const Result<Fetched> answer = answered_by(bad);
    ASSERT_FALSE(answer) << bad;
    EXPECT_EQ(answer.error().code, ErrorCode::kUpstream) << bad;
    EXPECT_THAT(answer.error().message, StartsWith("bad answer from 127.0.0.1:"));
  }
  EXPECT_EQ(open_connections(), 0);
}

TEST_F(ClientTest, BoundsInterimAnswersAndHeads) {
  start();
  std::string flood;
  for (int i = 0; i < 40; ++i) flood += "HTTP/1.1 103 Early Hints\r\n\r\n";
  EXPECT_FALSE(answered_by(flood));
  EXPECT_FALSE(answered_by("HTTP/1.1 200 OK\r\nX: " + std::string(100'000, 'a')));
}

TEST_F(ClientTest, SkipsInterimAnswers) {
  start();
  const Result<Fetched> answer = answered_by(
      "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->status, 200u);
  EXPECT_EQ(answer->body, "ok");
}

TEST_F(ClientTest, ReadsUntilTheEndWhereNothingElseFramesTheBody) {
  start();
  const Result<Fetched> answer = answered_by("HTTP/1.0 200 OK\r\n\r\nall of it");
  ASSERT_TRUE(answer);
  EXPECT_EQ(answer->body, "all of it");
}

TEST_F(ClientTest, DropsAConnectionWithBytesNobodyAskedFor) {
  start();
  for (const std::string_view bytes :
       {"HTTP/1.1 204 No Content\r\n\r\nbody", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP",
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"}) {
    RawServer pod;
    auto result = begin_get(pod.port());
    RawPeer peer = pod.accept();
    peer.read_until("\r\n\r\n");
    peer.send(bytes);
    EXPECT_TRUE(result.get());
    EXPECT_EQ(peer.read_to_end(), "");  // the client closed
  }
}

TEST_F(ClientTest, GivesUpWaitingForTheHead) {
  RawServer pod;
  ClientLimits limits;
  limits.header_time = 50ms;
  start(limits);
  auto result = begin_get(pod.port());
  RawPeer peer = pod.accept();
  const Result<Fetched> answer = result.get();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kTimeout);
  EXPECT_EQ(open_connections(), 0);
}

TEST_F(ClientTest, GivesUpWaitingForTheNextPiece) {
  RawServer pod;
  ClientLimits limits;
  limits.idle_time = 50ms;
  start(limits);
  auto result = begin_get(pod.port());
  RawPeer peer = pod.accept();
  peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
  const Result<Fetched> answer = result.get();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kTimeout);
}

TEST_F(ClientTest, GivesUpConnecting) {
  // The backlog is full: the kernel answers no further connection.
  asio::io_context io;
  asio::ip::tcp::acceptor acceptor(io);
  acceptor.open(asio::ip::tcp::v4());
  acceptor.bind({asio::ip::address_v4::loopback(), 0});
  acceptor.listen(0);
  const std::uint16_t port = acceptor.local_endpoint().port();
  RawClient filler(port);
  ClientLimits limits;
  limits.connect_time = 50ms;
  start(limits);
  const Result<Fetched> answer = begin_get(port).get();
  ASSERT_FALSE(answer);
  EXPECT_EQ(answer.error().code, ErrorCode::kUnavailable);
  EXPECT_TRUE(answer.error().message.ends_with(": timed out")) << answer.error().message;
}

TEST_F(ClientTest, ClosesAnExchangeThatIsDestroyedUnfinished) {
  RawServer pod;
  start();
  auto result = asio::co_spawn(io_, send_and_drop(*client_, pod.port()), asio::use_future);
  RawPeer peer = pod.accept();
  peer.read_until("\r\n\r\n");
  peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab");
  EXPECT_EQ(result.get(), 200u);
  EXPECT_EQ(peer.read_to_end(), "");
  EXPECT_EQ(open_connections(), 0);
}

TEST_F(ClientTest, TakesAnAnswerThatComesBeforeTheWholeRequestWasSent) {
  RawServer pod;
  start();
  auto result = begin(pod.port(), {"POST", "/", {}, std::string(64 << 20, 'x')});
  RawPeer peer = pod.accept();
  peer.read_until("\r\n\r\n");
  peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno");
  const Result<Fetched> answer = result.get();
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->status, 413u);
  EXPECT_EQ(answer->body, "no");
  EXPECT_EQ(open_connections(), 0);
}

class ClientCancelTest : public ClientTest {
 protected:
  std::future<ErrorCode> begin_cancellable(std::uint16_t port, std::string body = "") {
    auto done = std::make_shared<std::promise<ErrorCode>>();
    std::future<ErrorCode> code = done->get_future();
    asio::co_spawn(io_, fetch(*client_, "127.0.0.1", port, {"POST", "/", {}, std::move(body)}),
                   asio::bind_cancellation_slot(
                       signal_.slot(), [done](std::exception_ptr failure, Result<Fetched> result) {
                         if (failure) {
                           done->set_exception(failure);
                         } else {
                           done->set_value(result ? ErrorCode::kInternal : result.error().code);
                         }
                       }));
    return code;
  }
  void cancel() {
    asio::post(io_, [this] { signal_.emit(asio::cancellation_type::terminal); });
  }
  asio::cancellation_signal signal_;
};

TEST_F(ClientCancelTest, WhileWaitingForTheHead) {
  RawServer pod;
  start();
  auto code = begin_cancellable(pod.port());
  RawPeer peer = pod.accept();
  peer.read_until("\r\n\r\n");
  cancel();
  EXPECT_EQ(code.get(), ErrorCode::kCancelled);
  EXPECT_EQ(peer.read_to_end(), "");
  EXPECT_EQ(open_connections(), 0);
}

TEST_F(ClientCancelTest, WhileReadingTheBody) {
  RawServer pod;
  start();
  auto code = begin_cancellable(pod.port());
  RawPeer peer = pod.accept();
  peer.read_until("\r\n\r\n");
  peer.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab");
  cancel();
  EXPECT_EQ(code.get(), ErrorCode::kCancelled);
  EXPECT_EQ(peer.read_to_end(), "");
}

TEST_F(ClientCancelTest, WhileSending) {
  RawServer pod;
  start();
  auto code = begin_cancellable(pod.port(), std::string(64 << 20, 'x'));
  RawPeer peer = pod.accept();
  peer.read_until("\r\n\r\n");
  cancel();
  EXPECT_EQ(code.get(), ErrorCode::kCancelled);
  EXPECT_EQ(open_connections(), 0);
}

Task<void> send_and_wait(Client& client, std::uint16_t port) {
  (void)co_await client.send("127.0.0.1", port, {"GET", "/", {}, ""});
}

// Everything that is suspended is destroyed with its io_context.
TEST(ClientLifetimeTest, LeavesNothingBehindWithItsIoContext) {
  RawServer pod;
  auto io = std::make_unique<asio::io_context>(1);
  std::unique_ptr<Client> client = Client::create(*io, {});
  asio::co_spawn(*io, send_and_wait(*client, pod.port()), [](const std::exception_ptr&) {});
  while (client->open_connections() == 0) io->run_one();
  RawPeer peer = pod.accept();
  io->poll();
  client.reset();
  io.reset();
}

}  // namespace
}  // namespace baton::adapters::http
