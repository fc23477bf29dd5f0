#include "core/picking/lora_residency.h"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>

namespace baton {
namespace {

PodState with(std::vector<std::string> running, std::vector<std::string> waiting, int slots) {
  PodState state;
  state.running_loras = std::move(running);
  state.waiting_loras = std::move(waiting);
  state.max_loras = slots;
  return state;
}

LoraResidency residency_of(const PodState& state, std::string_view adapter,
                           const SentAdapters& sent = {}) {
  return lora_residency(state, sent, adapter, SentAdapters::key_of(adapter));
}

TimePoint at(int ms) { return TimePoint(std::chrono::milliseconds(ms)); }

void send(SentAdapters& sent, std::string_view adapter, int ms) {
  sent.sent(SentAdapters::key_of(adapter), at(ms));
}

TEST(LoraResidency, IsReadFromThePodsSlots) {
  EXPECT_EQ(residency_of(with({}, {}, 0), ""), LoraResidency::kResident);
  EXPECT_EQ(residency_of(with({"a"}, {}, 1), "a"), LoraResidency::kResident);
  EXPECT_EQ(residency_of(with({"a"}, {}, 2), "b"), LoraResidency::kLoadable);
  EXPECT_EQ(residency_of(with({"a"}, {}, 1), "b"), LoraResidency::kFull);
  EXPECT_EQ(residency_of(with({"a"}, {"c"}, 2), "b"), LoraResidency::kFull);
  EXPECT_EQ(residency_of(with({"a"}, {"b"}, 1), "b"), LoraResidency::kLoadable);
  EXPECT_EQ(residency_of(with({"a", "c"}, {}, 0), "b"), LoraResidency::kLoadable);
}

TEST(LoraResidency, CountsIdleAdaptersWhereTheEngineTellsThem) {
  PodState state = with({}, {}, 2);
  state.resident_loras = {"a", "c"};
  EXPECT_EQ(residency_of(state, "a"), LoraResidency::kResident);
  EXPECT_EQ(residency_of(state, "b"), LoraResidency::kFull);
  state.resident_loras.clear();
  state.lora_slots_used = 1;  // by adapters without names
  EXPECT_EQ(residency_of(state, "a"), LoraResidency::kLoadable);
  state.lora_slots_used = 2;
  EXPECT_EQ(residency_of(state, "a"), LoraResidency::kFull);
}

TEST(LoraResidency, WhatWasSentLastIsLoadedWhereTheEngineDoesNotTell) {
  SentAdapters sent;
  send(sent, "a", 10);
  PodState state = with({}, {}, 2);
  state.observed_at = at(1000);
  EXPECT_EQ(residency_of(state, "a", sent), LoraResidency::kResident);
  EXPECT_EQ(residency_of(state, "b", sent), LoraResidency::kLoadable);
  send(sent, "b", 20);
  EXPECT_EQ(residency_of(state, "a", sent), LoraResidency::kResident);
  send(sent, "c", 30);  // takes the place of "a" in two slots
  EXPECT_NE(residency_of(state, "a", sent), LoraResidency::kResident);
  EXPECT_EQ(residency_of(state, "b", sent), LoraResidency::kResident);
  state.max_loras = 0;  // unknown: one at least
  EXPECT_EQ(residency_of(state, "c", sent), LoraResidency::kResident);
  EXPECT_NE(residency_of(state, "b", sent), LoraResidency::kResident);
  sent.reset();
  EXPECT_NE(residency_of(state, "c", sent), LoraResidency::kResident);
}

TEST(LoraResidency, WhatTheEngineTellsCountsUnlessMoreWasSentSince) {
  SentAdapters sent;
  send(sent, "a", 10);
  PodState state = with({}, {}, 4);
  state.resident_loras = {"b"};
  state.observed_at = at(1000);
  EXPECT_NE(residency_of(state, "a", sent), LoraResidency::kResident);  // evicted by others
  send(sent, "a", 1500);
  EXPECT_EQ(residency_of(state, "a", sent), LoraResidency::kResident);
}

TEST(SentAdapters, KeepsThoseUsedLast) {
  SentAdapters sent;
  for (int i = 0; i < 40; ++i) send(sent, "adapter-" + std::to_string(i), 10 * i);
  send(sent, "adapter-30", 1000);
  const auto use = [&sent](int i) {
    return sent.last_use(SentAdapters::key_of("adapter-" + std::to_string(i)), at(500));
  };
  EXPECT_FALSE(use(23).has_value());
  ASSERT_TRUE(use(24).has_value());
  EXPECT_EQ(use(24)->others_since, 15);
  EXPECT_FALSE(use(24)->after_then);
  EXPECT_EQ(use(39)->others_since, 1);
  EXPECT_EQ(use(30)->others_since, 0);
  EXPECT_TRUE(use(30)->after_then);
  EXPECT_FALSE(sent.last_use(0, std::nullopt).has_value());
}

// The clock's milliseconds begin again every 49 days.
TEST(SentAdapters, CountsOverTheEndOfItsClock) {
  SentAdapters sent;
  const TimePoint end(std::chrono::milliseconds((1LL << 32) - 5));
  sent.sent(1, end);
  sent.sent(3, end + std::chrono::milliseconds(10));
  EXPECT_EQ(sent.last_use(1, end)->others_since, 1);
  EXPECT_EQ(sent.last_use(3, end)->others_since, 0);
  EXPECT_FALSE(sent.last_use(1, end + std::chrono::milliseconds(10))->after_then);
}

}  // namespace
}  // namespace baton
