#include "orchestrator/bench/generator/send_queue.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace baton::orchestrator::bench {
namespace {

using namespace std::chrono_literals;

class Links final : public Workload {
 public:
  [[nodiscard]] std::optional<std::size_t> size() const override { return std::nullopt; }
  [[nodiscard]] Result<WorkloadRequest> request(std::size_t /*index*/) override { return {}; }
  [[nodiscard]] std::optional<std::pair<std::size_t, Duration>> follows(
      std::size_t index) override {
    const auto found = links.find(index);
    if (found == links.end()) return std::nullopt;
    return found->second;
  }
  [[nodiscard]] std::string describe() const override { return "links"; }
  std::map<std::size_t, std::pair<std::size_t, Duration>> links;
};

// "0@5" for request 0 due at 5 ms, "-" for none.
std::string take(SendQueue& queue, Duration now) {
  const auto next = queue.take(now);
  if (!next) return "-";
  return std::to_string(next->index) + "@" + std::to_string(next->due / 1ms);
}

TEST(SendQueue, AnOpenLoopWaitsForNothingButTime) {
  Links workload;
  SendQueue queue(
      workload,
      {.schedule = {0ms, 10ms, 10ms, 30ms}, .in_flight = 0, .total = {}, .stop_after = {}});
  EXPECT_EQ(take(queue, 0ms), "0@0");
  EXPECT_EQ(take(queue, 0ms), "-");
  EXPECT_EQ(queue.next_due(0ms), 10ms);
  EXPECT_EQ(queue.upcoming(), 1u);
  EXPECT_EQ(take(queue, 12ms), "1@10");
  EXPECT_EQ(take(queue, 12ms), "2@10");
  EXPECT_EQ(take(queue, 12ms), "-");
  EXPECT_FALSE(queue.exhausted(12ms));
  EXPECT_EQ(take(queue, 30ms), "3@30");
  EXPECT_TRUE(queue.exhausted(30ms));
  EXPECT_EQ(queue.next_due(30ms), std::nullopt);
  EXPECT_EQ(queue.in_flight(), 4u);
}

TEST(SendQueue, ALimitMakesRequestsWaitAndKeepsTheirTimes) {
  Links workload;
  SendQueue queue(workload,
                  {.schedule = {0ms, 1ms, 2ms}, .in_flight = 1, .total = {}, .stop_after = {}});
  EXPECT_EQ(take(queue, 0ms), "0@0");
  EXPECT_EQ(take(queue, 5ms), "-");
  EXPECT_EQ(queue.next_due(5ms), std::nullopt);
  queue.ended(0, 50ms);
  EXPECT_EQ(queue.next_due(50ms), 1ms);
  EXPECT_EQ(take(queue, 50ms), "1@1");
  EXPECT_EQ(take(queue, 50ms), "-");
}

TEST(SendQueue, AClosedLoopFillsItsPlaces) {
  Links workload;
  SendQueue queue(workload, {.schedule = {}, .in_flight = 2, .total = 3, .stop_after = {}});
  EXPECT_EQ(take(queue, 0ms), "0@0");
  EXPECT_EQ(take(queue, 0ms), "1@0");
  EXPECT_EQ(take(queue, 0ms), "-");
  queue.ended(1, 7ms);
  EXPECT_EQ(take(queue, 7ms), "2@7");
  queue.ended(0, 8ms);
  EXPECT_EQ(take(queue, 8ms), "-");
  EXPECT_TRUE(queue.exhausted(8ms));
}

TEST(SendQueue, ATurnFollowsTheAnswerToTheOneBefore) {
  Links workload;
  workload.links[1] = {0, 5ms};
  SendQueue queue(workload,
                  {.schedule = {0ms, 10ms, 12ms}, .in_flight = 0, .total = {}, .stop_after = {}});
  EXPECT_EQ(take(queue, 0ms), "0@0");
  EXPECT_EQ(queue.upcoming(), std::nullopt);  // it may not be built yet
  EXPECT_EQ(take(queue, 11ms), "-");
  EXPECT_EQ(take(queue, 12ms), "2@12");
  EXPECT_FALSE(queue.exhausted(12ms));
  queue.ended(0, 20ms);
  EXPECT_EQ(take(queue, 20ms), "-");
  EXPECT_EQ(queue.next_due(20ms), 25ms);
  EXPECT_EQ(take(queue, 25ms), "1@25");
  EXPECT_TRUE(queue.exhausted(25ms));
}

TEST(SendQueue, ATurnAnsweredInTimeKeepsItsTime) {
  Links workload;
  workload.links[1] = {0, 2ms};
  workload.links[2] = {0, 30ms};
  SendQueue queue(workload,
                  {.schedule = {0ms, 10ms, 11ms}, .in_flight = 0, .total = {}, .stop_after = {}});
  EXPECT_EQ(take(queue, 0ms), "0@0");
  queue.ended(0, 3ms);
  EXPECT_EQ(take(queue, 9ms), "-");
  EXPECT_EQ(take(queue, 11ms), "1@10");
  EXPECT_EQ(take(queue, 11ms), "-");
  EXPECT_EQ(queue.next_due(11ms), 33ms);
  EXPECT_EQ(take(queue, 33ms), "2@33");
}

TEST(SendQueue, AClosedLoopTakesAnotherWhileATurnRests) {
  Links workload;
  workload.links[1] = {0, 5ms};
  SendQueue queue(workload, {.schedule = {}, .in_flight = 1, .total = 3, .stop_after = {}});
  EXPECT_EQ(take(queue, 0ms), "0@0");
  queue.ended(0, 10ms);
  EXPECT_EQ(take(queue, 10ms), "2@10");
  queue.ended(2, 12ms);
  EXPECT_EQ(take(queue, 12ms), "-");
  EXPECT_EQ(queue.next_due(12ms), 15ms);
  EXPECT_FALSE(queue.exhausted(12ms));
  EXPECT_EQ(take(queue, 15ms), "1@15");
  queue.ended(1, 16ms);
  EXPECT_TRUE(queue.exhausted(16ms));
}

TEST(SendQueue, ATurnWhosePredecessorIsNeverSentIsNoneLeft) {
  Links workload;
  workload.links[0] = {9, 0ms};
  SendQueue queue(workload, {.schedule = {}, .in_flight = 1, .total = 1, .stop_after = {}});
  EXPECT_EQ(take(queue, 0ms), "-");
  EXPECT_TRUE(queue.exhausted(0ms));
}

TEST(SendQueue, NothingIsSentAfterTheEnd) {
  Links workload;
  SendQueue open(
      workload, {.schedule = {0ms, 90ms, 100ms}, .in_flight = 0, .total = {}, .stop_after = 100ms});
  EXPECT_EQ(take(open, 0ms), "0@0");
  EXPECT_EQ(take(open, 101ms), "1@90");
  EXPECT_EQ(take(open, 101ms), "-");
  EXPECT_TRUE(open.exhausted(101ms));

  SendQueue closed(workload, {.schedule = {}, .in_flight = 1, .total = {}, .stop_after = 100ms});
  EXPECT_EQ(take(closed, 0ms), "0@0");
  closed.ended(0, 100ms);
  EXPECT_EQ(take(closed, 100ms), "-");
  EXPECT_TRUE(closed.exhausted(100ms));
}

TEST(SendQueue, StopEndsIt) {
  Links workload;
  SendQueue queue(workload, {.schedule = {}, .in_flight = 4, .total = {}, .stop_after = {}});
  EXPECT_EQ(take(queue, 0ms), "0@0");
  queue.stop();
  EXPECT_EQ(take(queue, 0ms), "-");
  EXPECT_TRUE(queue.exhausted(0ms));
}

// Whatever the workload's links and the answers' times: each request is sent once, never before its
// time or its predecessor's end and pause, never more at once than allowed.
TEST(SendQueue, KeepsItsRulesWithRandomSessions) {
  for (std::uint64_t seed = 0; seed < 200; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937_64 random(seed);
    constexpr std::size_t kCount = 60;
    Links workload;
    SendRules rules;
    rules.in_flight = 1 + random() % 8;
    rules.total = kCount;
    Duration at{};
    const bool open = random() % 2 == 0;
    for (std::size_t i = 0; i < kCount; ++i) {
      if (open) rules.schedule.push_back(at += std::chrono::milliseconds(random() % 10));
      if (i > 0 && random() % 2 == 0) {
        workload.links[i] = {random() % i, std::chrono::milliseconds(random() % 20)};
      }
    }
    const std::vector<Duration> schedule = rules.schedule;
    const std::size_t limit = rules.in_flight;
    SendQueue queue(workload, std::move(rules));
    std::map<std::size_t, Duration> ended;
    std::multimap<Duration, std::size_t> flying;
    std::vector<int> sent(kCount);
    for (Duration now{}; !queue.exhausted(now) || !flying.empty(); now += 1ms) {
      ASSERT_LT(now, 100s);
      while (!flying.empty() && flying.begin()->first <= now) {
        const std::size_t index = flying.begin()->second;
        flying.erase(flying.begin());
        queue.ended(index, now);
        ended[index] = now;
      }
      while (const auto next = queue.take(now)) {
        ++sent[next->index];
        EXPECT_LE(next->due, now);
        if (open) EXPECT_GE(next->due, schedule[next->index]);
        if (const auto link = workload.follows(next->index)) {
          ASSERT_TRUE(ended.contains(link->first));
          EXPECT_GE(now, ended[link->first] + link->second);
        }
        flying.emplace(now + std::chrono::milliseconds(1 + random() % 30), next->index);
        EXPECT_LE(flying.size(), limit);
      }
      EXPECT_EQ(queue.in_flight(), flying.size());
      if (const auto due = queue.next_due(now)) EXPECT_GT(*due, now);
    }
    EXPECT_EQ(sent, std::vector<int>(kCount, 1));
  }
}

}  // namespace
}  // namespace baton::orchestrator::bench
