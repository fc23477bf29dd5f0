#include "core/picking/pod_load.h"

#include <gtest/gtest.h>

#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

namespace baton {
namespace {

void expect_idle(const PodLoad& load) {
  EXPECT_EQ(load.in_flight, 0);
  EXPECT_EQ(load.waiting_prompts, 0);
  EXPECT_EQ(load.uncached_prefill_tokens, 0);
  EXPECT_EQ(load.waiting_pairs, 0);
  EXPECT_EQ(load.running_decodes, 0);
  EXPECT_EQ(load.coming_decodes, 0);
  EXPECT_EQ(load.reserved_kv_tokens, 0);
}

TEST(LoadTicket, TellsStreamsFromThoseWhosePromptIsStillComputed) {
  LoadTable table;
  PodLoad& load = table.of(0);
  {
    LoadTicket split = LoadTicket::for_decode(load, Tokens(50));
    LoadTicket whole = LoadTicket::for_decode_only(load, Tokens(5), Tokens(50));
    LoadTicket given_up = LoadTicket::for_decode(load, Tokens(50));
    const LoadTicket prompt = LoadTicket::for_prefill(load, Tokens(50));
    EXPECT_EQ(load.running_decodes, 3);
    EXPECT_EQ(load.coming_decodes, 3);
    split.decode_begins();
    split.prefill_done();
    LoadTicket moved = std::move(split);
    moved.decode_begins();
    EXPECT_EQ(load.coming_decodes, 2);
    whole.prefill_done();
    EXPECT_EQ(load.coming_decodes, 1);
    given_up.finish();
    EXPECT_EQ(load.coming_decodes, 0);
    EXPECT_EQ(load.running_decodes, 2);
  }
  expect_idle(load);
}

TEST(LoadTicket, CountsAPrefillUntilItIsDone) {
  LoadTable table;
  PodLoad& load = table.of(3);
  {
    LoadTicket ticket = LoadTicket::for_prefill(load, Tokens(500));
    EXPECT_EQ(load.in_flight, 1);
    EXPECT_EQ(load.uncached_prefill_tokens, 500);
    EXPECT_EQ(load.running_decodes, 0);
    EXPECT_EQ(load.computed_tokens, 0);
    ticket.prefill_done();
    ticket.prefill_done();
    EXPECT_EQ(load.uncached_prefill_tokens, 0);
    EXPECT_EQ(load.computed_tokens, 500);
    EXPECT_EQ(load.computed_pairs, 500 * 500);
    EXPECT_EQ(load.in_flight, 1);
  }
  expect_idle(load);
}

TEST(LoadTicket, CountsThePairsOfAPromptThatIsHeldInPart) {
  LoadTable table;
  PodLoad& load = table.of(0);
  LoadTicket first = LoadTicket::for_prefill(load, Tokens(20), Tokens(100));
  LoadTicket second = LoadTicket::for_decode_only(load, Tokens(5), Tokens(50), Tokens(10));
  const LoadTicket third = LoadTicket::for_decode(load, Tokens(50));
  EXPECT_EQ(load.waiting_prompts, 2);
  EXPECT_EQ(load.waiting_pairs, 120 * 120 - 100 * 100 + 15 * 15 - 10 * 10);
  first.prefill_done();
  EXPECT_EQ(load.waiting_prompts, 1);
  EXPECT_EQ(load.waiting_pairs, 15 * 15 - 10 * 10);
  second.finish();
  EXPECT_EQ(load.waiting_prompts, 0);
  EXPECT_EQ(load.waiting_pairs, 0);
}

TEST(LoadTicket, CountsNothingAsComputedThatWasGivenUp) {
  LoadTable table;
  PodLoad& load = table.of(0);
  {
    const LoadTicket ticket = LoadTicket::for_prefill(load, Tokens(500));
  }
  expect_idle(load);
  EXPECT_EQ(load.computed_tokens, 0);
  EXPECT_EQ(load.computed_pairs, 0);
}

TEST(LoadTicket, CountsADecodeWithItsKv) {
  LoadTable table;
  PodLoad& load = table.of(0);
  LoadTicket ticket = LoadTicket::for_decode(load, Tokens(600));
  EXPECT_EQ(load.running_decodes, 1);
  EXPECT_EQ(load.reserved_kv_tokens, 600);
  ticket.set_kv(Tokens(700));
  EXPECT_EQ(load.reserved_kv_tokens, 700);
  ticket.finish();
  ticket.finish();
  EXPECT_FALSE(ticket.open());
  expect_idle(load);
}

TEST(LoadTicket, MovesWithoutCountingTwice) {
  LoadTable table;
  PodLoad& first = table.of(0);
  PodLoad& second = table.of(300);
  LoadTicket a = LoadTicket::for_decode_only(first, Tokens(10), Tokens(20));
  LoadTicket b = std::move(a);
  EXPECT_EQ(first.in_flight, 1);
  b = LoadTicket::for_prefill(second, Tokens(5));
  expect_idle(first);
  EXPECT_EQ(second.in_flight, 1);
  b = LoadTicket();
  expect_idle(second);
}

TEST(LoadTable, KeepsReferencesWhileItGrows) {
  LoadTable table;
  PodLoad& first = table.of(0);
  for (std::uint32_t i = 0; i < LoadTable::kMaxPods; i += 100) table.of(i).in_flight = 1;
  EXPECT_EQ(&first, &table.of(0));
  EXPECT_EQ(table.of(LoadTable::kMaxPods - 36).in_flight, 1);
}

TEST(LoadTable, ResetsWhatBelongsToThePodButNotWhatIsInFlight) {
  LoadTable table;
  PodLoad& load = table.of(1);
  const LoadTicket ticket = LoadTicket::for_prefill(load, Tokens(5));
  load.draining = true;
  load.consecutive_errors = 4;
  table.reset(1);
  EXPECT_FALSE(load.draining);
  EXPECT_EQ(load.consecutive_errors, 0);
  EXPECT_EQ(load.in_flight, 1);
}

TEST(LoadTableConcurrent, SettlesToZeroWhateverTheThreadsDid) {
  LoadTable table;
  std::vector<std::thread> threads;
  for (unsigned t = 0; t < 4; ++t) {
    threads.emplace_back([&table, t] {
      std::mt19937_64 rng(t);
      std::vector<LoadTicket> open(16);
      for (int i = 0; i < 20000; ++i) {
        PodLoad& load = table.of(static_cast<std::uint32_t>(rng() % 1000));
        LoadTicket& place = open[rng() % open.size()];
        switch (rng() % 4) {
          case 0: place = LoadTicket::for_prefill(load, Tokens(7)); break;
          case 1: place = LoadTicket::for_decode_only(load, Tokens(7), Tokens(9)); break;
          case 2: place.prefill_done(); break;
          default: place.set_kv(Tokens(11)); break;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (std::uint32_t i = 0; i < 1000; ++i) expect_idle(table.of(i));
}

}  // namespace
}  // namespace baton
