#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

#include "orchestrator/planning/planner.h"
#include "tests/unit/picking/test_pool.h"

namespace {
std::atomic<std::size_t> allocations{0};
}  // namespace

void* operator new(std::size_t size) {
  ++allocations;
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t /*size*/) noexcept { std::free(memory); }

namespace baton::orchestrator {
namespace {

// Of a thousand pods that hold parts of the prompt, once the planner has its room.
TEST(PlannerAllocations, AreAtMostThreeForAPlan) {
  TestPool pool;
  Planner planner(pool.loads, pool.prefixes, pool.model);
  PlanRequest request;
  request.blocks = prompt_of(8192);
  request.prompt = Tokens(8192);
  for (int i = 0; i < 1000; ++i) {
    const bool prefills = i % 2 == 0;
    const PodEntry& pod = pool.add((prefills ? "prefill-" : "decode-") + std::to_string(i),
                                   prefills ? Role::kPrefill : Role::kDecode);
    const auto held = static_cast<std::size_t>(i % 100);
    pool.prefixes.confirm(std::span(request.blocks.token_chain).first(held), pod.index, pool.now);
  }
  ASSERT_TRUE(planner.plan(request, pool.snapshot, pool.now, 1));
  const std::size_t before = allocations;
  const auto plan = planner.plan(request, pool.snapshot, pool.now, 2);
  const std::size_t made = allocations - before;
  ASSERT_TRUE(plan);
  EXPECT_GT(std::max(plan->prefill_cached, plan->decode_cached), Tokens(0));
  EXPECT_LE(made, 3U);
}

}  // namespace
}  // namespace baton::orchestrator
