#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>

#include <set>
#include <string>
#include <thread>

#include "tests/unit/kv_c_api/c11_program.h"
#include "tests/unit/kv_c_api/c_api_fixture.h"

namespace {

TEST(KvCApi, ACProgramHandsABlockOver) {
  char why[512] = "";
  EXPECT_EQ(c11_hand_off(why, sizeof why), 1) << why;
}

class Transports : public testing::TestWithParam<const char*> {};

TEST_P(Transports, BlocksCrossAndEveryEventComes) {
  auto options = node_options("producer");
  options.transports = GetParam();
  options.require_transport = GetParam();
  options.lease_events = 1;
  const NodePtr producer = started(options);
  options.engine_id = "consumer";
  const NodePtr consumer = started(options);

  const auto transfer = drawn_transfer();
  auto request = request_to(producer.get(), "producer", transfer);
  request.user_data = 42;
  std::uint64_t receive = 0;
  ASSERT_OK(baton_kv_receive(consumer.get(), &request, &receive));  // before there is a lease

  auto terms = zeroed<baton_kv_lease_options>();
  terms.prompt_tokens = 640;
  terms.cached_tokens = 128;
  ASSERT_OK(baton_kv_lease_open(producer.get(), transfer, &terms));
  for (int i = 0; i < 10; ++i) {
    const baton_kv_block block = filled_block(producer.get(), i);
    ASSERT_OK(baton_kv_lease_publish(producer.get(), transfer, &block, 1));
    ASSERT_OK(baton_kv_slot_free(producer.get(), block.slot));
  }
  ASSERT_OK(baton_kv_lease_seal(producer.get(), transfer));

  std::set<std::int64_t> tokens;
  baton_kv_event event = next_event(consumer.get());
  for (; event.kind == BATON_KV_EVENT_BLOCK; event = next_event(consumer.get())) {
    EXPECT_EQ(event.receive, receive);
    EXPECT_EQ(event.user_data, 42u);
    EXPECT_EQ(event.block.bytes, kSlotBytes);
    const unsigned char* bytes = bytes_of(consumer.get(), event.block.slot);
    EXPECT_EQ(bytes[0], event.block.first_token / 64 + 1);
    EXPECT_EQ(std::memcmp(bytes, bytes + 1, kSlotBytes - 1), 0);
    tokens.insert(event.block.first_token);
    EXPECT_OK(baton_kv_slot_unpin(consumer.get(), event.block.slot));
    EXPECT_OK(baton_kv_slot_free(consumer.get(), event.block.slot));
  }
  ASSERT_EQ(event.kind, BATON_KV_EVENT_RECEIVE_END);
  EXPECT_EQ(event.status, BATON_KV_OK) << event.message;
  EXPECT_EQ(event.receive, receive);
  EXPECT_EQ(event.user_data, 42u);
  EXPECT_EQ(event.transfer.low, transfer.low);
  EXPECT_EQ(event.bytes, 10u * kSlotBytes);
  EXPECT_EQ(event.blocks, 10u);
  EXPECT_EQ(tokens.size(), 10u);
  EXPECT_EQ(event.prompt_tokens, 640);
  EXPECT_EQ(event.cached_tokens, 128);
  EXPECT_STREQ(event.transport, GetParam());
  EXPECT_GT(event.seconds, 0);

  event = next_event(producer.get());
  EXPECT_EQ(event.kind, BATON_KV_EVENT_LEASE_END);
  EXPECT_EQ(event.status, BATON_KV_OK);
  EXPECT_EQ(event.transfer.high, transfer.high);
  auto counts = zeroed<baton_kv_slot_counts>();
  for (baton_kv_node* node : {producer.get(), consumer.get()}) {
    ASSERT_OK(baton_kv_slot_counts_of(node, &counts));
    EXPECT_EQ(counts.total, 64u);
    EXPECT_EQ(counts.used + counts.pinned + counts.quarantined, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Kv, Transports, testing::Values("shm", "tcp", "ucx"),
                         [](const auto& test) { return test.param; });

class TwoNodes : public testing::Test {
 protected:
  TwoNodes() {
    auto options = node_options("producer");
    options.lease_events = 1;
    options.transports = "shm";
    producer_ = started(options);
    options.engine_id = "consumer";
    options.slots = 2;
    consumer_ = started(options);
    request_ = request_to(producer_.get(), "producer", transfer_);
  }
  std::uint64_t receive() {
    std::uint64_t number = 0;
    EXPECT_OK(baton_kv_receive(consumer_.get(), &request_, &number));
    return number;
  }
  void offer(int blocks) {
    EXPECT_OK(baton_kv_lease_open(producer_.get(), transfer_, nullptr));
    for (int i = 0; i < blocks; ++i) {
      const baton_kv_block block = filled_block(producer_.get(), i);
      EXPECT_OK(baton_kv_lease_publish(producer_.get(), transfer_, &block, 1));
    }
  }
  // The receive's end, past whatever comes before it.
  baton_kv_event end() {
    baton_kv_event event = next_event(consumer_.get());
    while (event.kind != 0 && event.kind != BATON_KV_EVENT_RECEIVE_END) {
      event = next_event(consumer_.get());
    }
    return event;
  }

  NodePtr producer_, consumer_;
  const baton_kv_transfer_id transfer_ = drawn_transfer();
  baton_kv_receive_options request_{};
};

// A reason in any bytes and of any length: the reader still learns the producer's code.
TEST_F(TwoNodes, AReasonThatIsNoUtf8OrTooLongComesWhole) {
  offer(1);
  receive();
  ASSERT_EQ(next_event(consumer_.get()).kind, BATON_KV_EVENT_BLOCK);
  std::string reason = "\xff ";
  for (int i = 0; i < 300; ++i) reason += "\xc3\xa9";
  ASSERT_OK(baton_kv_lease_abort(producer_.get(), transfer_, BATON_KV_UNAVAILABLE, reason.c_str()));
  const baton_kv_event event = end();
  EXPECT_EQ(event.status, BATON_KV_UNAVAILABLE);
  EXPECT_THAT(event.message, testing::StartsWith("? \xc3\xa9"));
}

TEST_F(TwoNodes, AnAbortTellsTheReaderWhy) {
  offer(1);
  receive();
  ASSERT_EQ(next_event(consumer_.get()).kind, BATON_KV_EVENT_BLOCK);
  ASSERT_OK(baton_kv_lease_abort(producer_.get(), transfer_, BATON_KV_UNAVAILABLE, "out of luck"));
  const baton_kv_event event = end();
  EXPECT_EQ(event.status, BATON_KV_UNAVAILABLE);
  EXPECT_THAT(event.message, testing::StartsWith("out of luck (transfer "));
  EXPECT_NE(event.retryable, 0u);
  const baton_kv_event lease = next_event(producer_.get());
  EXPECT_EQ(lease.kind, BATON_KV_EVENT_LEASE_END);
  EXPECT_EQ(lease.status, BATON_KV_UNAVAILABLE);
  EXPECT_STREQ(lease.message, "out of luck");
}

TEST_F(TwoNodes, CancelEndsOnceAndIsHarmlessAfterwards) {
  offer(1);
  const std::uint64_t number = receive();
  ASSERT_EQ(next_event(consumer_.get()).kind, BATON_KV_EVENT_BLOCK);
  ASSERT_OK(baton_kv_cancel(consumer_.get(), number));
  EXPECT_EQ(end().status, BATON_KV_CANCELLED);
  EXPECT_OK(baton_kv_cancel(consumer_.get(), number));
  EXPECT_REFUSED(baton_kv_cancel(consumer_.get(), number + 1), BATON_KV_INVALID_ARGUMENT,
                 "no receive of this node");
  EXPECT_EQ(next_event(consumer_.get(), 0).kind, 0);
}

TEST_F(TwoNodes, BlocksThatAreHeldAreNotFetched) {
  offer(2);
  ASSERT_OK(baton_kv_lease_seal(producer_.get(), transfer_));
  request_.from_token = 64;
  receive();
  EXPECT_EQ(next_event(consumer_.get()).block.first_token, 64);
  const baton_kv_event event = end();
  EXPECT_EQ(event.status, BATON_KV_OK) << event.message;
  EXPECT_EQ(event.blocks, 1u);
  EXPECT_EQ(event.held_blocks, 1u);
}

TEST_F(TwoNodes, SlicesLandPacked) {
  ASSERT_OK(baton_kv_lease_open(producer_.get(), transfer_, nullptr));
  const baton_kv_slot slot = allocated(producer_.get());
  unsigned char* bytes = bytes_of(producer_.get(), slot);
  for (std::uint32_t i = 0; i < kSlotBytes; ++i) bytes[i] = static_cast<unsigned char>(i / 100);
  baton_kv_block block{};
  ASSERT_OK(baton_kv_describe_block(producer_.get(), slot, kSlotBytes, 0, 64, &block));
  ASSERT_OK(baton_kv_lease_publish(producer_.get(), transfer_, &block, 1));
  ASSERT_OK(baton_kv_lease_seal(producer_.get(), transfer_));
  const baton_kv_slice slices[] = {{100, 100, 200, 3}, {0, 50, 0, 1}};
  request_.slices = slices;
  request_.slice_count = 2;
  request_.priority = 1;
  receive();
  const baton_kv_event event = next_event(consumer_.get());
  ASSERT_EQ(event.kind, BATON_KV_EVENT_BLOCK) << event.message;
  ASSERT_EQ(event.block.bytes, 350u);
  const unsigned char* got = bytes_of(consumer_.get(), event.block.slot);
  const unsigned char wanted[] = {1, 3, 5, 0};
  for (std::uint32_t i = 0; i < 350; ++i) ASSERT_EQ(got[i], wanted[i / 100]) << i;
  EXPECT_EQ(end().status, BATON_KV_OK);
}

TEST_F(TwoNodes, AShortageIsToldAndTheRestComesWhenSlotsAreFreed) {
  offer(5);  // the consumer has two slots
  ASSERT_OK(baton_kv_lease_seal(producer_.get(), transfer_));
  receive();
  int blocks = 0, shortages = 0;
  std::vector<baton_kv_slot> held;
  baton_kv_event event{};
  while (event.kind != BATON_KV_EVENT_RECEIVE_END) {
    event = next_event(consumer_.get());
    ASSERT_NE(event.kind, 0);
    if (event.kind == BATON_KV_EVENT_BLOCK) {
      ++blocks;
      held.push_back(event.block.slot);
    } else if (event.kind == BATON_KV_EVENT_SHORTAGE) {
      ++shortages;
      EXPECT_GT(event.slots, 0u);
      for (const baton_kv_slot slot : held) {
        EXPECT_OK(baton_kv_slot_unpin(consumer_.get(), slot));
        EXPECT_OK(baton_kv_slot_free(consumer_.get(), slot));
      }
      held.clear();
    }
  }
  EXPECT_EQ(event.status, BATON_KV_OK) << event.message;
  EXPECT_EQ(blocks, 5);
  EXPECT_GT(shortages, 0);
}

TEST_F(TwoNodes, AnotherEpochLayoutOrEngineIsRefused) {
  request_.epoch ^= 1;
  receive();
  EXPECT_EQ(end().status, BATON_KV_STALE);
  request_.epoch ^= 1;
  request_.engine_id = "somebody";
  receive();
  EXPECT_EQ(end().status, BATON_KV_STALE);
  auto options = node_options("stranger");
  options.layout_hash = 8;
  consumer_ = started(options);
  request_.engine_id = "producer";
  receive();
  const baton_kv_event event = end();
  EXPECT_EQ(event.status, BATON_KV_UNSUPPORTED);
  EXPECT_NE(std::string(event.message).find("layout"), std::string::npos) << event.message;
}

TEST_F(TwoNodes, TheDescriptorIsReadableWhileThereAreEvents) {
  int fd = -1;
  ASSERT_OK(baton_kv_event_fd(consumer_.get(), &fd));
  pollfd readable{fd, POLLIN, 0};
  EXPECT_EQ(::poll(&readable, 1, 0), 0);
  offer(2);
  ASSERT_OK(baton_kv_lease_seal(producer_.get(), transfer_));
  receive();
  bool ended = false;
  while (!ended) {
    ASSERT_EQ(::poll(&readable, 1, kLimitMs), 1);
    for (auto event = next_event(consumer_.get(), 0); event.kind != 0;
         event = next_event(consumer_.get(), 0)) {
      ended = ended || event.kind == BATON_KV_EVENT_RECEIVE_END;
    }
  }
  EXPECT_EQ(::poll(&readable, 1, 0), 0);
}

TEST_F(TwoNodes, AStopEndsWhatRunsAndWakesWhoWaits) {
  receive();  // of a lease that is never opened
  baton_kv_status last = BATON_KV_OK;
  bool cancelled = false;
  std::thread waiter([&] {
    auto event = zeroed<baton_kv_event>();
    while ((last = baton_kv_next_event(consumer_.get(), &event, -1)) == BATON_KV_OK) {
      cancelled = cancelled || event.status == BATON_KV_CANCELLED;
    }
  });
  EXPECT_OK(baton_kv_node_stop(consumer_.get()));
  waiter.join();
  EXPECT_EQ(last, BATON_KV_STOPPED);
  EXPECT_TRUE(cancelled);
  EXPECT_OK(baton_kv_node_stop(consumer_.get()));
  std::uint64_t number = 0;
  EXPECT_REFUSED(baton_kv_receive(consumer_.get(), &request_, &number), BATON_KV_STOPPED,
                 "was stopped");
  baton_kv_slot slot{};
  EXPECT_REFUSED(baton_kv_slot_allocate(consumer_.get(), &slot), BATON_KV_STOPPED, "was stopped");
  const char* address = nullptr;
  EXPECT_OK(baton_kv_node_address(consumer_.get(), &address, nullptr));
  EXPECT_NE(std::string(address).find("127.0.0.1:"), std::string::npos);
}

TEST_F(TwoNodes, ThreadsShareANode) {
  // Slots are taken and given back by several threads while a receive runs and events are taken.
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this] {
      for (int i = 0; i < 500; ++i) {
        baton_kv_slot slot{};
        if (baton_kv_slot_allocate(producer_.get(), &slot) != BATON_KV_OK) continue;
        EXPECT_OK(baton_kv_slot_pin(producer_.get(), slot));
        EXPECT_OK(baton_kv_slot_free(producer_.get(), slot));
        EXPECT_OK(baton_kv_slot_unpin(producer_.get(), slot));
        EXPECT_EQ(baton_kv_slot_unpin(producer_.get(), slot), BATON_KV_STALE);
      }
    });
  }
  offer(2);
  ASSERT_OK(baton_kv_lease_seal(producer_.get(), transfer_));
  receive();
  EXPECT_EQ(end().status, BATON_KV_OK);
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
