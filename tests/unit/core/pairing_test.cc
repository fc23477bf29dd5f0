#include "core/pairing.h"

#include <gtest/gtest.h>

#include <limits>

namespace baton {
namespace {

EngineFacts whole() {
  EngineFacts facts;
  facts.engine_version = "vLLM 0.32.0";
  facts.model_hash = "m";
  facts.layout_hash = 1;
  facts.block_tokens = Tokens(16);
  return facts;
}

TEST(WhyUnpairable, TellsWhatIsUnlike) {
  EXPECT_EQ(why_unpairable(whole(), whole()), "");
  EngineFacts other = whole();
  other.engine_version = "vLLM 0.31.0";
  EXPECT_EQ(why_unpairable(other, whole()), "vLLM 0.31.0 and vLLM 0.32.0");
  other = whole();
  other.model_hash = "n";
  EXPECT_EQ(why_unpairable(whole(), other), "models m and n");
  other = whole();
  other.block_tokens = Tokens(32);
  EXPECT_EQ(why_unpairable(whole(), other), "blocks of 16 and of 32 tokens");
  other = whole();
  other.layout_hash = 0xabc;
  EXPECT_EQ(why_unpairable(whole(), other), "KV layouts 0000000000000001 and 0000000000000abc");
}

TEST(WhyUnpairable, WhatIsNotToldKeepsNobodyApart) {
  EXPECT_EQ(why_unpairable(EngineFacts(), whole()), "");
  EXPECT_EQ(why_unpairable(whole(), EngineFacts()), "");
}

TEST(WhyUnpairable, WhatTheEnginesLevelOutKeepsNobodyApart) {
  EngineFacts other = whole();
  other.tensor_parallel = 4;
  other.engine_id = "x";
  other.epoch = 9;
  other.max_context = Tokens(8192);
  EXPECT_EQ(why_unpairable(whole(), other), "");
}

TEST(EngineFacts, CountsNoMoreKvThanANumberHolds) {
  EngineFacts facts;
  facts.bytes_per_token = Bytes(131072);
  EXPECT_EQ(facts.kv_bytes(Tokens(100)), Bytes(13'107'200));
  const auto most = std::numeric_limits<std::int64_t>::max();
  EXPECT_EQ(facts.kv_bytes(Tokens(most / 4)), Bytes(most));
}

}  // namespace
}  // namespace baton
