#include "core/picking/lora_residency.h"

#include <gtest/gtest.h>

namespace baton {
namespace {

PodState with(std::vector<std::string> running, std::vector<std::string> waiting, int slots) {
  PodState state;
  state.running_loras = std::move(running);
  state.waiting_loras = std::move(waiting);
  state.max_loras = slots;
  return state;
}

TEST(LoraResidency, IsReadFromThePodsSlots) {
  EXPECT_EQ(lora_residency(with({}, {}, 0), ""), LoraResidency::kResident);
  EXPECT_EQ(lora_residency(with({"a"}, {}, 1), "a"), LoraResidency::kResident);
  EXPECT_EQ(lora_residency(with({"a"}, {}, 2), "b"), LoraResidency::kLoadable);
  EXPECT_EQ(lora_residency(with({"a"}, {}, 1), "b"), LoraResidency::kFull);
  EXPECT_EQ(lora_residency(with({"a"}, {"c"}, 2), "b"), LoraResidency::kFull);
  EXPECT_EQ(lora_residency(with({"a"}, {"b"}, 1), "b"), LoraResidency::kLoadable);
  EXPECT_EQ(lora_residency(with({"a", "c"}, {}, 0), "b"), LoraResidency::kLoadable);
}

TEST(LoraResidency, CountsIdleAdaptersWhereTheEngineTellsThem) {
  PodState state = with({}, {}, 2);
  state.resident_loras = {"a", "c"};
  EXPECT_EQ(lora_residency(state, "a"), LoraResidency::kResident);
  EXPECT_EQ(lora_residency(state, "b"), LoraResidency::kFull);
  state.resident_loras.clear();
  state.lora_slots_used = 1;  // by adapters without names
  EXPECT_EQ(lora_residency(state, "a"), LoraResidency::kLoadable);
  state.lora_slots_used = 2;
  EXPECT_EQ(lora_residency(state, "a"), LoraResidency::kFull);
}

}  // namespace
}  // namespace baton
