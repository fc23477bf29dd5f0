// One of the two processes of a transfer is killed, in every state of it, and comes back as another
// one at the same address. The other one goes on, with all that it had given out back again.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <iostream>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "tests/unit/kv_faults/states.h"
#include "tests/unit/kv_transfer/child.h"
#include "tests/unit/kv_transfer/node_fixture.h"
#include "tests/unit/kv_transfer/pod.h"

namespace baton::kv {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::AnyOf;
using testing::HasSubstr;

constexpr auto kLimit = seconds(5);    // of a receive()
constexpr auto kBeyond = seconds(10);  // its end is late after that, on cores that are not ours
// Of this process with its six survivors. Sanitizers keep what was freed for a while.
constexpr int kMostGrowth_kib = (is_sanitized() ? 1024 : 48) * 1024;
constexpr int kTimes = is_sanitized() ? 1 : 4;  // in each of five states

// A survivor in this process and the other one, over one transport.
class Killing {
 public:
  Killing(std::string transport, bool kills_producer, int which, std::uint64_t seed)
      : transport_(std::move(transport)),
        kills_producer_(kills_producer),
        random_(seed + static_cast<std::uint64_t>(which)) {
    here_ = Pod::start(settings(kills_producer ? "consumer" : "producer"));
    start_there(own_address());
  }

  void once_in_each_state() {
    SCOPED_TRACE(transport_ + (kills_producer_ ? ", producer" : ", consumer") + " killed");
    ASSERT_TRUE(here_ != nullptr);
    for (const At at : kStates) {
      if (testing::Test::HasFailure()) return;
      SCOPED_TRACE("in state " + name_of(at));
      if (kills_producer_) {
        kill_a_producer(*here_, at);
        receive_from_child(*here_);
      } else {
        kill_a_consumer(*here_, at);
        send_to_child(*here_);
      }
    }
    EXPECT_TRUE(here_->becomes_idle()) << here_->counts().str();
  }
  [[nodiscard]] PodCounts counts() { return here_->counts(); }

 private:
  std::vector<std::string> settings(const std::string& engine) const {
    std::vector<std::string> all = room_for(At::kUnderWay);
    all.insert(all.end(), {"engine=" + engine, "transports=" + transport_, "ttl_ms=200"});
    if (engine == "producer") all.emplace_back("heartbeat_ms=100");
    return all;
  }
  void start_there(const std::string& listen) {
    auto all = settings(kills_producer_ ? "producer" : "consumer");
    all.insert(all.begin(), "serve");
    all.push_back("listen=" + listen);
    all.push_back("epoch=" + std::to_string(++epoch_));
    child_ = std::make_unique<Child>(all);
    address_ = child_->line();
    ASSERT_FALSE(address_.empty());
  }
  void wait_a_little() { std::this_thread::sleep_for(milliseconds(random_() % 20)); }

  // A whole transfer from the child, and one to it.
  void receive_from_child(Pod& here) {
    const auto number = ++number_;
    const auto checker = here.receive(number, {address_, epoch_}, seconds(20));
    child_->say(fmt::format("open {}", number));
    child_->say(fmt::format("publish {} 0 8 50000", number));
    ASSERT_TRUE(checker->wait_for_block());
    child_->say(fmt::format("seal {}", number));
    const auto result = checker->wait_for_end();
    ASSERT_TRUE(result.has_value()) << result.error().message;
    EXPECT_EQ(checker->blocks(), 8);
    EXPECT_EQ(checker->wrong(), 0);
  }
  void send_to_child(Pod& here) {
    const auto number = ++number_;
    here.open(number);
    child_->say(fmt::format("receive {} {} {} 20000", number, here.address(), kTestEpoch));
    ASSERT_TRUE(here.publish(number, 0, 8, 50000));
    ASSERT_EQ(child_->line_that_starts("first "), fmt::format("first {}", number));
    here.seal(number);
    EXPECT_EQ(child_->line_that_starts("end "), fmt::format("end {} ok 8 0 ", number));
  }

  void kill_a_producer(Pod& here, At at) {
    const auto number = ++number_;
    std::shared_ptr<Checker> checker;
    TimePoint begun;
    const bool is_there =
        bring_to(at, number,
                 {.produce = [&](const std::string& command) { child_->say(command); },
                  .receive =
                      [&] {
                        begun = Clock::now();
                        checker = here.receive(number, {address_, epoch_}, kLimit);
                      },
                  .has_first_block = [&] { return checker->wait_for_block(); },
                  .has_ended = [&] { return checker->wait_for_end().has_value(); }});
    ASSERT_TRUE(is_there);
    if (at != At::kEnding) wait_a_little();
    child_->kill();
    const auto result = checker->wait_for_end();
    EXPECT_LT(Clock::now() - begun, kLimit + kBeyond);
    EXPECT_EQ(checker->wrong(), 0);
    if (!result) {
      // kUnsupported: between the handshake and shared memory, which looks like another host then.
      EXPECT_THAT(result.error().code, AnyOf(ErrorCode::kUnavailable, ErrorCode::kStale,
                                             ErrorCode::kTimeout, ErrorCode::kUnsupported));
      EXPECT_THAT(result.error().message, HasSubstr(address_));
      EXPECT_THAT(result.error().message, HasSubstr(transfer_of(number).str()));
    }
    if (at != At::kUnderWay) {
      EXPECT_EQ(result.has_value(), at == At::kEnding);
    }
    EXPECT_TRUE(here.becomes_idle()) << here.counts().str();
    start_there(address_);
  }

  void kill_a_consumer(Pod& here, At at) {
    const auto number = ++number_;
    ASSERT_TRUE(
        bring_to(at, number,
                 {.produce = [&](const std::string& command) { here.obey(command); },
                  .receive =
                      [&] {
                        child_->say(fmt::format("receive {} {} {} 5000", number, here.address(),
                                                kTestEpoch));
                      },
                  .has_first_block = [&] { return !child_->line_that_starts("first ").empty(); },
                  .has_ended = [&] { return !child_->line_that_starts("end ").empty(); }}));
    if (at != At::kEnding) wait_a_little();
    child_->kill();
    // Prefill ends one way or the other.
    if (at < At::kUnderWay && random_() % 2 == 0) here.abort(number);
    if (at == At::kBeforeFirstBlock || at == At::kAfterFirstBlock) here.seal(number);
    EXPECT_TRUE(here.becomes_idle()) << here.counts().str();
    start_there(address_);
  }

  const std::string transport_;
  const bool kills_producer_;
  std::mt19937_64 random_;
  std::unique_ptr<Pod> here_;
  std::uint64_t number_ = 0;
  std::uint64_t epoch_ = 100;
  std::unique_ptr<Child> child_;
  std::string address_;
};

// All at a time, since most of it is waiting.
TEST(KilledPeer, ComesBackAgainAndAgain) {
  const std::uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << std::endl;
  std::vector<std::unique_ptr<Killing>> all;
  for (const char* transport : {"shm", "tcp", "ucx"}) {
    for (const bool producer : {true, false}) {
      all.push_back(
          std::make_unique<Killing>(transport, producer, static_cast<int>(all.size()), seed));
    }
  }
  const auto kill_often = [&all](int times) {
    std::vector<std::jthread> threads;
    for (const auto& killing : all) {
      threads.emplace_back([&killing, times] {
        for (int i = 0; i < times && !testing::Test::HasFailure(); ++i) {
          killing->once_in_each_state();
        }
      });
    }
  };
  kill_often(1);  // what is made once is there then
  const PodCounts before = all.front()->counts();
  kill_often(kTimes);
  // What the survivors have open stays as it was, however often the others go.
  EXPECT_TRUE(eventually([&] { return all.front()->counts().fds <= before.fds; }))
      << before.fds << " descriptors before, now " << all.front()->counts().fds;
  EXPECT_LT(all.front()->counts().rss_kib, before.rss_kib + kMostGrowth_kib);
}

}  // namespace
}  // namespace baton::kv
