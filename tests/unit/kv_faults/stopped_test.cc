// One of the two processes of a transfer is stopped, in every state of it, and goes on later, when
// the other one has given it up and used its memory for something else. BATON_STOP_SECONDS makes
// the stop longer.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>

#include <cstdlib>
#include <memory>
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

constexpr auto kStoppedLimit = seconds(6);  // of a receive(), and more than three heartbeats
constexpr auto kStoppedBeyond =
    seconds(10);  // its end is late after that, on cores that are not ours

Duration stop_time() {
  const char* text = std::getenv("BATON_STOP_SECONDS");
  return seconds(text == nullptr ? 2 : std::strtol(text, nullptr, 10));
}

struct Stopping {
  const std::string transport;
  const At at;

  [[nodiscard]] std::vector<std::string> settings(const std::string& engine) const {
    auto all = room_for(at);
    all.insert(all.end(),
               {"engine=" + engine, "transports=" + transport, "ttl_ms=500", "heartbeat_ms=500"});
    return all;
  }
  [[nodiscard]] std::unique_ptr<Child> start_child(const std::string& engine) const {
    auto all = settings(engine);
    all.insert(all.begin(), "serve");
    return std::make_unique<Child>(all);
  }
  static bool child_becomes_idle(Child& child) {
    return eventually([&] {
      child.say("counts");
      const std::string line = child.line_that_starts("counts ");
      return !line.empty() && PodCounts::parse(line).is_idle();
    });
  }

  void stop_a_producer() const {
    SCOPED_TRACE(transport + ", producer stopped in state " + name_of(at));
    const auto here = Pod::start(settings("consumer"));
    const auto child = start_child("producer");
    const From from{child->line(), kTestEpoch};
    std::shared_ptr<Checker> checker;
    TimePoint begun;
    ASSERT_TRUE(bring_to(at, 1,
                         {.produce = [&](const std::string& command) { child->say(command); },
                          .receive =
                              [&] {
                                begun = Clock::now();
                                checker = here->receive(1, from, kStoppedLimit);
                              },
                          .has_first_block = [&] { return checker->wait_for_block(); },
                          .has_ended = [&] { return checker->wait_for_end().has_value(); }}));
    child->signal(SIGSTOP);
    const TimePoint stopped = Clock::now();
    const auto result = checker->wait_for_end();
    EXPECT_LT(Clock::now() - begun, kStoppedLimit + kStoppedBeyond);
    if (at < At::kUnderWay) {
      EXPECT_FALSE(result.has_value());
    }
    if (!result) {
      EXPECT_THAT(result.error().code, AnyOf(ErrorCode::kUnavailable, ErrorCode::kTimeout));
      EXPECT_THAT(result.error().message, HasSubstr(from.address));
      EXPECT_THAT(result.error().message, HasSubstr(transfer_of(1).str()));
    }
    // Nothing waits for the stopped one, and what it sends later goes nowhere.
    EXPECT_TRUE(here->becomes_idle()) << here->counts().str();
    const auto reused = here->scribble();
    std::this_thread::sleep_until(stopped + stop_time());
    child->signal(SIGCONT);
    child->say("abort 1");
    EXPECT_TRUE(child_becomes_idle(*child));
    EXPECT_TRUE(here->is_untouched(reused));
    EXPECT_EQ(checker->wrong(), 0);

    const auto next = here->receive(2, from, seconds(20));
    child->say("open 2");
    child->say("publish 2 0 8 50000");
    EXPECT_TRUE(next->wait_for_block());
    child->say("seal 2");
    const auto next_result = next->wait_for_end();
    EXPECT_TRUE(next_result.has_value()) << next_result.error().message;
    EXPECT_EQ(next->blocks(), 8);
    EXPECT_EQ(next->wrong(), 0);
    EXPECT_TRUE(here->becomes_idle());
  }

  void stop_a_consumer() const {
    SCOPED_TRACE(transport + ", consumer stopped in state " + name_of(at));
    const auto here = Pod::start(settings("producer"));
    const auto child = start_child("consumer");
    ASSERT_FALSE(child->line().empty());
    const auto receive = [&](int number) {
      child->say(fmt::format("receive {} {} {} 60000", number, here->address(), kTestEpoch));
    };
    std::string end;
    ASSERT_TRUE(
        bring_to(at, 1,
                 {.produce = [&](const std::string& command) { here->obey(command); },
                  .receive = [&] { receive(1); },
                  .has_first_block = [&] { return !child->line_that_starts("first ").empty(); },
                  .has_ended = [&] { return !(end = child->line_that_starts("end ")).empty(); }}));
    child->signal(SIGSTOP);
    const TimePoint stopped = Clock::now();
    if (at < At::kUnderWay) here->open(1);
    here->seal(1);
    // The lease ends without the stopped one, and its memory is used again.
    EXPECT_TRUE(here->becomes_idle()) << here->counts().str();
    EXPECT_TRUE(here->is_untouched(here->scribble()));
    std::this_thread::sleep_until(stopped + stop_time());
    child->signal(SIGCONT);
    if (end.empty()) end = child->line_that_starts("end ");
    // Whatever had arrived before: each block is right, or there is none.
    EXPECT_THAT(end, testing::MatchesRegex("end 1 (ok|unavailable|stale|timeout) [0-9]+ 0 .*"));
    EXPECT_TRUE(child_becomes_idle(*child));

    here->obey("open 2");
    receive(2);
    here->obey("publish 2 0 8 50000");
    EXPECT_EQ(child->line_that_starts("first "), "first 2");
    here->seal(2);
    EXPECT_EQ(child->line_that_starts("end "), "end 2 ok 8 0 ");
    EXPECT_TRUE(here->becomes_idle()) << here->counts().str();
  }
};

// All at a time, since most of it is waiting.
TEST(StoppedPeer, DoesNoHarmAndTakesPartAgain) {
  std::vector<std::jthread> all;
  for (const char* transport : {"shm", "tcp", "ucx"}) {
    for (const At at : kStates) {
      all.emplace_back([=] { Stopping{transport, at}.stop_a_producer(); });
      all.emplace_back([=] { Stopping{transport, at}.stop_a_consumer(); });
    }
  }
}

}  // namespace
}  // namespace baton::kv
