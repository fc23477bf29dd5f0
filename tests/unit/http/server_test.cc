#include "adapters/http/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/unit/http/test_server.h"

namespace baton::adapters::http {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

Task<void> echo(Exchange& exchange) {
  const Request& request = exchange.request();
  std::string body = request.method + " " + request.target + " " + request.body;
  (void)co_await exchange.send(200, {{"content-type", "text/plain"}}, std::move(body));
}

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

}  // namespace
}  // namespace baton::adapters::http
