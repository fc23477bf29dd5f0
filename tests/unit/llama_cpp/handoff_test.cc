#include <gtest/gtest.h>

#include <random>

#include "tests/unit/llama_cpp/engine_harness.h"

namespace baton::adapters {
namespace {

// A pod as the engine sees it: the Node outlives the engine.
struct Pod {
  std::unique_ptr<kv::Node> node;
  std::unique_ptr<Engine> engine;

  explicit Pod(EngineOptions options) {
    auto started = Engine::start(std::move(options),
                                 [this](const NodeNeeds& needs) { return start_node(needs); });
    EXPECT_TRUE(started.has_value()) << started.error().message;
    if (started) engine = *std::move(started);
  }
  ~Pod() { engine.reset(); }

  Result<kv::Node*> start_node(const NodeNeeds& needs) {
    auto arena = kv::BlockArena::create(needs.slot_bytes, needs.slots);
    if (!arena) return std::unexpected(arena.error());
    kv::NodeOptions options;
    options.engine_id = needs.facts.engine_id;
    options.epoch = needs.facts.epoch;
    options.layout_hash = needs.facts.layout_hash;
    options.on_shortage = needs.on_shortage;
    auto started = kv::Node::start(std::move(options), *std::move(arena));
    if (!started) return std::unexpected(started.error());
    node = *std::move(started);
    return node.get();
  }
};

EngineOptions pod_options(const std::string& name, Role role) {
  EngineOptions options = small_options();
  options.engine_id = name;
  options.role = role;
  return options;
}

struct Answer {
  std::vector<std::pair<TokenId, float>> first;  // every logit of the first token
  std::vector<TokenId> ids;
  bool operator==(const Answer&) const = default;
};

Answer answer_of(const RecordingSink& sink) {
  Answer answer{{}, sink.ids()};
  if (sink.tokens().empty()) return answer;
  for (const TokenLogprob& one : sink.tokens()[0].top) {
    answer.first.emplace_back(one.id, one.logprob);
  }
  return answer;
}

class Handoff : public testing::Test {
 protected:
  Pod prefill{pod_options("prefill", Role::kPrefill)};
  Pod decode{pod_options("decode", Role::kDecode)};
  std::mt19937_64 rng{1};

  struct Legs {
    TransferId id;
    std::shared_ptr<RecordingSink> prefill = std::make_shared<RecordingSink>();
    std::shared_ptr<RecordingSink> decode = std::make_shared<RecordingSink>();
    EngineRequestId prefill_id = 0;
    EngineRequestId decode_id = 0;
  };

  [[nodiscard]] EngineRequest decode_leg(EngineRequest request, TransferId id) {
    const EngineFacts& facts = prefill.engine->facts();
    request.receive = HandoffSource{.kv_address = facts.kv_address,
                                    .engine_id = facts.engine_id,
                                    .epoch = facts.epoch,
                                    .transfer_id = id};
    return request;
  }
  [[nodiscard]] static EngineRequest prefill_leg(EngineRequest request, TransferId id) {
    request.publish = id;
    return request;
  }
  Legs start(const EngineRequest& request, bool decode_first = true) {
    const TransferId id = TransferId::draw(rng);
    Legs legs;
    legs.id = id;
    const auto submit_decode = [&] {
      legs.decode_id = decode.engine->submit(decode_leg(request, id), legs.decode);
    };
    if (decode_first) submit_decode();
    legs.prefill_id = prefill.engine->submit(prefill_leg(request, id), legs.prefill);
    if (!decode_first) submit_decode();
    return legs;
  }
  Legs run_split(const EngineRequest& request, bool decode_first = true) {
    Legs legs = start(request, decode_first);
    EXPECT_TRUE(legs.prefill->wait());
    EXPECT_TRUE(legs.decode->wait());
    EXPECT_FALSE(legs.prefill->error()) << legs.prefill->error()->message;
    EXPECT_FALSE(legs.decode->error()) << legs.decode->error()->message;
    return legs;
  }
  void expect_settled() {
    EXPECT_TRUE(settles(*prefill.engine));
    EXPECT_TRUE(settles(*decode.engine));
  }
};

EngineRequest with_all_logprobs(EngineRequest request) {
  request.sampling.logprobs = 1 << 20;
  return request;
}

TEST_F(Handoff, GivesTheSameBitsAsOnePod) {
  const auto both = start_engine();
  int turn = 0;
  for (const int length : {1,   2,   63,  64,  65,  66,  128, 129, 130, 200,  256,  257,
                           258, 320, 321, 500, 512, 513, 514, 600, 769, 1024, 1025, 1500}) {
    const EngineRequest request = with_all_logprobs(greedy(random_prompt(length, 21), 6));
    EngineRequest reference = request;
    reference.cache_salt = std::to_string(length);  // computed, not reused
    const auto expected = run(*both, reference);
    const Legs legs = run_split(request, turn++ % 2 == 0);
    EXPECT_EQ(answer_of(*expected), answer_of(*legs.decode)) << "prompt of " << length;
    EXPECT_TRUE(legs.prefill->tokens().empty());
    EXPECT_EQ(legs.prefill->first_token_calls(), 0);
    EXPECT_EQ(legs.decode->usage().cached_tokens, legs.prefill->usage().cached_tokens);
    // Cold again: no prefix anywhere.
    EngineRequest cold = request;
    cold.cache_salt = std::to_string(length);
    const Legs cold_legs = run_split(cold);
    EXPECT_EQ(answer_of(*expected), answer_of(*cold_legs.decode)) << "cold prompt of " << length;
    EXPECT_EQ(cold_legs.decode->usage().held_blocks, 0);
    EXPECT_EQ(cold_legs.decode->usage().received_blocks, (length - 1 + 63) / 64);
  }
  expect_settled();
}

TEST_F(Handoff, SeededDrawsAndAdaptersAgreeWithOnePod) {
  const auto both = start_engine();
  for (const int lora : {-1, 0}) {
    EngineRequest request = with_all_logprobs(greedy(random_prompt(333, 5), 12));
    request.lora = lora;
    request.sampling.temperature = 1.2F;
    request.sampling.top_p = 0.95F;
    request.sampling.seed = 99;
    EXPECT_EQ(answer_of(*run(*both, request)), answer_of(*run_split(request).decode));
  }
}

TEST_F(Handoff, MovesOnlyWhatIsNotHeld) {
  const auto first = run_split(greedy(random_prompt(500, 3), 4));
  EXPECT_EQ(first.decode->usage().received_blocks, 8);
  EXPECT_EQ(first.decode->usage().cached_tokens, 0);
  EXPECT_GT(first.decode->usage().received_bytes.count(), 0);
  EXPECT_FALSE(first.decode->usage().transport.empty());
  const auto second = run_split(greedy(random_prompt(900, 3), 4));
  EXPECT_EQ(second.decode->usage().held_blocks, 7);
  EXPECT_EQ(second.decode->usage().received_blocks, 15 - 7);
  EXPECT_EQ(second.decode->usage().cached_tokens, 448);
  const auto same = run_split(greedy(random_prompt(900, 3), 4));
  EXPECT_EQ(same.decode->usage().cached_tokens, 899);
  EXPECT_EQ(same.decode->usage().received_blocks, 1) << "only the part of a block is not kept";
  EXPECT_EQ(same.decode->ids(), second.decode->ids());
}

TEST_F(Handoff, SixteenAtOnceAllAnswer) {
  std::vector<Legs> legs;
  for (unsigned i = 0; i < 16; ++i) {
    legs.push_back(start(greedy(random_prompt(30 + 70 * static_cast<int>(i), i), 15), i % 2 == 0));
  }
  for (const Legs& one : legs) {
    ASSERT_TRUE(one.decode->wait());
    ASSERT_FALSE(one.decode->error()) << one.decode->error()->message;
    EXPECT_EQ(one.decode->ids().size(), 15U);
  }
  expect_settled();
}

TEST_F(Handoff, AWaitingReaderDoesNotHoldUpOthers) {
  const TransferId id = TransferId::draw(rng);
  const auto waiting = std::make_shared<RecordingSink>();
  const auto request = greedy(random_prompt(300, 1), 5);
  const auto reader = decode.engine->submit(decode_leg(request, id), waiting);
  EXPECT_FALSE(run(*decode.engine, greedy(random_prompt(10, 2), 50))->error());
  EXPECT_FALSE(waiting->ended());
  decode.engine->cancel(reader);
  ASSERT_TRUE(waiting->wait());
  EXPECT_EQ(waiting->error()->code, ErrorCode::kCancelled);
  EXPECT_TRUE(settles(*decode.engine));
}

TEST_F(Handoff, CancellingEitherLegLeavesNothingPinned) {
  for (unsigned i = 0; i < 12; ++i) {
    const Legs legs = start(greedy(random_prompt(2000, 100 + i), 2000));
    if (i % 4 == 1) {
      ASSERT_TRUE(eventually([&] { return prefill.engine->stats().blocks_pinned > 2; }));
    }
    if (i % 4 >= 2) ASSERT_TRUE(legs.decode->wait_for_tokens(i % 4 == 2 ? 1 : 20));
    prefill.engine->cancel(legs.prefill_id);
    if (i % 3 != 0) decode.engine->cancel(legs.decode_id);
    ASSERT_TRUE(legs.prefill->wait());
    if (i % 3 == 0) decode.engine->cancel(legs.decode_id);
    ASSERT_TRUE(legs.decode->wait());
    prefill.node->release(legs.id);  // as the router does for a lease that nobody will read
    expect_settled();
  }
  EXPECT_FALSE(run_split(greedy(random_prompt(100, 1), 2)).decode->error());
}

TEST_F(Handoff, AnAbortedPrefillEndsTheReaderAsRetryable) {
  const Legs legs = start(greedy(random_prompt(3000, 7), 5));
  prefill.engine->cancel(legs.prefill_id);
  ASSERT_TRUE(legs.decode->wait());
  ASSERT_TRUE(legs.decode->error());
  EXPECT_EQ(legs.decode->error()->stage, Stage::kHandoff);
  EXPECT_TRUE(legs.decode->error()->retryable);
  EXPECT_TRUE(legs.decode->tokens().empty());
  expect_settled();
}

TEST_F(Handoff, AnotherPromptUnderTheSameIdIsRefused) {
  const TransferId id = TransferId::draw(rng);
  const auto producer = std::make_shared<RecordingSink>();
  const auto reader = std::make_shared<RecordingSink>();
  prefill.engine->submit(prefill_leg(greedy(random_prompt(300, 1), 5), id), producer);
  decode.engine->submit(decode_leg(greedy(random_prompt(300, 2), 5), id), reader);
  ASSERT_TRUE(reader->wait());
  ASSERT_TRUE(reader->error());
  EXPECT_EQ(reader->error()->code, ErrorCode::kCorrupt);
  EXPECT_EQ(reader->error()->stage, Stage::kHandoff);
  expect_settled();
}

TEST(HandoffStore, SmallStoresMakeRequestsWaitNotFail) {
  EngineOptions options = pod_options("prefill", Role::kPrefill);
  options.block_store = Bytes(24 * 140'000);
  Pod prefill(options);
  options.engine_id = "decode";
  options.role = Role::kDecode;
  Pod decode(options);
  std::mt19937_64 rng{3};
  std::vector<std::shared_ptr<RecordingSink>> sinks;
  for (unsigned i = 0; i < 12; ++i) {
    EngineRequest request = greedy(random_prompt(900, i), 4);
    const TransferId id = TransferId::draw(rng);
    const EngineFacts& facts = prefill.engine->facts();
    EngineRequest reading = request;
    reading.receive = HandoffSource{facts.kv_address, facts.engine_id, facts.epoch, id};
    request.publish = id;
    sinks.push_back(std::make_shared<RecordingSink>());
    decode.engine->submit(reading, sinks.back());
    sinks.push_back(std::make_shared<RecordingSink>());
    prefill.engine->submit(request, sinks.back());
  }
  for (const auto& sink : sinks) {
    ASSERT_TRUE(sink->wait());
    EXPECT_FALSE(sink->error()) << sink->error()->message;
  }
  EXPECT_TRUE(settles(*prefill.engine));
  EXPECT_TRUE(settles(*decode.engine));

  const auto too_long = std::make_shared<RecordingSink>();
  EngineRequest request = greedy(random_prompt(3000, 1), 1);
  request.publish = TransferId(1, 2);
  prefill.engine->submit(request, too_long);
  ASSERT_TRUE(too_long->wait());
  EXPECT_EQ(too_long->error()->code, ErrorCode::kInvalidArgument);
}

}  // namespace
}  // namespace baton::adapters
