// A producer that says what cannot be: another version or layout, rights that are none, addresses
// that are none, blocks outside its arena. It is a real one in its own process, whose words are
// changed on their way by a control service in between.
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "kv_transfer/control.grpc.pb.h"
#include "tests/unit/kv_transfer/child.h"
#include "tests/unit/kv_transfer/node_fixture.h"
#include "tests/unit/kv_transfer/pod.h"

namespace baton::kv {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

// Passes on what the producer behind it says, changed by the lie of the moment.
class Liar final : public v1::KvControl::Service {
 public:
  using AboutItself = std::function<void(v1::HandshakeReply&)>;
  using AboutBlocks = std::function<void(v1::FollowEvent&)>;

  explicit Liar(const std::string& producer)
      : producer_(v1::KvControl::NewStub(
            grpc::CreateChannel(producer, grpc::InsecureChannelCredentials()))) {
    int port = 0;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    address_ = fmt::format("127.0.0.1:{}", port);
  }
  ~Liar() override { server_->Shutdown(std::chrono::system_clock::now()); }

  [[nodiscard]] const std::string& address() const { return address_; }
  void say(AboutItself about_itself, AboutBlocks about_blocks) {
    std::lock_guard lock(mutex_);
    about_itself_ = std::move(about_itself);
    about_blocks_ = std::move(about_blocks);
  }

 private:
  grpc::Status Handshake(grpc::ServerContext*, const v1::HandshakeRequest* request,
                         v1::HandshakeReply* reply) override {
    grpc::ClientContext context;
    const grpc::Status status = producer_->Handshake(&context, *request, reply);
    std::lock_guard lock(mutex_);
    if (about_itself_) about_itself_(*reply);
    return status;
  }
  grpc::Status Follow(grpc::ServerContext* server, const v1::FollowRequest* request,
                      grpc::ServerWriter<v1::FollowEvent>* writer) override {
    const auto context = grpc::ClientContext::FromServerContext(*server);
    const auto reader = producer_->Follow(context.get(), *request);
    v1::FollowEvent event;
    while (reader->Read(&event)) {
      {
        std::lock_guard lock(mutex_);
        if (about_blocks_) about_blocks_(event);
      }
      if (!writer->Write(event)) break;
    }
    context->TryCancel();
    return reader->Finish();
  }
  grpc::Status Release(grpc::ServerContext*, const v1::ReleaseRequest* request,
                       v1::ReleaseReply* reply) override {
    grpc::ClientContext context;
    return producer_->Release(&context, *request, reply);
  }

  const std::unique_ptr<v1::KvControl::Stub> producer_;
  std::mutex mutex_;
  AboutItself about_itself_;
  AboutBlocks about_blocks_;
  std::string address_;
  std::unique_ptr<grpc::Server> server_;
};

class LyingPeer : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    ASSERT_TRUE(here_ != nullptr);
    expect_truth_to_pass();
    before_ = here_->counts();
  }
  void TearDown() override {
    expect_truth_to_pass();
    EXPECT_TRUE(eventually([&] { return here_->counts().fds <= before_.fds; }))
        << before_.fds << " descriptors before, now " << here_->counts().fds;
  }

  std::shared_ptr<Checker> transfer() {
    const auto number = ++number_;
    producer_.say(fmt::format("produce {} 3 20000", number));
    const auto checker = here_->receive(number, {liar_.address(), kTestEpoch}, seconds(10));
    (void)checker->wait_for_end();
    EXPECT_EQ(checker->wrong(), 0);
    EXPECT_TRUE(here_->becomes_idle()) << here_->counts().str();
    return checker;
  }
  void expect_truth_to_pass() {
    liar_.say({}, {});
    const auto end = transfer()->wait_for_end();
    EXPECT_TRUE(end.has_value()) << end.error().message;
  }
  // What comes of a transfer under a lie: an error that is named and not ours.
  Error error_of(Liar::AboutItself about_itself, Liar::AboutBlocks about_blocks = {}) {
    // A peer that is known is not asked again who it is.
    if (about_itself) here_ = start();
    liar_.say(std::move(about_itself), std::move(about_blocks));
    const auto end = transfer()->wait_for_end();
    liar_.say({}, {});
    EXPECT_FALSE(end.has_value());
    if (end) return {};
    EXPECT_NE(end.error().code, ErrorCode::kInternal) << end.error().message;
    EXPECT_NE(end.error().code, ErrorCode::kInvalidArgument) << end.error().message;
    EXPECT_NE(end.error().code, ErrorCode::kTimeout) << end.error().message;
    EXPECT_THAT(end.error().message, HasSubstr(liar_.address()));
    EXPECT_THAT(end.error().message, HasSubstr(transfer_of(number_).str()));
    return end.error();
  }
  std::unique_ptr<Pod> start() const {
    return Pod::start({"engine=consumer", "transports=" + GetParam(), "slots=16"});
  }

  Child producer_{
      {"serve", "transports=" + GetParam(), "slots=64", "ttl_ms=300", "heartbeat_ms=300"}};
  Liar liar_{producer_.line()};
  std::unique_ptr<Pod> here_ = start();
  PodCounts before_;
  std::uint64_t number_ = 0;
};

TEST_P(LyingPeer, OfAnotherVersionOrLayoutIsUnsupported) {
  const Error version = error_of([](auto& reply) { reply.set_protocol(99); });
  EXPECT_EQ(version.code, ErrorCode::kUnsupported);
  EXPECT_THAT(version.message, HasSubstr("protocol 99"));
  const Error layout = error_of([](auto& reply) { reply.set_layout_hash(1); });
  EXPECT_EQ(layout.code, ErrorCode::kUnsupported);
  EXPECT_THAT(layout.message, HasSubstr("layout"));
}

TEST_P(LyingPeer, WithRightsAndAddressesThatAreNoneIsRefused) {
  for (const std::string& token :
       {std::string(), std::string("x"), std::string(96, '0'), std::string(512, 'f')}) {
    (void)error_of([&](auto& reply) {
      for (auto& offer : *reply.mutable_offers()) offer.set_token(token);
    });
  }
  for (const std::string& address :
       {std::string(), std::string(":"), std::string("::::"), std::string("nowhere"),
        std::string("256.256.256.256:70000"), std::string("[::1"), std::string("127.0.0.1:1"),
        std::string("127.0.0.1:"), std::string(512, 'a'), std::string("\0\0:1", 4)}) {
    (void)error_of([&](auto& reply) {
      for (auto& offer : *reply.mutable_offers()) offer.set_address(address);
    });
  }
  (void)error_of([](auto& reply) { reply.clear_offers(); });
  (void)error_of([](auto& reply) {
    for (int i = 0; i < 20; ++i) *reply.add_offers() = reply.offers(0);
  });
  (void)error_of([](auto& reply) { reply.set_engine_id(""); });
}

TEST_P(LyingPeer, WithBlocksThatCannotBeIsRefused) {
  using Change = void (*)(v1::Block&);
  const Change changes[] = {
      [](auto& block) { block.set_slot(std::numeric_limits<std::uint32_t>::max()); },
      [](auto& block) { block.set_slot(64); },
      [](auto& block) { block.set_generation(block.generation() + 1); },
      [](auto& block) { block.set_generation(std::numeric_limits<std::uint64_t>::max()); },
      [](auto& block) { block.set_generation(0); },
      [](auto& block) { block.set_bytes(std::numeric_limits<std::uint32_t>::max()); },
      [](auto& block) { block.set_bytes(Pod::kSlotBytes + 1); },
      [](auto& block) { block.set_bytes(0); },
      [](auto& block) { block.set_first_token(-64); },
      [](auto& block) { block.set_first_token(std::numeric_limits<std::int64_t>::max()); },
      [](auto& block) { block.set_token_count(-1); },
      [](auto& block) { block.set_token_count(0); },
      [](auto& block) { block.set_checksum(block.checksum() ^ 1); },
  };
  for (std::size_t i = 0; i < std::size(changes); ++i) {
    SCOPED_TRACE(i);
    (void)error_of({}, [&](v1::FollowEvent& event) {
      if (!event.has_published()) return;
      changes[i](*event.mutable_published()->mutable_blocks(0));
      event.mutable_published()->set_checksum(0);  // not made, so that the lie is believed so far
    });
  }
}

TEST_P(LyingPeer, WithACountThatDoesNotFitIsRefused) {
  using Change = void (*)(v1::FollowEvent&);
  const Change changes[] = {
      [](auto& event) {
        if (event.has_published()) event.mutable_published()->set_first_index(7);
      },
      [](auto& event) {
        if (event.has_published()) event.mutable_published()->clear_blocks();
      },
      [](auto& event) {
        if (event.has_sealed()) event.mutable_sealed()->set_total_blocks(4);
      },
      [](auto& event) {
        if (event.has_sealed()) event.mutable_sealed()->set_prompt_tokens(-1);
      },
      [](auto& event) {
        if (event.has_sealed()) event.mutable_sealed()->set_cached_tokens(1L << 50);
      },
      [](auto& event) { event.clear_event(); },
  };
  for (std::size_t i = 0; i < std::size(changes); ++i) {
    SCOPED_TRACE(i);
    (void)error_of({}, [&](v1::FollowEvent& event) {
      changes[i](event);
      if (event.has_published()) event.mutable_published()->set_checksum(0);
      if (event.has_sealed()) event.mutable_sealed()->set_checksum(0);
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Transports, LyingPeer, testing::Values("shm", "tcp", "ucx"),
                         [](const auto& parameter) { return parameter.param; });

// What an owner of shared memory passes to a reader, instead of an arena.
class FalseArena : public LyingPeer {
 protected:
  // Gives every visitor these descriptors.
  void pass(std::vector<int> descriptors) {
    const std::string name = fmt::format("baton-false-arena-{}-{}", ::getpid(), ++count_);
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path + 1, name.data(), name.size());
    const int listener = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&address),
                     static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size())),
              0);
    ASSERT_EQ(::listen(listener, 1), 0);
    std::jthread owner([&] {
      const int visitor = ::accept(listener, nullptr, nullptr);
      if (visitor < 0) {
        ADD_FAILURE() << "nobody came";
        return;
      }
      char byte = 'A';
      iovec data{&byte, 1};
      alignas(cmsghdr) std::array<char, CMSG_SPACE(4 * sizeof(int))> control{};
      msghdr message{};
      message.msg_iov = &data;
      message.msg_iovlen = 1;
      if (!descriptors.empty()) {
        const std::size_t bytes = descriptors.size() * sizeof(int);
        message.msg_control = control.data();
        message.msg_controllen = CMSG_SPACE(bytes);
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(bytes);
        std::memcpy(CMSG_DATA(header), descriptors.data(), bytes);
      }
      EXPECT_EQ(::sendmsg(visitor, &message, MSG_NOSIGNAL), 1);
      ::close(visitor);
    });
    const Error error = error_of([&](auto& reply) {
      for (auto& offer : *reply.mutable_offers()) offer.set_address(name);
    });
    EXPECT_EQ(error.code, ErrorCode::kUnsupported) << error.message;
    ::shutdown(listener, SHUT_RDWR);
    owner.join();
    ::close(listener);
    for (const int descriptor : descriptors) ::close(descriptor);
  }
  static int memory(std::size_t bytes, int seals) {
    const int fd = ::memfd_create("false-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    EXPECT_EQ(::ftruncate(fd, static_cast<off_t>(bytes)), 0);
    if (seals != 0) {
      EXPECT_EQ(::fcntl(fd, F_ADD_SEALS, seals), 0);
    }
    return fd;
  }

  int count_ = 0;
};

TEST_P(FalseArena, IsNotMapped) {
  pass({});
  pass({memory(1 << 20, 0)});
  pass({memory(16, F_SEAL_SHRINK | F_SEAL_GROW)});
  pass({memory(1 << 20, F_SEAL_SHRINK | F_SEAL_GROW)});
  pass({memory(1 << 20, F_SEAL_SHRINK), memory(1 << 20, F_SEAL_SHRINK)});
  pass({memory(64, 0), memory(64, 0), memory(64, 0), memory(64, 0)});
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  pass({ends[0]});
  ::close(ends[1]);
}

INSTANTIATE_TEST_SUITE_P(Transports, FalseArena, testing::Values("shm"),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace
}  // namespace baton::kv
