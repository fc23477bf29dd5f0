#include "adapters/engines/llama_cpp/pod_inbox.h"

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace baton::adapters {
namespace {

namespace asio = boost::asio;

EngineToken token(std::string piece) {
  EngineToken out;
  out.piece = std::move(piece);
  return out;
}

// Takes batches until the inbox has said how it ended, or `batches` of them.
http::Task<void> read(std::shared_ptr<AnswerInbox> inbox, int batches,
                      std::vector<std::vector<AnswerEvent>>& out) {
  while (batches-- > 0) {
    out.push_back(co_await inbox->next());
    if (!out.back().empty() && !std::holds_alternative<TokenEvent>(out.back().back())) co_return;
  }
}

class AnswerInboxTest : public ::testing::Test {
 protected:
  void start_reading(int batches) {
    asio::co_spawn(io_, read(inbox_, batches, batches_),
                   [](const std::exception_ptr& failure) { EXPECT_EQ(failure, nullptr); });
  }
  asio::io_context io_;
  std::shared_ptr<AnswerInbox> inbox_ = std::make_shared<AnswerInbox>(io_.get_executor());
  std::vector<std::vector<AnswerEvent>> batches_;
};

TEST_F(AnswerInboxTest, WhatCameTogetherIsTakenTogether) {
  for (int i = 0; i < 5; ++i) inbox_->on_token(token("x"));
  inbox_->on_finish(FinishReason::kStop, {}, {});
  start_reading(10);
  io_.run();
  ASSERT_EQ(batches_.size(), 1U);
  EXPECT_EQ(batches_[0].size(), 6U);
}

TEST_F(AnswerInboxTest, EveryEventComesOnceAndInOrder) {
  constexpr int kTokens = 500;  // within the bound, however late the reader is
  start_reading(1 << 20);
  std::thread engine([this] {
    for (int i = 0; i < kTokens; ++i) inbox_->on_token(token(std::to_string(i)));
    inbox_->on_finish(FinishReason::kLength, {}, {});
  });
  io_.run();  // until the reader has seen the end
  engine.join();
  int expected = 0;
  for (const auto& batch : batches_) {
    for (const AnswerEvent& event : batch) {
      if (const auto* made = std::get_if<TokenEvent>(&event)) {
        EXPECT_EQ(made->token.piece, std::to_string(expected++));
      }
    }
  }
  EXPECT_EQ(expected, kTokens);
  EXPECT_TRUE(std::holds_alternative<FinishEvent>(batches_.back().back()));
}

TEST_F(AnswerInboxTest, AReaderThatFallsBehindLosesTheRequest) {
  int told = 0;
  inbox_->on_overrun([&] { ++told; });
  for (int i = 0; i < 1000; ++i) inbox_->on_token(token(std::string(1024, 'x')));
  inbox_->on_finish(FinishReason::kStop, {}, {});
  EXPECT_TRUE(inbox_->overrun());
  start_reading(1);
  io_.run();
  EXPECT_EQ(told, 1);
  ASSERT_EQ(batches_.size(), 1U);
  EXPECT_TRUE(batches_[0].empty());
}

TEST_F(AnswerInboxTest, WakingEndsTheWait) {
  start_reading(1);
  io_.poll();
  EXPECT_TRUE(batches_.empty());
  inbox_->wake();
  io_.restart();
  io_.run();
  ASSERT_EQ(batches_.size(), 1U);
  EXPECT_TRUE(batches_[0].empty());
}

}  // namespace
}  // namespace baton::adapters
