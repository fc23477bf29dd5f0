#include "adapters/engines/engine_tokenizer.h"

#include <gtest/gtest.h>

#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>
#include <utility>

#include "adapters/http/server.h"
#include "core/caching_tokenizer.h"

namespace baton::adapters {
namespace {

// An engine that counts a prompt's bytes as its ids, on the caller's own io_context.
class ByteEngine {
 public:
  explicit ByteEngine(boost::asio::io_context& io) {
    auto server = http::Server::listen(io, "127.0.0.1", 0, {}, [this](http::Exchange& exchange) {
      return answer(this, exchange);
    });
    if (!server) throw std::runtime_error(server.error().message);
    server_ = std::move(*server);
  }
  [[nodiscard]] EngineAddress address() const { return {"127.0.0.1", server_->port()}; }

  int asked = 0;
  unsigned status = 200;
  std::string last_body;

 private:
  static http::Task<void> answer(ByteEngine* self, http::Exchange& exchange) {
    ++self->asked;
    self->last_body = exchange.request().body;
    http::Fields fields{{"content-type", "application/json"}};
    std::string body = R"({"count":2,"max_model_len":99,"tokens":[104,105]})";
    (void)co_await exchange.send(self->status, std::move(fields), std::move(body));
  }
  std::unique_ptr<http::Server> server_;
};

using Ids = Result<std::vector<TokenId>>;

Ids encode(boost::asio::io_context& io, Tokenizer& tokenizer, std::string_view text) {
  std::optional<Ids> ids;
  tokenizer.encode(text, true, true, [&](Ids result) { ids = std::move(result); });
  while (!ids) io.run_one();
  return *ids;
}

TEST(EngineTokenizer, AsksTheEngineAndReadsItsIds) {
  boost::asio::io_context io(1);
  ByteEngine engine(io);
  EngineTokenizer tokenizer(io, "m", [&] { return engine.address(); });
  const Ids ids = encode(io, tokenizer, "h\"i");
  ASSERT_TRUE(ids.has_value()) << ids.error().message;
  EXPECT_EQ(*ids, (std::vector<TokenId>{104, 105}));
  EXPECT_EQ(engine.last_body, R"({"model":"m","prompt":"h\"i","add_special_tokens":true})");
}

TEST(EngineTokenizer, BehindTheCacheIsAskedOnceForAText) {
  boost::asio::io_context io(1);
  ByteEngine engine(io);
  CachingTokenizer tokenizer(
      std::make_shared<EngineTokenizer>(io, "m", [&] { return engine.address(); }), Bytes(1 << 20));
  EXPECT_FALSE(tokenizer.is_local());
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(encode(io, tokenizer, "hi").has_value());
  EXPECT_EQ(engine.asked, 1);
  EXPECT_EQ(tokenizer.hits(), 2U);
}

TEST(EngineTokenizer, AFailureIsPassedOnAndNotRemembered) {
  boost::asio::io_context io(1);
  ByteEngine engine(io);
  CachingTokenizer tokenizer(
      std::make_shared<EngineTokenizer>(io, "m", [&] { return engine.address(); }), Bytes(1 << 20));
  engine.status = 500;
  const Ids failed = encode(io, tokenizer, "hi");
  ASSERT_FALSE(failed.has_value());
  EXPECT_EQ(failed.error().code, ErrorCode::kUpstream);
  EXPECT_TRUE(failed.error().retryable);
  engine.status = 200;
  EXPECT_TRUE(encode(io, tokenizer, "hi").has_value());
}

TEST(EngineTokenizer, WithoutAPodIsUnavailable) {
  boost::asio::io_context io(1);
  EngineTokenizer tokenizer(io, "m", [] { return std::nullopt; });
  const Ids ids = encode(io, tokenizer, "hi");
  ASSERT_FALSE(ids.has_value());
  EXPECT_EQ(ids.error().code, ErrorCode::kUnavailable);
}

TEST(EngineTokenizer, RefusesAnswersThatAreNoIds) {
  for (const char* body :
       {"", "[]", "{}", R"({"tokens":3})", R"({"tokens":["a"]})", R"({"tokens":[-1]})",
        R"({"tokens":[4294967296]})", R"({"tokens":[1.5]})"}) {
    const Ids ids = read_tokenize_answer(body);
    ASSERT_FALSE(ids.has_value()) << body;
    EXPECT_EQ(ids.error().code, ErrorCode::kUpstream);
  }
}

}  // namespace
}  // namespace baton::adapters
