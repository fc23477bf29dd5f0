// Either end of the tcp transport before a peer that breaks its protocol.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "kv_transfer/address.h"
#include "kv_transfer/arena.h"
#include "kv_transfer/loop.h"
#include "kv_transfer/one_time_tokens.h"
#include "kv_transfer/tcp_link.h"
#include "kv_transfer/tcp_transport.h"
#include "kv_transfer/wire.h"
#include "tests/unit/kv_transfer/node_fixture.h"

namespace baton::kv {
namespace {

using boost::asio::ip::tcp;
using boost::system::error_code;
using std::chrono::seconds;
using testing::HasSubstr;
using Bytes8 = std::vector<std::byte>;

template <class T>
void add(Bytes8& out, const T& value) {
  const auto* begin = reinterpret_cast<const std::byte*>(&value);
  out.insert(out.end(), begin, begin + sizeof(value));
}

class TcpTest : public testing::Test {
 protected:
  template <class Condition>
  bool run_until(Condition condition) {
    const auto until = Clock::now() + seconds(10);
    while (!condition() && Clock::now() < until) loop_->run_one_for(std::chrono::milliseconds(20));
    return condition();
  }
  Loop loop_ = std::make_shared<boost::asio::io_context>(1);
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      loop_->get_executor()};
  std::mt19937_64 rng_{3};
};

// A link to an owner that is played: what it answers to the first fetch is the test's.
class TcpLinkTest : public TcpTest {
 protected:
  void connect() {
    acceptor_.async_accept(socket_, [this](error_code error) {
      ASSERT_FALSE(error);
      boost::asio::async_read(socket_, boost::asio::buffer(token_), [this](error_code, auto) {
        Bytes8 welcome;
        add(welcome, wire::PieceHeader{.status = wire::PieceStatus::kWelcome});
        send(welcome);
      });
    });
    const std::string address = "127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port());
    bool connected = false;
    link_->begin({"tcp", address, std::string(OneTimeTokens::kBytes, 't')}, 1,
                 Clock::now() + seconds(5), [&](auto result) { connected = result.has_value(); });
    ASSERT_TRUE(run_until([&] { return connected; }));
    EXPECT_EQ(std::string(token_.data(), token_.size()), std::string(OneTimeTokens::kBytes, 't'));
  }
  void send(const Bytes8& bytes) {
    error_code ignored;
    boost::asio::write(socket_, boost::asio::buffer(bytes), ignored);
  }
  // Asks for blocks of these sizes and notes how each ends.
  void fetch(const std::vector<std::size_t>& sizes) {
    std::vector<BlockRead> reads;
    for (const std::size_t size : sizes) {
      into_.emplace_back(size);
      reads.push_back({.index = static_cast<std::uint32_t>(into_.size() - 1),
                       .remote = {.slot = {7, 1}, .bytes = static_cast<std::uint32_t>(size)},
                       .into = into_.back()});
    }
    ends_.resize(into_.size());
    link_->fetch({.transfer = {1, 2}}, reads, [this](std::uint32_t index, Result<void> result) {
      EXPECT_FALSE(ends_.at(index)) << "reported twice";
      ends_[index] = std::move(result);
    });
  }
  bool all_ended() {
    return run_until([this] {
      return std::ranges::all_of(ends_, [](const auto& end) { return end.has_value(); });
    });
  }
  // A piece as the link wants it; `tag` counts from 1.
  static wire::PieceHeader piece(std::uint64_t tag, std::uint32_t bytes) {
    return {
        .tag = tag, .generation = 1, .index = static_cast<std::uint32_t>(tag - 1), .bytes = bytes};
  }

  tcp::acceptor acceptor_{*loop_, tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0)};
  tcp::socket socket_{*loop_};
  std::array<char, OneTimeTokens::kBytes> token_{};
  std::shared_ptr<TcpLink> link_ = std::make_shared<TcpLink>(loop_);
  std::vector<Bytes8> into_;
  std::vector<std::optional<Result<void>>> ends_;
};

TEST_F(TcpLinkTest, PiecesThatComeByteByByte) {
  connect();
  fetch({5, 3});
  Bytes8 all;
  add(all, piece(1, 5));
  for (const char byte : {'a', 'b', 'c', 'd', 'e'}) add(all, byte);
  add(all, piece(2, 3));
  for (const char byte : {'x', 'y', 'z'}) add(all, byte);
  for (const std::byte byte : all) {
    send({byte});
    loop_->poll();
  }
  ASSERT_TRUE(all_ended());
  EXPECT_EQ(std::memcmp(into_[0].data(), "abcde", 5), 0);
  EXPECT_EQ(std::memcmp(into_[1].data(), "xyz", 3), 0);
}

TEST_F(TcpLinkTest, WhatIsNoAnswerEndsTheLink) {
  const auto other = [](auto change) {
    wire::PieceHeader header = piece(1, 4);
    change(header);
    return header;
  };
  const wire::PieceHeader wrong[] = {
      other([](auto& h) { h.magic = 1; }),
      other([](auto& h) { h.tag = 2; }),
      other([](auto& h) { h.index = 1; }),
      other([](auto& h) { h.generation = 2; }),
      other([](auto& h) { h.bytes = 5; }),
      other([](auto& h) { h.bytes = 0; }),
      other([](auto& h) { h.status = static_cast<wire::PieceStatus>(9); }),
      other([](auto& h) { h.status = wire::PieceStatus::kWelcome; }),
  };
  for (const wire::PieceHeader& header : wrong) {
    socket_ = tcp::socket(*loop_);
    link_ = std::make_shared<TcpLink>(loop_);
    into_.clear();
    ends_.clear();
    connect();
    fetch({4, 4});
    Bytes8 answer;
    add(answer, header);
    add(answer, std::uint32_t{1});
    send(answer);
    ASSERT_TRUE(all_ended());
    EXPECT_TRUE(link_->failed());
    for (const auto& end : ends_) EXPECT_FALSE(end->has_value());
  }
}

TEST_F(TcpLinkTest, AnOwnerThatDiesWithinAPiece) {
  connect();
  fetch({100, 100, 100});
  Bytes8 answer;
  add(answer, piece(1, 100));
  answer.resize(answer.size() + 100);
  add(answer, piece(2, 100));
  answer.resize(answer.size() + 50);
  send(answer);
  socket_.close();
  ASSERT_TRUE(all_ended());
  EXPECT_TRUE(ends_[0]->has_value());
  EXPECT_EQ(ends_[1]->error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(ends_[2]->error().code, ErrorCode::kUnavailable);
}

TEST_F(TcpLinkTest, AnOwnerThatSaysWhatNobodyAskedFor) {
  connect();
  send({std::byte{1}});
  ASSERT_TRUE(run_until([this] { return link_->failed(); }));
  fetch({4});
  ASSERT_TRUE(all_ended());
  EXPECT_EQ(ends_[0]->error().code, ErrorCode::kUnavailable);
}

// The reason is that of the connection that went, not that of the one that was greeted.
TEST_F(TcpLinkTest, AnOwnerThatAnswersTheGreetingAndClosesAtOnce) {
  const std::string tokens(2 * OneTimeTokens::kBytes, 't');
  std::array<tcp::socket, 2> sockets{tcp::socket(*loop_), tcp::socket(*loop_)};
  std::optional<Result<std::shared_ptr<Link>>> end;
  const std::string address = "127.0.0.1:" + std::to_string(acceptor_.local_endpoint().port());
  link_->begin({"tcp", address, tokens}, 2, Clock::now() + seconds(5),
               [&](auto result) { end = std::move(result); });
  int greeted = 0;
  for (tcp::socket& socket : sockets) {
    bool accepted = false;
    acceptor_.async_accept(socket, [&](error_code error) { accepted = !error; });
    ASSERT_TRUE(run_until([&] { return accepted; }));
    boost::asio::async_read(socket, boost::asio::buffer(token_),
                            [&](error_code error, auto) { greeted += error ? 0 : 1; });
  }
  ASSERT_TRUE(run_until([&] { return greeted == 2; }));
  Bytes8 welcome;
  add(welcome, wire::PieceHeader{.status = wire::PieceStatus::kWelcome});
  boost::asio::write(sockets[0], boost::asio::buffer(welcome));
  for (int i = 0; i < 20; ++i) loop_->poll();  // until the link has it
  boost::asio::write(sockets[1], boost::asio::buffer(welcome));
  sockets[0].close();  // the link learns both in one turn
  ASSERT_TRUE(run_until([&] { return end.has_value(); }));
  ASSERT_FALSE(end->has_value());
  EXPECT_EQ(end->error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(end->error().message, HasSubstr("the producer closed the connection"));
}

// An owner before readers that are played.
class TcpOwnerTest : public TcpTest {
 protected:
  void SetUp() override {
    arena_ = std::move(*BlockArena::create(Bytes(kTestSlotBytes), 64));
    owner_ = std::move(*make_tcp_transport(loop_, *arena_, {}));
  }
  void TearDown() override {
    bool stopped = false;
    owner_->stop([&] { stopped = true; });
    EXPECT_TRUE(run_until([&] { return stopped; }));
  }
  tcp::socket connect(const Bytes8& first) {
    const TransportOffer offer = owner_->reserve(Clock::now());
    tcp::socket socket(*loop_);
    const auto port = std::stoi(offer.address.substr(offer.address.rfind(':') + 1));
    socket.connect({boost::asio::ip::address_v4::loopback(), static_cast<std::uint16_t>(port)});
    boost::asio::write(socket, boost::asio::buffer(offer.token, OneTimeTokens::kBytes));
    boost::asio::write(socket, boost::asio::buffer(first));
    return socket;
  }
  // Whether the owner hangs up, whatever it says before.
  bool is_dropped(tcp::socket& socket) {
    std::array<char, 4096> room;
    bool ended = false;
    while (!ended) {
      bool read = false;
      socket.async_read_some(boost::asio::buffer(room), [&](error_code error, auto) {
        read = true;
        ended = static_cast<bool>(error);
      });
      if (run_until([&] { return read; })) continue;
      socket.close();
      EXPECT_TRUE(run_until([&] { return read; }));
      return false;
    }
    return true;
  }
  static Bytes8 fetch_of(const std::vector<wire::Wanted>& wanted, TransferId transfer) {
    Bytes8 bytes;
    add(bytes, wire::FetchHeader{.count = static_cast<std::uint32_t>(wanted.size()),
                                 .transfer_high = transfer.high(),
                                 .transfer_low = transfer.low()});
    for (const wire::Wanted& one : wanted) add(bytes, one);
    return bytes;
  }

  std::unique_ptr<BlockArena> arena_;
  std::unique_ptr<Transport> owner_;
};

TEST_F(TcpOwnerTest, DropsWhoeverSaysNonsense) {
  std::vector<Bytes8> nonsense;
  add(nonsense.emplace_back(), wire::FetchHeader{.magic = 1});
  add(nonsense.emplace_back(), wire::FetchHeader{.count = 1U << 31});
  nonsense.push_back(fetch_of({{.tag = 1, .generation = 0, .slot = 1, .bytes = 4}}, {1, 2}));
  nonsense.emplace_back(8192, std::byte{0x42});
  add(nonsense.emplace_back(), wire::FetchHeader{.slices = 1U << 31});
  Bytes8 sliced = fetch_of({{.tag = 1, .generation = 1, .slot = 1, .bytes = 4}}, {1, 2});
  const wire::FetchHeader header{.count = 1, .slices = 1};
  std::memcpy(sliced.data(), &header, sizeof(header));
  add(nonsense.emplace_back(sliced), Slice{.offset = 0, .bytes = 0});
  add(nonsense.emplace_back(sliced), Slice{.bytes = 8, .stride = 0, .count = 1U << 31});
  for (const Bytes8& bytes : nonsense) {
    tcp::socket socket = connect(bytes);
    EXPECT_TRUE(is_dropped(socket));
  }
}

TEST_F(TcpOwnerTest, DropsWhoeverAsksForMoreThanItTakes) {
  const std::vector<wire::Wanted> many(
      wire::kMaxWanted, wire::Wanted{.tag = 1, .generation = 1, .slot = 0, .bytes = 4});
  const Bytes8 one = fetch_of(many, {1, 2});
  Bytes8 flood;
  for (int i = 0; i < 8192; ++i) flood.insert(flood.end(), one.begin(), one.end());
  tcp::socket socket = connect({});
  bool dropped = false;
  boost::asio::async_write(socket, boost::asio::buffer(flood),
                           [&](error_code error, auto) { dropped = static_cast<bool>(error); });
  EXPECT_TRUE(run_until([&] { return dropped; }));
}

TEST_F(TcpOwnerTest, UnpinsWhatAReaderThatLeavesHasNotTaken) {
  std::vector<BlockDescriptor> blocks;
  std::vector<wire::Wanted> wanted;
  for (std::uint32_t i = 0; i < 60; ++i) {
    blocks.push_back(make_block(*arena_, rng_, i * 64, kTestSlotBytes));
    ASSERT_TRUE(arena_->pin(blocks.back().slot));
    wanted.push_back({.tag = i + 1,
                      .generation = blocks.back().slot.generation,
                      .slot = blocks.back().slot.slot,
                      .index = i,
                      .bytes = kTestSlotBytes});
  }
  owner_->publish({1, 2}, blocks);
  {
    tcp::socket reader = connect(fetch_of(wanted, {1, 2}));
    std::array<char, 1000> some;
    std::size_t got = 0;
    reader.async_read_some(boost::asio::buffer(some), [&](error_code, std::size_t n) { got = n; });
    ASSERT_TRUE(run_until([&] { return got > 0; }));
    for (int i = 0; i < 20; ++i) loop_->poll();  // until the socket is full
  }
  for (const BlockDescriptor& block : blocks) {
    arena_->unpin(block.slot);  // the lease's
    arena_->free(block.slot);
  }
  EXPECT_TRUE(run_until([&] { return arena_->counts().quarantined == 0; }));
  EXPECT_EQ(arena_->counts().pinned, 0);
}

TEST(SplitAddress, TakesHostsOfEveryKind) {
  EXPECT_EQ(split_address("10.0.0.7:80")->host, "10.0.0.7");
  EXPECT_EQ(split_address("[fd00::7]:80")->host, "fd00::7");
  EXPECT_EQ(split_address("[fd00::7]:80")->port, "80");
  EXPECT_FALSE(split_address("host"));
  EXPECT_FALSE(split_address(""));
}

TEST(TcpTransport, AHostThatCannotBeListenedOnIsSaid) {
  const auto loop = std::make_shared<boost::asio::io_context>(1);
  const auto arena = std::move(*BlockArena::create(Bytes(4096), 1));
  const auto made = make_tcp_transport(loop, *arena, {.host = "no such host"});
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().message, HasSubstr("no such host"));
  EXPECT_FALSE(make_tcp_transport(loop, *arena, {.host = "192.0.2.1"}));
  EXPECT_THAT(make_tcp_transport(loop, *arena, {.connections = 5}).error().message,
              HasSubstr("1 to 4"));
}

}  // namespace
}  // namespace baton::kv
