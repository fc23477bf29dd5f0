#include "adapters/kv_events/event_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

namespace baton::adapters {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using Kind = StreamStep::Kind;

const TimePoint kStart = TimePoint{} + std::chrono::hours(1);

// The steps as short words, as "apply a", "ask 3", "replay filled".
std::vector<std::string> words(const StreamSteps& steps) {
  std::vector<std::string> all;
  for (const StreamStep& step : steps) {
    switch (step.kind) {
      case Kind::kApply: all.push_back("apply " + step.payload); break;
      case Kind::kReset: all.emplace_back("reset"); break;
      case Kind::kConfirm: all.emplace_back("confirm"); break;
      case Kind::kAskReplay: all.push_back("ask " + std::to_string(step.sequence)); break;
      case Kind::kReplayEnded:
        all.emplace_back(step.replay == ReplayEnd::kFilled  ? "filled"
                         : step.replay == ReplayEnd::kShort ? "short"
                                                            : "failed");
        break;
      case Kind::kGap: all.emplace_back("gap"); break;
    }
  }
  return all;
}

class WithReplay : public testing::Test {
 protected:
  std::vector<std::string> live(std::uint64_t sequence, std::string payload) {
    return words(stream_.on_live(sequence, std::move(payload), now_));
  }
  std::vector<std::string> replayed(std::uint64_t sequence, std::string payload) {
    return words(stream_.on_replayed(sequence, std::move(payload), now_));
  }
  std::vector<std::string> replay_end() { return words(stream_.on_replay_end(now_)); }
  void begin_with_one() {
    EXPECT_THAT(words(stream_.begin(now_)), ElementsAre("ask 0"));
    EXPECT_THAT(replayed(0, "a"), ElementsAre("apply a"));
    EXPECT_THAT(replay_end(), ElementsAre("filled"));
  }

  EventStream stream_{true};
  TimePoint now_ = kStart;
};

TEST_F(WithReplay, BeginsWithWhatThePublisherStillHas) {
  EXPECT_THAT(words(stream_.begin(now_)), ElementsAre("ask 0"));
  EXPECT_THAT(live(6, "g"), IsEmpty());
  EXPECT_THAT(replayed(4, "e"),
              ElementsAre("apply e"));  // older ones are gone, and were never here
  EXPECT_THAT(replayed(5, "f"), ElementsAre("apply f"));
  EXPECT_THAT(replayed(6, "g"), ElementsAre("apply g"));
  EXPECT_THAT(replay_end(), ElementsAre("short"));
  EXPECT_THAT(live(7, "h"), ElementsAre("apply h"));
}

TEST_F(WithReplay, FillsAGap) {
  begin_with_one();
  EXPECT_THAT(live(1, "b"), ElementsAre("apply b"));
  EXPECT_THAT(live(4, "e"), ElementsAre("gap", "ask 2"));
  EXPECT_THAT(live(5, "f"), IsEmpty());
  EXPECT_THAT(replayed(2, "c"), ElementsAre("apply c"));
  EXPECT_THAT(replayed(3, "d"), ElementsAre("apply d"));
  EXPECT_THAT(replayed(4, "e"), ElementsAre("apply e"));
  EXPECT_THAT(replay_end(), ElementsAre("filled", "apply f"));
}

TEST_F(WithReplay, WhatAReplayBroughtMayComeLiveAfterIt) {
  begin_with_one();
  EXPECT_THAT(live(2, "c"), ElementsAre("gap", "ask 1"));
  for (const auto* const payload : {"b", "c", "d"}) {
    EXPECT_EQ(replayed(static_cast<std::uint64_t>(payload[0] - 'a'), payload).size(), 1U);
  }
  EXPECT_THAT(replay_end(), ElementsAre("filled"));
  EXPECT_THAT(live(3, "d"), IsEmpty());
  EXPECT_THAT(live(4, "e"), ElementsAre("apply e"));
}

TEST_F(WithReplay, ForgetsWhatAReplayCannotReachBackTo) {
  begin_with_one();
  EXPECT_THAT(live(9, "j"), ElementsAre("gap", "ask 1"));
  EXPECT_THAT(replayed(8, "i"), ElementsAre("reset", "apply i"));
  EXPECT_THAT(replayed(9, "j"), ElementsAre("apply j"));
  EXPECT_THAT(replay_end(), ElementsAre("short"));
}

TEST_F(WithReplay, ForgetsWhereTheReplayBringsNothing) {
  begin_with_one();
  EXPECT_THAT(live(3, "d"), ElementsAre("gap", "ask 1"));
  EXPECT_THAT(replay_end(), ElementsAre("filled", "reset", "apply d"));
}

TEST_F(WithReplay, ForgetsWhereNoAnswerComes) {
  begin_with_one();
  EXPECT_EQ(stream_.deadline(), TimePoint::max());
  EXPECT_THAT(live(3, "d"), ElementsAre("gap", "ask 1"));
  EXPECT_EQ(stream_.deadline(), kStart + EventStream::kReplayTime);
  EXPECT_THAT(words(stream_.on_time(now_)), IsEmpty());
  now_ = stream_.deadline();
  EXPECT_THAT(words(stream_.on_time(now_)), ElementsAre("failed", "reset", "apply d"));
  EXPECT_THAT(replayed(1, "b"), IsEmpty());  // too late
  EXPECT_THAT(live(4, "e"), ElementsAre("apply e"));
}

TEST_F(WithReplay, AsksOnceMoreForWhatFellBetweenReplayAndLive) {
  EXPECT_THAT(words(stream_.begin(now_)), ElementsAre("ask 0"));
  EXPECT_THAT(live(3, "d"), IsEmpty());
  EXPECT_THAT(replayed(0, "a"), ElementsAre("apply a"));
  EXPECT_THAT(replay_end(), ElementsAre("filled", "ask 1"));
  EXPECT_THAT(replayed(1, "b"), ElementsAre("apply b"));
  EXPECT_THAT(replayed(2, "c"), ElementsAre("apply c"));
  EXPECT_THAT(replay_end(), ElementsAre("filled", "apply d"));
}

TEST_F(WithReplay, ARestartBeginsAnew) {
  begin_with_one();
  EXPECT_THAT(live(1, "b"), ElementsAre("apply b"));
  EXPECT_THAT(live(1, "B"), ElementsAre("reset", "ask 0"));
  EXPECT_THAT(replayed(0, "A"), ElementsAre("apply A"));
  EXPECT_THAT(replayed(1, "B"), ElementsAre("apply B"));
  EXPECT_THAT(replay_end(), ElementsAre("filled"));
  // The registry finds it out as well, later.
  EXPECT_THAT(words(stream_.on_new_process(now_)), ElementsAre("confirm"));
}

TEST_F(WithReplay, ARestartThatNumbersDoNotShowIsToldByOthers) {
  begin_with_one();
  EXPECT_THAT(words(stream_.on_new_process(now_)), ElementsAre("reset", "ask 0"));
  EXPECT_THAT(replayed(0, "A"), ElementsAre("apply A"));
  EXPECT_THAT(replay_end(), ElementsAre("filled"));
  EXPECT_THAT(live(1, "B"), ElementsAre("apply B"));
}

TEST_F(WithReplay, HoldsNoMoreThanItsBound) {
  begin_with_one();
  EXPECT_THAT(live(2, "c"), ElementsAre("gap", "ask 1"));
  for (std::uint64_t i = 1; i < EventStream::kMaxHeld; ++i) {
    ASSERT_THAT(live(2 + i, "x"), IsEmpty());
  }
  const auto steps = live(2 + EventStream::kMaxHeld, "last");
  ASSERT_EQ(steps.size(), 2 + EventStream::kMaxHeld + 1);
  EXPECT_EQ(steps[0], "failed");
  EXPECT_EQ(steps[1], "reset");
  EXPECT_EQ(steps[2], "apply c");
  EXPECT_EQ(steps.back(), "apply last");
}

TEST(WithoutReplay, AGapForgetsAndGoesOn) {
  EventStream stream(false);
  const TimePoint now = kStart;
  EXPECT_THAT(words(stream.begin(now)), IsEmpty());
  EXPECT_THAT(words(stream.on_live(70, "a", now)), ElementsAre("apply a"));
  EXPECT_THAT(words(stream.on_live(71, "b", now)), ElementsAre("apply b"));
  EXPECT_THAT(words(stream.on_live(73, "d", now)), ElementsAre("gap", "reset", "apply d"));
  EXPECT_THAT(words(stream.on_live(0, "A", now)), ElementsAre("reset", "apply A"));
  EXPECT_THAT(words(stream.on_live(1, "B", now)), ElementsAre("apply B"));
}

// A publisher with a short buffer, a network that loses live batches and delivers replays and live
// ones in any order between them. What is applied since the last reset must be a run of numbers
// without a hole, and in the end the last ones.
class EventStreamProperty : public testing::TestWithParam<std::uint64_t> {};

TEST_P(EventStreamProperty, AppliesARunWithoutHoles) {
  SCOPED_TRACE("seed " + std::to_string(GetParam()));
  std::mt19937_64 rng(GetParam());
  const auto chance = [&](unsigned percent) { return rng() % 100 < percent; };
  constexpr std::uint64_t kBuffered = 8;
  EventStream stream(true);
  std::optional<std::uint64_t> applied;
  std::uint64_t published = 0;
  std::deque<std::uint64_t> in_flight;  // live
  std::deque<std::uint64_t> answer;     // of the replay under way
  bool answering = false;
  const auto carry_out = [&](const StreamSteps& steps) {
    for (const StreamStep& step : steps) {
      if (step.kind == Kind::kReset) applied.reset();
      if (step.kind == Kind::kAskReplay) {
        answer.clear();
        const std::uint64_t oldest = published > kBuffered ? published - kBuffered : 0;
        for (auto i = std::max(oldest, step.sequence); i < published; ++i) answer.push_back(i);
        answering = true;
      }
      if (step.kind == Kind::kReplayEnded) answering = false;
      if (step.kind != Kind::kApply) continue;
      const std::uint64_t number = std::stoull(step.payload);
      if (applied) ASSERT_EQ(number, *applied + 1);
      applied = number;
    }
  };
  const auto deliver_replay = [&] {
    if (answer.empty()) return carry_out(stream.on_replay_end(kStart));
    const std::uint64_t number = answer.front();
    answer.pop_front();
    carry_out(stream.on_replayed(number, std::to_string(number), kStart));
  };
  const auto deliver_live = [&] {
    const std::uint64_t number = in_flight.front();
    in_flight.pop_front();
    carry_out(stream.on_live(number, std::to_string(number), kStart));
  };
  carry_out(stream.begin(kStart));
  for (int step = 0; step < 3000 && !HasFatalFailure(); ++step) {
    if (chance(40)) {
      if (chance(80)) in_flight.push_back(published);
      ++published;
    }
    if (answering && chance(50)) deliver_replay();
    if (!in_flight.empty() && chance(50)) deliver_live();
  }
  in_flight.push_back(published++);  // the last one arrives
  while (!HasFatalFailure() && (answering || !in_flight.empty())) {
    if (!in_flight.empty()) deliver_live();
    if (answering) deliver_replay();
  }
  EXPECT_EQ(applied, published - 1);
}

INSTANTIATE_TEST_SUITE_P(Seeds, EventStreamProperty, testing::Range<std::uint64_t>(1, 9));

}  // namespace
}  // namespace baton::adapters
