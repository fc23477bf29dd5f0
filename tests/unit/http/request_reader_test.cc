#include "adapters/http/request_reader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

namespace baton::adapters::http {
namespace {

constexpr std::int64_t kBodyLimit = 64;

ServerLimits small_limits() {
  ServerLimits limits;
  limits.body = Bytes(kBodyLimit);
  limits.header = Bytes(8192);
  return limits;
}

// Feeds `pieces` as a connection would, and writes down what came out: requests, and the refusal
// that ended it.
std::string outcome(const std::vector<std::string_view>& pieces) {
  RequestReader reader(small_limits());
  std::string unread;
  std::string seen;
  for (const std::string_view piece : pieces) {
    unread += piece;
    for (;;) {
      unread.erase(0, reader.take(unread));
      if (reader.state() == RequestReader::State::kComplete) {
        const Request& request = reader.request();
        seen += request.method + " " + request.target + " [" + request.body + "] ";
      } else if (reader.state() == RequestReader::State::kRefused) {
        const Refusal& refusal = reader.refusal();
        seen += std::to_string(refusal.status) + " " + std::string(name_of(refusal.reason)) +
                (refusal.close ? " close" : " ");
        if (refusal.close) return seen;
      } else {
        break;
      }
      reader.reset();
    }
  }
  return seen + (reader.state() == RequestReader::State::kBody ? "unfinished" : "");
}

struct Case {
  std::string_view name;
  std::string bytes;
  std::string expected;
};

std::string repeat(std::string_view text, int times) {
  std::string all;
  for (int i = 0; i < times; ++i) all += text;
  return all;
}

std::string with_fields(const std::string& fields, std::string_view rest = "") {
  return "POST /p HTTP/1.1\r\nHost: h\r\n" + fields + "\r\n" + std::string(rest);
}

std::string with_line(const std::string& line) { return line + "\r\nHost: h\r\n\r\n"; }

std::vector<Case> all_cases() {
  using std::string_literals::operator""s;
  const std::string smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
  const std::string chunked = "Transfer-Encoding: chunked\r\n";
  std::vector<Case> cases = {
      // What is let through.
      {"get", with_line("GET /a?b=%20c HTTP/1.1"), "GET /a?b=%20c [] "},
      {"get 1.0 without host", "GET / HTTP/1.0\r\n\r\n", "GET / [] "},
      {"length", with_fields("Content-Length: 5\r\n", "hello"), "POST /p [hello] "},
      {"length zero", with_fields("Content-Length: 0\r\n", smuggled),
       "POST /p [] GET /smuggled [] "},
      {"chunked", with_fields(chunked, "3\r\nabc\r\n0002\r\nde\r\n0\r\n\r\n" + smuggled),
       "POST /p [abcde] GET /smuggled [] "},
      {"chunked in capitals",
       with_fields("transfer-encoding: CHUNKED\r\n", "A\r\n0123456789\r\n0\r\n\r\n"),
       "POST /p [0123456789] "},
      {"chunk extension", with_fields(chunked, "3;a=\"b;c\" ;d\r\nabc\r\n0;e\r\n\r\n"),
       "POST /p [abc] "},
      {"trailers dropped", with_fields(chunked, "1\r\na\r\n0\r\nAuthorization: x\r\nB: y\r\n\r\n"),
       "POST /p [a] "},
      {"expect", with_fields("Expect: 100-continue\r\nContent-Length: 1\r\n", "a"), "POST /p [a] "},
      {"get with body", "GET / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab", "GET / [ab] "},
      {"upgrade ignored", with_fields("Upgrade: h2c\r\nConnection: upgrade, http2-settings\r\n"),
       "POST /p [] "},
      {"empty line before", "\r\n" + with_line("GET / HTTP/1.1"), "GET / [] "},
      {"two empty lines before", "\r\n\r\n" + with_line("GET / HTTP/1.1"), "400 bad_line close"},
      {"host forms", "GET / HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n", "GET / [] "},
      {"host with port", "GET / HTTP/1.1\r\nHost: a-b.example:80\r\n\r\n", "GET / [] "},
      {"latin-1 in a value", with_fields("X: \xe9\r\n"), "POST /p [] "},
      {"empty value", with_fields("X:\r\nY: \t \r\n"), "POST /p [] "},
      {"100 fields", with_fields(repeat("a: b\r\n", 99)), "POST /p [] "},

      // Both framings, or one of them in two readings.
      {"te chunked + cl", with_fields(chunked + "Content-Length: 5\r\n", "0\r\n\r\n" + smuggled),
       "400 length_and_encoding close"},
      {"cl + te chunked", with_fields("Content-Length: 5\r\n" + chunked, "0\r\n\r\n"),
       "400 length_and_encoding close"},
      {"te gzip + cl", with_fields("Transfer-Encoding: gzip\r\nContent-Length: 5\r\n", "hello"),
       "400 length_and_encoding close"},
      {"te xchunked", with_fields("Transfer-Encoding: xchunked\r\n", smuggled),
       "501 bad_transfer_encoding close"},
      {"te chunked, identity", with_fields("Transfer-Encoding: chunked, identity\r\n", smuggled),
       "501 bad_transfer_encoding close"},
      {"te chunked, chunked", with_fields("Transfer-Encoding: chunked, chunked\r\n", smuggled),
       "501 bad_transfer_encoding close"},
      {"te gzip, chunked", with_fields("Transfer-Encoding: gzip, chunked\r\n", smuggled),
       "501 bad_transfer_encoding close"},
      {"te twice", with_fields(chunked + chunked, smuggled), "501 bad_transfer_encoding close"},
      {"te empty", with_fields("Transfer-Encoding:\r\n", smuggled),
       "501 bad_transfer_encoding close"},
      {"te with parameter", with_fields("Transfer-Encoding: chunked;x=y\r\n", smuggled),
       "501 bad_transfer_encoding close"},
      {"te with vertical tab",
       with_fields("Transfer-Encoding: \x0b"
                   "chunked\r\n",
                   smuggled),
       "400 bad_field close"},
      {"te with 1.0", "POST / HTTP/1.0\r\nHost: h\r\n" + chunked + "\r\n0\r\n\r\n",
       "400 bad_transfer_encoding close"},
      {"cl twice, equal", with_fields("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
       "400 bad_length close"},
      {"cl twice, different", with_fields("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"),
       "400 bad_length close"},
      {"cl list", with_fields("Content-Length: 5, 5\r\n", "hello"), "400 bad_length close"},
      {"cl zero-padded", with_fields("Content-Length: 005\r\n", "hello"), "400 bad_length close"},
      {"cl plus", with_fields("Content-Length: +5\r\n", "hello"), "400 bad_length close"},
      {"cl minus", with_fields("Content-Length: -1\r\n"), "400 bad_length close"},
      {"cl hex", with_fields("Content-Length: 0x5\r\n", "hello"), "400 bad_length close"},
      {"cl empty", with_fields("Content-Length: \r\n"), "400 bad_length close"},
      {"cl overflow", with_fields("Content-Length: 18446744073709551617\r\n", "a"),
       "400 bad_length close"},
      {"cl with inner blank", with_fields("Content-Length: 1 1\r\n", "a"), "400 bad_length close"},

      // Field syntax.
      {"obs-fold", with_fields("X: a\r\n b\r\n"), "400 folded_field close"},
      {"obs-fold with tab", with_fields("X: a\r\n\tb\r\n"), "400 folded_field close"},
      {"fold before the first field", "GET / HTTP/1.1\r\n Host: h\r\n\r\n",
       "400 folded_field close"},
      {"blank before colon", with_fields("Content-Length : 5\r\n", "hello"), "400 bad_field close"},
      {"no colon", with_fields("Hello\r\n"), "400 bad_field close"},
      {"empty name", with_fields(": x\r\n"), "400 bad_field close"},
      {"bracket in name", with_fields("X[]: y\r\n"), "400 bad_field close"},
      {"non-ascii name", with_fields("X\xc3\xa9: y\r\n"), "400 bad_field close"},
      {"nul in value", with_fields("X: a\0b\r\n"s), "400 bad_field close"},
      {"bare cr in value", with_fields("X: a\rY: b\r\n"), "400 bad_field close"},
      {"delete in value", with_fields("X: a\x7f\r\n"), "400 bad_field close"},
      {"bare lf", "GET / HTTP/1.1\nHost: h\n\n", "400 bad_line close"},
      {"bare lf after a field", "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", "400 bad_line close"},
      {"lf alone as the empty line", "GET / HTTP/1.1\r\nHost: h\r\n\n", "400 bad_line close"},
      {"101 fields", with_fields(repeat("a: b\r\n", 100)), "431 too_many_fields close"},
      {"900 fields", with_fields(repeat("a: b\r\n", 900)), "431 too_many_fields close"},
      {"large head", with_fields("X: " + std::string(9000, 'a') + "\r\n"),
       "431 head_too_large close"},
      {"endless head", "GET /" + std::string(9000, 'a'), "431 head_too_large close"},

      // Host and target.
      {"no host", "GET / HTTP/1.1\r\n\r\n", "400 bad_host close"},
      {"two hosts", "GET / HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", "400 bad_host close"},
      {"host with blank", "GET / HTTP/1.1\r\nHost: a b/c\r\n\r\n", "400 bad_host close"},
      {"host with slash", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400 bad_host close"},
      {"host with user", "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n", "400 bad_host close"},
      {"host empty", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "400 bad_host close"},
      {"host with bad port", "GET / HTTP/1.1\r\nHost: h:8x\r\n\r\n", "400 bad_host close"},
      {"host with open bracket", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "400 bad_host close"},
      {"target without slash", with_line("GET ! HTTP/1.1"), "400 bad_target close"},
      {"target non-ascii", with_line("GET /\xc3\xa9 HTTP/1.1"), "400 bad_target close"},
      {"target with fragment", with_line("GET /a#b HTTP/1.1"), "400 bad_target close"},
      {"target with bad escape", with_line("GET /a%2 HTTP/1.1"), "400 bad_target close"},
      {"target with blank", with_line("GET /a b HTTP/1.1"), "400 bad_target close"},
      {"target with backslash", with_line("GET /a\\b HTTP/1.1"), "400 bad_target close"},
      {"absolute-form", with_line("GET http://h/ HTTP/1.1"), "400 bad_target close"},
      {"asterisk-form", with_line("OPTIONS * HTTP/1.1"), "400 bad_target close"},
      {"connect", with_line("CONNECT h:443 HTTP/1.1"), "405 bad_method close"},

      // Request line.
      {"bad method", with_line("G@T / HTTP/1.1"), "400 bad_line close"},
      {"no version", with_line("GET /"), "400 bad_line close"},
      {"two blanks", with_line("GET  / HTTP/1.1"), "400 bad_target close"},
      {"blank at the end", with_line("GET / HTTP/1.1 "), "400 bad_line close"},
      {"blank before", " " + with_line("GET / HTTP/1.1"), "400 bad_line close"},
      {"tab", with_line("GET\t/\tHTTP/1.1"), "400 bad_line close"},
      {"lower-case version", with_line("GET / http/1.1"), "400 bad_line close"},
      {"version 1.2", with_line("GET / HTTP/1.2"), "505 bad_version close"},
      {"version 2.0", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "505 bad_version close"},
      {"version 0.9", with_line("GET / HTTP/0.9"), "505 bad_version close"},
      {"version 1.10", with_line("GET / HTTP/1.10"), "400 bad_line close"},
      {"expectation", with_fields("Expect: 200-ok\r\n"), "417 bad_expectation close"},

      // Chunks.
      {"chunk size 17 digits", with_fields(chunked, "00000000000000001\r\na\r\n0\r\n\r\n"),
       "400 bad_chunk close"},
      {"chunk size 16 digits", with_fields(chunked, "0000000000000001\r\na\r\n0\r\n\r\n"),
       "POST /p [a] "},
      {"chunk size huge", with_fields(chunked, "ffffffffffffffff\r\n" + std::string(100, 'a')),
       "unfinished"},
      {"chunk size 0x", with_fields(chunked, "0x1\r\na\r\n0\r\n\r\n"), "400 bad_chunk close"},
      {"chunk size plus", with_fields(chunked, "+1\r\na\r\n0\r\n\r\n"), "400 bad_chunk close"},
      {"chunk size empty", with_fields(chunked, "\r\na\r\n0\r\n\r\n"), "400 bad_chunk close"},
      {"chunk size blank", with_fields(chunked, "1 \r\na\r\n0\r\n\r\n"), "400 bad_chunk close"},
      {"chunk size lf", with_fields(chunked, "1\na\n0\n\n"), "400 bad_chunk close"},
      {"chunk data too long", with_fields(chunked, "1\r\nab\r\n0\r\n\r\n"), "400 bad_chunk close"},
      {"chunk extension lf", with_fields(chunked, "1;a\nb\r\na\r\n0\r\n\r\n"),
       "400 bad_chunk close"},
      {"chunk extensions too long",
       with_fields(chunked, "1;" + std::string(9000, 'x') + "\r\na\r\n0\r\n\r\n"),
       "400 bad_chunk close"},
      {"chunk extensions too long in sum",
       with_fields(chunked, repeat("1;" + std::string(1000, 'x') + "\r\na\r\n", 9) + "0\r\n\r\n"),
       "400 bad_chunk close"},
      {"trailers too long", with_fields(chunked, "0\r\nX: " + std::string(9000, 'x') + "\r\n\r\n"),
       "400 bad_chunk close"},
      {"trailer folded", with_fields(chunked, "0\r\n x\r\n\r\n"), "400 bad_chunk close"},
      {"end without lf", with_fields(chunked, "0\r\n\rX"), "400 bad_chunk close"},

      // Bodies over the limit (64 bytes here).
      {"length over the limit, drained",
       with_fields("Content-Length: 65\r\n", std::string(65, 'a') + smuggled),
       "413 body_too_large GET /smuggled [] "},
      {"length far over the limit", with_fields("Content-Length: 99999999999\r\n", "abc"),
       "413 body_too_large close"},
      {"length over the limit with expect",
       with_fields("Expect: 100-continue\r\nContent-Length: 65\r\n", "abc"),
       "413 body_too_large close"},
      {"chunked over the limit, drained",
       with_fields(chunked, repeat("10\r\n0123456789abcdef\r\n", 5) + "0\r\n\r\n" + smuggled),
       "413 body_too_large GET /smuggled [] "},
      {"bad chunk over the limit", with_fields(chunked, "50\r\n" + std::string(80, 'a') + "xx"),
       "400 bad_chunk close"},
      {"at the limit", with_fields("Content-Length: 64\r\n", std::string(64, 'a')),
       "POST /p [" + std::string(64, 'a') + "] "},
  };
  return cases;
}

TEST(RequestReaderTest, DecidesEveryPayload) {
  for (const Case& c : all_cases()) EXPECT_EQ(outcome({c.bytes}), c.expected) << c.name;
}

TEST(RequestReaderTest, DecidesTheSameHoweverBytesAreSplit) {
  for (const Case& c : all_cases()) {
    const std::string_view bytes = c.bytes;
    for (std::size_t at = 1; at < bytes.size(); ++at) {
      ASSERT_EQ(outcome({bytes.substr(0, at), bytes.substr(at)}), c.expected)
          << c.name << " split at " << at;
    }
  }
}

TEST(RequestReaderTest, DecidesTheSameByteByByte) {
  for (const Case& c : all_cases()) {
    std::vector<std::string_view> bytes;
    for (std::size_t at = 0; at < c.bytes.size(); ++at) {
      bytes.push_back(std::string_view(c.bytes).substr(at, 1));
    }
    EXPECT_EQ(outcome(bytes), c.expected) << c.name;
  }
}

TEST(RequestReaderTest, ClosesWhenTooMuchWouldHaveToBeDrained) {
  RequestReader reader(small_limits());
  reader.take(with_fields("Transfer-Encoding: chunked\r\n", "fffffff\r\n"));
  const std::string block(1 << 16, 'a');
  std::int64_t sent = 0;
  while (reader.state() == RequestReader::State::kBody) {
    sent += static_cast<std::int64_t>(reader.take(block));
    ASSERT_TRUE(reader.request().body.size() <= static_cast<std::size_t>(kBodyLimit));
  }
  EXPECT_EQ(reader.refusal().status, 413u);
  EXPECT_TRUE(reader.refusal().close);
  EXPECT_LE(sent, kBodyLimit + RequestReader::kDrained + (1 << 16));
}

TEST(RequestReaderTest, ReceivesLongBodiesInPlace) {
  ServerLimits limits;
  RequestReader reader(limits);
  std::string body(3'000'000, '\0');
  for (std::size_t i = 0; i < body.size(); ++i) body[i] = static_cast<char>('a' + i % 23);
  reader.take("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(body.size()) +
              "\r\n\r\n");
  std::size_t at = 0;
  bool buffered = true;
  while (reader.state() == RequestReader::State::kBody) {
    const std::size_t step = 1 + at % 70'001;
    if (buffered) {
      at += reader.take(std::string_view(body).substr(at, step));
    } else {
      const std::span<char> space = reader.body_space();
      ASSERT_FALSE(space.empty());
      const std::size_t size = std::min(step, space.size());
      std::ranges::copy_n(body.data() + at, static_cast<std::ptrdiff_t>(size), space.data());
      reader.body_received(size);
      at += size;
    }
    buffered = !buffered;
  }
  EXPECT_EQ(reader.request().body, body);
}

TEST(RequestReaderTest, DoesNotBelieveADeclaredLength) {
  ServerLimits limits;
  RequestReader reader(limits);
  reader.take("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10000000\r\n\r\n");
  EXPECT_LE(reader.body_space().size(), 256u << 10);
}

TEST(RequestReaderTest, KeepsNoLargeBodyBetweenRequests) {
  ServerLimits limits;
  RequestReader reader(limits);
  reader.take("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
  reader.take(std::string(1'000'000, 'a'));
  ASSERT_EQ(reader.state(), RequestReader::State::kComplete);
  reader.reset();
  EXPECT_LE(reader.request().body.capacity(), 4096u);
}

TEST(RequestReaderTest, LowersFieldNamesAndTrimsValues) {
  RequestReader reader(small_limits());
  reader.take("GET /x?y=z HTTP/1.1\r\nHost: h\r\nX-Request-ID: \t a b \t\r\n\r\n");
  EXPECT_EQ(reader.request().field("x-request-id"), "a b");
  EXPECT_EQ(reader.request().path(), "/x");
  EXPECT_EQ(reader.request().field("absent"), "");
}

TEST(RequestReaderTest, KnowsWhetherTheConnectionStays) {
  const auto keeps = [](std::string_view version, const std::string& fields) {
    RequestReader reader(small_limits());
    reader.take("GET / HTTP/" + std::string(version) + "\r\nHost: h\r\n" + fields + "\r\n");
    return reader.head().keep_alive;
  };
  EXPECT_TRUE(keeps("1.1", ""));
  EXPECT_FALSE(keeps("1.1", "Connection: close\r\n"));
  EXPECT_FALSE(keeps("1.1", "Connection: te, Close\r\n"));
  EXPECT_FALSE(keeps("1.1", "Connection: close\r\nConnection: keep-alive\r\n"));
  EXPECT_FALSE(keeps("1.0", ""));
  EXPECT_TRUE(keeps("1.0", "Connection: Keep-Alive\r\n"));
}

TEST(RequestReaderTest, ShapesRefusalsAsOpenAiDoes) {
  const Refusal refusal{RefusalReason::kBadHost, 400, "No host."};
  EXPECT_EQ(refusal_body(refusal),
            R"({"error":{"message":"No host.","type":"invalid_request_error","param":null,)"
            R"("code":"bad_host"}})");
}

}  // namespace
}  // namespace baton::adapters::http
