// Either end of the nccl transport before a peer that breaks its protocol or leaves.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "kv_transfer/address.h"
#include "kv_transfer/nccl/nccl_frame.h"
#include "kv_transfer/one_time_tokens.h"
#include "kv_transfer/wire.h"
#include "tests/unit/kv_transfer/nccl/nccl_fixture.h"

namespace baton::kv {
namespace {

using boost::asio::ip::tcp;
using boost::system::error_code;
using std::chrono::seconds;
using testing::HasSubstr;

template <class T>
void add(std::vector<std::byte>& out, const T& value) {
  const auto bytes = std::as_bytes(std::span(&value, 1));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

// A rank of a communicator outside the transport, which only joins.
class OtherRank {
 public:
  OtherRank(int rank, const nccl::UniqueId& id) {
    thread_ = std::jthread([this, rank, id](const std::stop_token& stop) {
      const nccl::Library nccl = FakeGpu::nccl();
      const auto device = cuda::PrimaryContext::open(FakeGpu::cuda(), 0);
      EXPECT_TRUE(device.has_value() && (*device)->use_in_this_thread());
      nccl::Config config;
      config.blocking = 0;
      EXPECT_EQ(nccl.comm_init_rank_config(&comm_, 2, id, rank, &config),
                nccl::Status::kInProgress);
      while (!stop.stop_requested()) {
        auto found = nccl::Status::kSuccess;
        (void)nccl.comm_get_async_error(comm_, &found);
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
      (void)nccl.comm_abort(comm_);
    });
  }

 private:
  nccl::Comm* comm_ = nullptr;
  std::jthread thread_;
};

// A reader before an owner that is played.
class NcclLinkTest : public NcclTest {
 protected:
  void SetUp() override {
    reader_ = make(*other_arena_);
    id_of_pair_.bytes[0] = 'x';
  }
  void TearDown() override {
    link_.reset();
    other_.reset();
    error_code ignored;
    socket_.close(ignored);
    NcclTest::TearDown();
  }
  // Connects, and answers the token with `welcome`.
  Result<void> meet(const wire::NcclWelcome& welcome) {
    tcp::acceptor acceptor(*loop_, tcp::endpoint(boost::asio::ip::address_v4::loopback(), 0));
    acceptor.async_accept(socket_, [&](error_code) {
      boost::asio::async_read(socket_, boost::asio::buffer(token_), [&](error_code, auto) {
        std::vector<std::byte> bytes;
        add(bytes, welcome);
        send(bytes);
      });
    });
    const auto address = "127.0.0.1:" + std::to_string(acceptor.local_endpoint().port());
    auto link = NcclTest::connect({"nccl", address, std::string(OneTimeTokens::kBytes, 't')});
    if (!link) return std::unexpected(link.error());
    link_ = *link;
    return {};
  }
  void meet() {
    other_ = std::make_unique<OtherRank>(0, id_of_pair_);
    const auto met = meet(welcome());
    ASSERT_TRUE(met.has_value()) << met.error().message;
    EXPECT_EQ(std::string(token_.data(), token_.size()), std::string(OneTimeTokens::kBytes, 't'));
  }
  void part() {
    link_.reset();
    other_.reset();
    socket_ = tcp::socket(*loop_);
    ++id_of_pair_.bytes[0];
  }
  wire::NcclWelcome welcome() const {
    wire::NcclWelcome welcome;
    welcome.header.tag = static_cast<std::uint64_t>(gpu_.version);
    welcome.id = id_of_pair_;
    return welcome;
  }
  void send(const std::vector<std::byte>& bytes) {
    error_code ignored;
    boost::asio::write(socket_, boost::asio::buffer(bytes), ignored);
  }
  // Asks for two blocks of four bytes.
  void ask() {
    into_.assign(2, std::vector<std::byte>(4));
    ends_.assign(2, std::nullopt);
    const std::vector<BlockRead> reads{{0, {.slot = {7, 1}, .bytes = 4}, into_[0]},
                                       {1, {.slot = {8, 1}, .bytes = 4}, into_[1]}};
    link_->fetch({.transfer = {1, 2}}, reads, [this](std::uint32_t index, Result<void> result) {
      EXPECT_FALSE(ends_.at(index)) << "reported twice";
      ends_[index] = std::move(result);
    });
  }
  // The pack that answers it; `change` makes it another.
  using Change = std::function<void(wire::PackHeader&, std::vector<wire::PieceHeader>&)>;
  static std::vector<std::byte> answer(const Change& change) {
    wire::PackHeader pack{.count = 2, .bytes = 8};
    std::vector<wire::PieceHeader> pieces;
    for (std::uint32_t i = 0; i < 2; ++i) {
      pieces.push_back({.tag = i + 1, .generation = 1, .index = i, .bytes = 4});
    }
    change(pack, pieces);
    std::vector<std::byte> bytes;
    add(bytes, pack);
    for (const wire::PieceHeader& piece : pieces) add(bytes, piece);
    return bytes;
  }

  nccl::UniqueId id_of_pair_{};
  tcp::socket socket_{*loop_};
  std::array<char, OneTimeTokens::kBytes> token_{};
  std::unique_ptr<OtherRank> other_;
};

TEST_F(NcclLinkTest, AnOwnerOfAnotherNcclIsUnsupported) {
  wire::NcclWelcome other = welcome();
  other.header.tag = 22707;
  const auto met = meet(other);
  ASSERT_FALSE(met);
  EXPECT_EQ(met.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(met.error().message, HasSubstr("has NCCL 2.27.7 and this pod 2.32.3"));
}

TEST_F(NcclLinkTest, WhatIsNoWelcomeEndsIt) {
  wire::NcclWelcome wrong[] = {welcome(), welcome(), welcome()};
  wrong[0].header.magic = 1;
  wrong[1].header.status = wire::PieceStatus::kStale;
  wrong[2].header.tag = ~std::uint64_t{0};
  for (const auto& one : wrong) {
    EXPECT_FALSE(meet(one));
    part();
  }
}

TEST_F(NcclLinkTest, AnOwnerThatLeavesBetweenHeaderAndBody) {
  meet();
  ask();
  send(answer([](auto&, auto&) {}));
  EXPECT_TRUE(run_until([&] { return gpu_.calls()["ncclRecv"] > 0; }));
  EXPECT_EQ(ended(), 0U);
  socket_.close();  // the other rank stays, and sends nothing
  ASSERT_TRUE(all_ended());
  for (const auto& end : ends_) EXPECT_EQ(end->error().code, ErrorCode::kUnavailable);
  EXPECT_TRUE(link_->failed());
  EXPECT_TRUE(run_until([&] { return gpu_.communicators() == 1; })) << "no abort";
}

TEST_F(NcclLinkTest, AnOwnerThatAnnouncesAndNeverSends) {
  stop();
  limits_.stall = std::chrono::milliseconds(200);
  reader_ = make(*other_arena_);
  meet();
  ask();
  send(answer([](auto&, auto&) {}));
  ASSERT_TRUE(all_ended());
  for (const auto& end : ends_) EXPECT_THAT(end->error().message, HasSubstr("no progress"));
  EXPECT_TRUE(run_until([&] { return gpu_.communicators() == 1; })) << "no abort";
}

TEST_F(NcclLinkTest, WhatIsNoAnswerEndsTheLink) {
  const Change wrong[] = {
      [](auto& pack, auto&) { pack.magic = 1; },
      [](auto& pack, auto&) { pack.count = 0; },
      [](auto& pack, auto&) { pack.count = 65; },
      [](auto& pack, auto&) { pack.bytes = 9; },
      [](auto& pack, auto&) { pack.bytes = 4; },
      [](auto&, auto& pieces) { pieces[1].magic = 1; },
      [](auto&, auto& pieces) { pieces[1].tag = 1; },
      [](auto&, auto& pieces) { pieces[1].index = 0; },
      [](auto&, auto& pieces) { pieces[1].generation = 2; },
      [](auto&, auto& pieces) { pieces[1].bytes = 5; },
      [](auto&, auto& pieces) { pieces[1].status = wire::PieceStatus::kWelcome; },
      [](auto&, auto& pieces) { pieces[1].status = static_cast<wire::PieceStatus>(9); },
      [](auto&, auto& pieces) { pieces[1].status = wire::PieceStatus::kStale; },
      [](auto& pack, auto& pieces) {
        pack.count = 3;
        pieces.push_back(pieces[1]);
      },
  };
  int which = 0;
  for (const Change& change : wrong) {
    SCOPED_TRACE(which++);
    meet();
    ask();
    send(answer(change));
    ASSERT_TRUE(all_ended());
    for (const auto& end : ends_) EXPECT_FALSE(end->has_value());
    EXPECT_TRUE(link_->failed());
    EXPECT_EQ(gpu_.calls()["ncclRecv"], 0);
    part();
  }
}

// An owner before readers that are played.
class NcclOwnerTest : public NcclTest {
 protected:
  void SetUp() override { owner_ = make(*arena_); }
  void TearDown() override {
    other_.reset();
    NcclTest::TearDown();
  }
  tcp::socket call(const std::string& token) {
    const HostAndPort to = *split_address(owner_->reserve(Clock::now()).address);
    tcp::socket socket(*loop_);
    socket.connect(
        {boost::asio::ip::make_address(to.host), static_cast<std::uint16_t>(std::stoi(to.port))});
    boost::asio::write(socket, boost::asio::buffer(token));
    return socket;
  }
  // A reader with a token, that has joined.
  tcp::socket join() {
    tcp::socket socket = call(owner_->reserve(Clock::now()).token);
    wire::NcclWelcome welcome;
    bool welcomed = false;
    boost::asio::async_read(socket, boost::asio::buffer(&welcome, sizeof(welcome)),
                            [&](error_code error, auto) { welcomed = !error; });
    EXPECT_TRUE(run_until([&] { return welcomed; }));
    EXPECT_EQ(welcome.header.status, wire::PieceStatus::kWelcome);
    other_ = std::make_unique<OtherRank>(1, welcome.id);
    return socket;
  }
  // Whether the owner hangs up, whatever it says before.
  bool is_dropped(tcp::socket& socket) {
    std::array<char, 4096> room;
    for (bool ended = false; !ended;) {
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
  static void say(tcp::socket& socket, const std::vector<std::byte>& bytes) {
    error_code ignored;
    boost::asio::write(socket, boost::asio::buffer(bytes), ignored);
  }
  std::vector<std::byte> fetch_of_all() const {
    std::vector<std::byte> bytes;
    add(bytes, wire::FetchHeader{.count = static_cast<std::uint32_t>(blocks_.size()),
                                 .transfer_high = id_.high(),
                                 .transfer_low = id_.low()});
    for (std::uint32_t i = 0; i < blocks_.size(); ++i) {
      add(bytes, wire::Wanted{.tag = i + 1,
                              .generation = blocks_[i].slot.generation,
                              .slot = blocks_[i].slot.slot,
                              .index = i,
                              .bytes = blocks_[i].bytes});
    }
    return bytes;
  }

  std::unique_ptr<OtherRank> other_;
};

TEST_F(NcclOwnerTest, AReaderWithoutATokenGetsNoCommunicator) {
  const int ids = gpu_.calls()["ncclGetUniqueId"];
  tcp::socket socket = call(std::string(OneTimeTokens::kBytes, '0'));
  EXPECT_TRUE(is_dropped(socket));
  EXPECT_EQ(gpu_.calls()["ncclGetUniqueId"], ids);
}

TEST_F(NcclOwnerTest, AReaderThatNeverJoinsIsGivenUp) {
  stop();
  limits_.setup = std::chrono::milliseconds(200);
  owner_ = make(*arena_);
  tcp::socket socket = call(owner_->reserve(Clock::now()).token);
  EXPECT_TRUE(is_dropped(socket));
  EXPECT_TRUE(run_until([&] { return gpu_.communicators() == 0; }));
}

TEST_F(NcclOwnerTest, WhoeverSaysNonsenseIsDropped) {
  std::vector<std::vector<std::byte>> nonsense(4);
  add(nonsense[0], wire::FetchHeader{.magic = 1});
  add(nonsense[1], wire::FetchHeader{.count = 65});
  add(nonsense[2], wire::FetchHeader{.count = 1});
  add(nonsense[2], wire::Wanted{.tag = 1, .generation = 0, .bytes = 4});
  nonsense[3].assign(8192, std::byte{0x42});
  for (const auto& bytes : nonsense) {
    tcp::socket socket = join();
    say(socket, bytes);
    EXPECT_TRUE(is_dropped(socket));
    other_.reset();
  }
}

TEST_F(NcclOwnerTest, WhoeverAsksForMoreThanItTakesIsDropped) {
  publish(60, 200'000);
  tcp::socket socket = join();
  for (int i = 0; i < 20; ++i) say(socket, fetch_of_all());
  EXPECT_TRUE(is_dropped(socket));
}

// It takes no body: what is pinned for it is unpinned when it goes, or at the latest by the limit.
TEST_F(NcclOwnerTest, AReaderThatTakesNothing) {
  stop();
  limits_.stall = std::chrono::milliseconds(200);
  owner_ = make(*arena_);
  for (const bool leaves : {true, false}) {
    publish(40, 900'000);
    tcp::socket socket = join();
    const int sends = gpu_.calls()["ncclSend"];
    say(socket, fetch_of_all());
    EXPECT_TRUE(run_until([&] { return gpu_.calls()["ncclSend"] > sends; }));
    owner_->abort(id_);
    withdraw();
    if (leaves) socket.close();
    EXPECT_TRUE(run_until([&] { return arena_->counts().pinned == 0; }));
    EXPECT_EQ(arena_->counts().quarantined, 0);
    EXPECT_TRUE(run_until([&] { return gpu_.communicators() == 1; })) << "no abort";
    other_.reset();
  }
}

}  // namespace
}  // namespace baton::kv
