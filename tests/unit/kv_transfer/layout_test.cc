#include "kv_transfer/layout.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>

namespace baton::kv {
namespace {

TEST(KvLayout, EveryFieldCountsInTheHash) {
  const KvLayout base{.engine = "e", .model = "m", .layers = 2, .kv_heads = 2, .block_tokens = 64};
  const std::function<void(KvLayout&)> changes[] = {
      [](KvLayout& l) { l.engine = "f"; },     [](KvLayout& l) { l.model = "n"; },
      [](KvLayout& l) { l.key_type = "f16"; }, [](KvLayout& l) { l.value_type = "f16"; },
      [](KvLayout& l) { l.order = "layer"; },  [](KvLayout& l) { l.flash_attention = true; },
      [](KvLayout& l) { l.unified = true; },   [](KvLayout& l) { l.layers = 3; },
      [](KvLayout& l) { l.kv_heads = 3; },     [](KvLayout& l) { l.key_dim = 1; },
      [](KvLayout& l) { l.value_dim = 1; },    [](KvLayout& l) { l.block_tokens = 32; },
      [](KvLayout& l) { l.extra = "rope"; }};
  std::set<std::uint64_t> seen{base.hash()};
  for (const auto& change : changes) {
    KvLayout layout = base;
    change(layout);
    EXPECT_TRUE(seen.insert(layout.hash()).second) << layout.canonical();
  }
  EXPECT_EQ(KvLayout(base).hash(), base.hash());
}

TEST(KvLayout, TextCannotPoseAsAnotherField) {
  const KvLayout a{.engine = "x;model=1:y", .model = ""};
  const KvLayout b{.engine = "x", .model = "y"};
  EXPECT_NE(a.canonical(), b.canonical());
}

}  // namespace
}  // namespace baton::kv
