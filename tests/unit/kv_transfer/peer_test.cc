#include <gtest/gtest.h>
#include <signal.h>

#include <string>

#include "kv_transfer/node.h"
#include "tests/unit/kv_transfer/child.h"
#include "tests/unit/kv_transfer/node_fixture.h"

namespace baton::kv {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr TransferId kTransfer{1, 2};

class TwoProcesses : public testing::TestWithParam<std::string> {
 protected:
  NodeOptions options(const std::string& engine) {
    NodeOptions options = test_options(engine, GetParam());
    options.heartbeat = milliseconds(400);
    return options;
  }
};

TEST_P(TwoProcesses, AProducerKilledInMidTransferIsUnavailable) {
  Child producer({"produce", GetParam()});
  const std::string address = producer.line();
  ASSERT_FALSE(address.empty());
  NodeOptions patient = options("consumer");
  patient.heartbeat = seconds(5);  // so that what is found is the broken connection
  const auto consumer = start_node(patient, 512);
  const auto collector = std::make_shared<Collector>(*consumer);
  consumer->receive(request_to(address, "producer", kTransfer), collector);
  ASSERT_TRUE(collector->wait_for_blocks(1));
  const auto killed_at = Clock::now();
  producer.kill();
  EXPECT_EQ(collector->result().error().code, ErrorCode::kUnavailable);
  RecordProperty("ms_to_error", static_cast<int>(to_ms(Clock::now() - killed_at)));
  EXPECT_TRUE(eventually([&] { return consumer->arena().counts().used == 0; }));
}

TEST_P(TwoProcesses, AProducerThatFallsSilentIsUnavailable) {
  Child producer({"produce", GetParam()});
  const std::string address = producer.line();
  ASSERT_FALSE(address.empty());
  const auto consumer = start_node(options("consumer"), 512);
  const auto collector = std::make_shared<Collector>(*consumer);
  consumer->receive(request_to(address, "producer", kTransfer), collector);
  ASSERT_TRUE(collector->wait_for_blocks(1));
  producer.signal(SIGSTOP);
  EXPECT_EQ(collector->result().error().code, ErrorCode::kUnavailable);
  producer.kill();
  EXPECT_TRUE(eventually([&] { return consumer->arena().counts().used == 0; }));
}

TEST_P(TwoProcesses, AReaderThatIsKilledLeavesTheLeaseToTheNext) {
  const auto producer = start_node(options("producer"), 64);
  std::mt19937_64 rng(1);
  producer->open_lease(kTransfer, 64 * 32, 0);
  for (int i = 0; i < 32; ++i) {
    producer->publish(kTransfer, {make_block(producer->arena(), rng, i * 64, kTestSlotBytes)});
  }
  Child reader({"consume", GetParam(), producer->address()});
  ASSERT_EQ(reader.line(), "reading");
  reader.kill();
  const auto consumer = start_node(options("second consumer"), 64);
  const auto collector = std::make_shared<Collector>(*consumer);
  consumer->receive(request_to(producer->address(), "producer", kTransfer), collector);
  producer->seal(kTransfer);
  const auto result = collector->result();
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->blocks, 32);
  EXPECT_TRUE(eventually([&] { return producer->arena().counts().pinned == 0; }));
}

INSTANTIATE_TEST_SUITE_P(Transports, TwoProcesses, testing::Values("shm", "cma", "tcp", "ucx"),
                         [](const auto& parameter) { return parameter.param; });

}  // namespace
}  // namespace baton::kv
