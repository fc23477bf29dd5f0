#include "core/picking/busy_time.h"

#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "core/picking/pod_load.h"

namespace baton {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

TimePoint at(milliseconds since) { return TimePoint{} + std::chrono::hours(5) + since; }

microseconds busy(const BusyTime& time, BusyTime::Reading since, milliseconds until) {
  return BusyTime::passed_between(since, time.read(at(until)));
}

TEST(BusyTime, CountsIntervalsThatOverlapOnce) {
  BusyTime time;
  const auto start = time.read(at(milliseconds(0)));
  EXPECT_EQ(busy(time, start, milliseconds(1000)), microseconds(0));
  time.begin(at(milliseconds(1000)));
  time.begin(at(milliseconds(1200)));
  time.end(at(milliseconds(1300)));
  EXPECT_EQ(busy(time, start, milliseconds(1400)), milliseconds(400)) << "while it goes on";
  time.end(at(milliseconds(1500)));
  EXPECT_EQ(busy(time, start, milliseconds(9000)), milliseconds(500));
  time.begin(at(milliseconds(9000)));
  time.end(at(milliseconds(9001)));
  EXPECT_EQ(busy(time, start, milliseconds(9001)), milliseconds(501));
}

TEST(BusyTime, TellsTimeBetweenReadingsInTheMiddleOfAnInterval) {
  BusyTime time;
  time.begin(at(milliseconds(0)));
  const auto middle = time.read(at(milliseconds(70)));
  EXPECT_EQ(busy(time, middle, milliseconds(100)), milliseconds(30));
}

TEST(BusyTime, OfAClockThatWentBackIsNothing) {
  BusyTime time;
  time.begin(at(milliseconds(100)));
  const auto later = time.read(at(milliseconds(200)));
  EXPECT_EQ(busy(time, later, milliseconds(150)), microseconds(0));
}

TEST(BusyTimeConcurrent, SettlesWhateverTheThreadsDid) {
  BusyTime time;
  const auto start = time.read(at(milliseconds(0)));
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&time] {
      for (int i = 0; i < 20000; ++i) {
        time.begin(at(milliseconds(10)));
        time.end(at(milliseconds(10)));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(busy(time, start, milliseconds(1000)), microseconds(0));
}

TEST(LoadTicket, KeepsItsPodBusyUntilThePromptIsComputed) {
  PodLoad load;
  const auto start = load.prompt_time.read(at(milliseconds(0)));
  LoadTicket prefill = LoadTicket::for_prefill(load, Tokens(5), Tokens(0), at(milliseconds(0)));
  LoadTicket whole =
      LoadTicket::for_decode_only(load, Tokens(5), Tokens(9), Tokens(0), at(milliseconds(10)));
  LoadTicket decode = LoadTicket::for_decode(load, Tokens(9));
  prefill.finish(at(milliseconds(20)));
  LoadTicket moved = std::move(whole);
  moved.prefill_done(at(milliseconds(30)));
  moved.prefill_done(at(milliseconds(50)));
  EXPECT_EQ(busy(load.prompt_time, start, milliseconds(100)), milliseconds(30));
  moved.finish(at(milliseconds(200)));
  decode.prefill_done(at(milliseconds(200)));
  EXPECT_EQ(busy(load.prompt_time, start, milliseconds(300)), milliseconds(30));
}

}  // namespace
}  // namespace baton
