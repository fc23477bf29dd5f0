// The nccl transport with the real thing: two ranks in two processes, on one GPU.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "kv_transfer/nccl/nccl_library.h"
#include "kv_transfer/node.h"
#include "tests/unit/kv_transfer/node_fixture.h"

namespace baton::kv {
namespace {

using std::chrono::seconds;

constexpr TransferId kTransfer{1, 2};  // of kv_peer's producer
constexpr int kBlocks = 512;           // likewise

void skip_or_fail(const std::string& why) {
  if (std::getenv("BATON_REQUIRE_GPU") != nullptr) FAIL() << why;
  GTEST_SKIP() << why;
}

// The library needs no GPU to be opened.
TEST(NcclOfThisMachine, OpensAndTellsItsVersion) {
  const auto library = nccl::open_library();
  if (!library) return skip_or_fail(library.error().message);
  const auto version = nccl::usable_version(*library);
  ASSERT_TRUE(version.has_value()) << version.error().message;
  EXPECT_GE(*version, nccl::kOldestVersion);
  nccl::UniqueId id{};
  EXPECT_EQ(library->get_unique_id(&id), nccl::Status::kSuccess);
  EXPECT_STRNE(library->get_error_string(nccl::Status::kRemoteError), "");
  std::printf("NCCL %s\n", nccl::version_text(*version).c_str());
}

// A kv_peer that produces over nccl, killed at the latest by the destructor.
class Producer {
 public:
  Producer() : output_(::popen("echo $$; exec " KV_PEER_PATH " produce nccl", "r")) {
    pid_ = std::atoi(line().c_str());
    address_ = line();
  }
  ~Producer() {
    kill();
    (void)::pclose(output_);
  }
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  [[nodiscard]] const std::string& address() const { return address_; }
  void kill() const {
    if (pid_ > 0) (void)::kill(pid_, SIGKILL);
  }

 private:
  std::string line() {
    std::array<char, 256> text{};
    if (std::fgets(text.data(), text.size(), output_) == nullptr) return {};
    std::string line(text.data());
    line.resize(line.find_last_not_of('\n') + 1);
    return line;
  }

  std::FILE* output_;
  pid_t pid_ = -1;
  std::string address_;
};

class NcclOnAGpu : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    (void)::setenv("NCCL_MULTI_RANK_GPU_ENABLE", "1", 1);
    (void)::setenv("NCCL_SOCKET_IFNAME", "lo", 0);
  }
  void SetUp() override {
    NodeOptions options = test_options("consumer", "nccl");
    options.connect_timeout = seconds(60);  // the first communicator on a cold machine
    auto node =
        Node::start(options, std::move(*BlockArena::create(Bytes(kTestSlotBytes), kBlocks)));
    if (!node) return skip_or_fail(node.error().message);
    consumer_ = std::move(*node);
  }
  std::shared_ptr<Collector> receive(const Producer& producer) {
    auto collector = std::make_shared<Collector>(*consumer_);
    consumer_->receive(request_to(producer.address(), "producer", kTransfer, seconds(120)),
                       collector);
    return collector;
  }
  // Every block of the producer, with its bytes. Collector looks for 10 s; NCCL may need longer to
  // begin.
  static void expect_all(Collector& collector) {
    for (int patience = 0; patience < 6 && collector.blocks().size() < kBlocks; ++patience) {
      (void)collector.wait_for_blocks(kBlocks);
    }
    const auto blocks = collector.blocks();
    ASSERT_EQ(blocks.size(), std::size_t{kBlocks});
    const auto arena = std::move(*BlockArena::create(Bytes(kTestSlotBytes), kBlocks));
    std::mt19937_64 rng(1);  // as kv_peer has it
    for (int i = 0; i < kBlocks; ++i) {
      const BlockDescriptor made = make_block(*arena, rng, i * 64, kTestSlotBytes);
      ASSERT_EQ(checksum_of(blocks.at(made.first_token)), made.checksum) << i;
    }
  }

  std::unique_ptr<Node> consumer_;
};

TEST_F(NcclOnAGpu, BlocksComeWhole) {
  const Producer producer;
  ASSERT_FALSE(producer.address().empty());
  for (const char* what : {"with a new communicator", "over the same"}) {
    const auto begun = Clock::now();
    expect_all(*receive(producer));
    const double ms = to_ms(Clock::now() - begun);
    std::printf("%.1f MB %s: %.1f ms\n", 1e-6 * kBlocks * kTestSlotBytes, what, ms);
  }
}

TEST_F(NcclOnAGpu, AKilledPeerIsAbortedAndTheNextHandOffSucceeds) {
  for (int round = 0; round < 3; ++round) {
    {
      const Producer producer;
      ASSERT_FALSE(producer.address().empty());
      const auto collector = receive(producer);
      for (int patience = 0; patience < 6 && collector->blocks().empty(); ++patience) {
        (void)collector->wait_for_blocks(1);
      }
      const auto killed_at = Clock::now();
      producer.kill();
      EXPECT_EQ(collector->result().error().code, ErrorCode::kUnavailable);
      std::printf("killed and reported after %.1f ms\n", to_ms(Clock::now() - killed_at));
    }
    EXPECT_TRUE(eventually([this] { return consumer_->arena().counts().used == 0; }));
    const Producer next;
    ASSERT_FALSE(next.address().empty());
    expect_all(*receive(next));
  }
}

}  // namespace
}  // namespace baton::kv
