#include "core/engine_model/engine.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace baton::engine_model {
namespace {

using std::chrono::milliseconds;
using Kind = EngineEvent::Kind;

EngineModelOptions options(std::string_view timing = "instant") {
  EngineModelOptions made;
  made.blocks = 64;
  made.block_tokens = Tokens(4);
  made.max_batched_tokens = Tokens(32);
  made.max_num_seqs = 4;
  made.timing = *parse_latency_profile(timing);
  return made;
}

std::vector<TokenId> engine_prompt(int seed, std::size_t tokens) {
  std::mt19937 rng(static_cast<unsigned>(seed));
  std::vector<TokenId> ids(tokens);
  for (TokenId& id : ids) id = static_cast<TokenId>(3 + rng() % 1000);
  return ids;
}

SequenceSpec spec(std::vector<TokenId> ids, int max_tokens = 4) {
  SequenceSpec made;
  made.prompt = std::move(ids);
  made.max_tokens = max_tokens;
  return made;
}

// An engine with a clock of its own.
struct Bench {
  explicit Bench(EngineModelOptions made = options()) : engine(std::move(made), nullptr) {}

  // Runs until nothing happens by itself any more, or one step.
  void run() {
    while (engine.next_event_time() < TimePoint::max()) step();
  }
  void step() {
    now = std::max(now, engine.next_event_time());
    std::vector<EngineEvent> events;
    engine.advance(now, events);
    for (EngineEvent& event : events) {
      if (event.kind == Kind::kToken) answers[event.sequence].push_back(event.token.token);
      if (event.finish) finished[event.sequence] = *event.finish;
      log.push_back(std::move(event));
    }
  }
  std::vector<TokenId> answer(SequenceSpec wanted) {
    const SequenceId id = ++last;
    engine.submit(id, std::move(wanted));
    run();
    return answers[id];
  }

  Engine engine;
  TimePoint now{};
  SequenceId last = 1000;
  std::map<SequenceId, std::vector<TokenId>> answers;
  std::map<SequenceId, Finish> finished;
  std::vector<EngineEvent> log;
};

TEST(Engine, AnswersAreAFunctionOfPromptAndAdapter) {
  const auto first = Bench().answer(spec(engine_prompt(1, 10), 8));
  EXPECT_EQ(first.size(), 8U);
  EXPECT_EQ(Bench().answer(spec(engine_prompt(1, 10), 8)), first);
  EXPECT_NE(Bench().answer(spec(engine_prompt(2, 10), 8)), first);
  SequenceSpec lora = spec(engine_prompt(1, 10), 8);
  lora.lora = "sql";
  EXPECT_NE(Bench().answer(lora), first);
  SequenceSpec drawn = spec(engine_prompt(1, 10), 8);
  drawn.sampling = {false, 7};
  const auto seven = Bench().answer(drawn);
  EXPECT_EQ(Bench().answer(drawn), seven);
  drawn.sampling.seed = 8;
  EXPECT_NE(Bench().answer(drawn), seven);
}

TEST(Engine, AnswersDoNotDependOnWhoSharesTheBatch) {
  const auto alone = Bench().answer(spec(engine_prompt(1, 40), 12));
  EngineModelOptions small = options();
  small.blocks = 24;  // so little that sequences are preempted
  Bench crowded(small);
  for (SequenceId id = 1; id <= 8; ++id) {
    crowded.engine.submit(id, spec(engine_prompt(static_cast<int>(id), 40), 12));
  }
  crowded.run();
  EXPECT_EQ(crowded.answers[1], alone);
  EXPECT_EQ(crowded.finished.size(), 8U);
  EXPECT_GT(crowded.engine.counts().preemptions, 0);
  EXPECT_EQ(crowded.engine.pool().used_blocks(), 0);
}

// As vLLM caches blocks when it schedules them.
TEST(Engine, PromptsOfOneStepShareWhatTheyBeginWith) {
  EngineModelOptions timed = options("prefill_token_us=1000");
  Bench bench(timed);
  bench.engine.submit(1, spec(engine_prompt(1, 13), 1));
  bench.engine.submit(2, spec(engine_prompt(1, 13), 1));
  bench.run();
  EXPECT_EQ(bench.log[0].at - TimePoint(), milliseconds(13));  // and one that costs as a step
  EXPECT_EQ(bench.log[1].at, bench.log[0].at);
  EXPECT_EQ(bench.log[1].cached_tokens, Tokens(12));
  EXPECT_EQ(bench.engine.counts().prompt_computed, 14);
}

TEST(Engine, AProfileMayTakeAStepForTheFirstToken) {
  EngineModelOptions timed = options("prefill_ms=10,step_ms=2");
  timed.timing.first_token_takes_step = true;
  Bench bench(timed);
  bench.engine.submit(1, spec(engine_prompt(1, 40), 2));  // chunks of 32 and 8
  bench.run();
  EXPECT_EQ(bench.log[0].at - TimePoint(), milliseconds(22));
  EXPECT_EQ(bench.log[1].at - TimePoint(), milliseconds(24));
}

TEST(Engine, AStepTakesItsTimeAndChunksPrompts) {
  EngineModelOptions timed = options("prefill_ms=10,step_ms=2");
  Bench bench(timed);
  bench.engine.submit(1, spec(engine_prompt(1, 70), 3));  // chunks of 32, 32 and 6
  bench.run();
  ASSERT_EQ(bench.log.size(), 3U);
  EXPECT_EQ(bench.log[0].at - TimePoint(), milliseconds(30));
  EXPECT_EQ(bench.log[1].at - TimePoint(), milliseconds(32));
  EXPECT_EQ(bench.log[2].at - TimePoint(), milliseconds(34));
  EXPECT_EQ(bench.log[2].finish, Finish::kLength);

  timed.chunked_prefill = false;
  Bench whole(timed);
  whole.engine.submit(1, spec(engine_prompt(1, 70), 3));
  whole.run();
  EXPECT_EQ(whole.log[0].at - TimePoint(), milliseconds(10));
}

TEST(Engine, RunsNoMoreSequencesThanItMay) {
  Bench bench(options("step_ms=1"));
  for (SequenceId id = 1; id <= 6; ++id) {
    bench.engine.submit(id, spec(engine_prompt(static_cast<int>(id), 4), 5));
  }
  bench.step();
  EXPECT_EQ(bench.engine.load().running, 4);
  EXPECT_EQ(bench.engine.load().waiting, 2);
  bench.run();
  EXPECT_EQ(bench.finished.size(), 6U);
}

TEST(Engine, FindsASharedPrefixButComputesTheLastToken) {
  Bench bench;
  (void)bench.answer(spec(engine_prompt(1, 16), 1));
  (void)bench.answer(spec(engine_prompt(1, 16), 1));
  EXPECT_EQ(bench.log[0].cached_tokens, Tokens(0));
  EXPECT_EQ(bench.log[1].cached_tokens, Tokens(12)) << "one block short of the whole prompt";
  SequenceSpec salted = spec(engine_prompt(1, 16), 1);
  salted.salt = "other";
  (void)bench.answer(salted);
  EXPECT_EQ(bench.log[2].cached_tokens, Tokens(0));
  EXPECT_EQ(bench.engine.counts().prefix_hits, 12);
}

TEST(Engine, AnAbortedSequenceLeavesNothing) {
  Bench bench(options("prefill_ms=1"));
  bench.engine.submit(1, spec(engine_prompt(1, 20)));
  bench.engine.submit(2, spec(engine_prompt(2, 20)));
  bench.step();
  bench.engine.abort(1);
  bench.engine.abort(77);
  bench.run();
  EXPECT_FALSE(bench.answers.contains(1));
  EXPECT_EQ(bench.answers[2].size(), 4U);
  EXPECT_EQ(bench.engine.pool().used_blocks(), 0);
  EXPECT_EQ(bench.engine.live(), 0U);
}

TEST(Engine, KeepsBlocksOfAPrefillUntilTheyAreFreed) {
  Bench bench;
  SequenceSpec wanted = spec(engine_prompt(1, 10), 1);
  wanted.keep_blocks = true;
  bench.engine.submit(1, wanted);
  bench.run();
  EXPECT_EQ(bench.engine.kept(1).size(), 3U);
  EXPECT_EQ(bench.engine.pool().used_blocks(), 3);
  bench.engine.free_kept(1);
  EXPECT_TRUE(bench.engine.kept(1).empty());
  EXPECT_EQ(bench.engine.pool().used_blocks(), 0);
}

TEST(Engine, BlocksThatMayYetBeWrittenToOutliveAnAbort) {
  Bench bench;
  SequenceSpec wanted = spec(engine_prompt(1, 10));
  wanted.wait_for_kv = true;
  wanted.fetch_outlives_abort = true;
  bench.engine.submit(1, wanted);
  bench.run();
  bench.engine.abort(1);
  EXPECT_EQ(bench.engine.live(), 0U);
  EXPECT_EQ(bench.engine.pool().used_blocks(), 3);
  bench.engine.free_kept(1);
  EXPECT_EQ(bench.engine.pool().used_blocks(), 0);

  bench.engine.submit(2, wanted);
  bench.run();
  bench.engine.kv_arrived(2, kv_content(wanted.prompt, ""));
  bench.engine.abort(2);
  EXPECT_EQ(bench.engine.pool().used_blocks(), 0) << "nobody writes any more";
}

TEST(Engine, FetchedKvMakesTheAnswerThatComputedKvMakes) {
  const auto ids = engine_prompt(1, 18);
  const auto computed = Bench().answer(spec(ids, 6));
  Bench bench;
  SequenceSpec wanted = spec(ids, 6);
  wanted.wait_for_kv = true;
  bench.engine.submit(1, wanted);
  bench.run();
  ASSERT_EQ(bench.log.size(), 1U);
  EXPECT_EQ(bench.log[0].kind, Kind::kWantsKv);
  EXPECT_EQ(bench.engine.find(1)->blocks.size(), 5U);
  EXPECT_EQ(bench.engine.load().deferred, 1);
  bench.engine.kv_arrived(1, kv_content(ids, ""));
  bench.run();
  EXPECT_EQ(bench.answers[1], computed);
  EXPECT_EQ(bench.log[1].cached_tokens, Tokens(17));
  EXPECT_EQ(bench.engine.counts().external_hits, 18);

  bench.engine.submit(2, [&] {
    SequenceSpec other = spec(engine_prompt(2, 18), 6);
    other.wait_for_kv = true;
    return other;
  }());
  bench.run();
  bench.engine.kv_arrived(2, kv_content(ids, ""));  // KV of the other prompt
  bench.run();
  EXPECT_NE(bench.answers[2], Bench().answer(spec(engine_prompt(2, 18), 6))) << "wrong KV shows";
}

TEST(Engine, MissingKvIsComputedHere) {
  Bench bench;
  SequenceSpec wanted = spec(engine_prompt(1, 18), 6);
  wanted.wait_for_kv = true;
  bench.engine.submit(1, wanted);
  bench.run();
  bench.engine.kv_missing(1);
  bench.run();
  EXPECT_EQ(bench.answers[1], Bench().answer(spec(engine_prompt(1, 18), 6)));
  EXPECT_EQ(bench.engine.counts().prompt_computed, 18);
}

TEST(Engine, AdaptersLoadOnceAndWaitForAPlace) {
  EngineModelOptions two = options("adapter_ms=50,step_ms=1");
  two.max_loras = 1;
  Bench bench(two);
  for (SequenceId id = 1; id <= 3; ++id) {
    SequenceSpec wanted = spec(engine_prompt(static_cast<int>(id), 4), 3);
    wanted.lora = id == 2 ? "b" : "a";
    bench.engine.submit(id, wanted);
  }
  bench.step();
  EXPECT_EQ(bench.engine.load().running_loras, std::vector<std::string>{"a"});
  EXPECT_EQ(bench.engine.load().waiting_loras, std::vector<std::string>{"b"});
  EXPECT_EQ(bench.engine.load().deferred, 1);
  bench.run();
  EXPECT_EQ(bench.log.front().at - TimePoint(), milliseconds(50));
  EXPECT_EQ(bench.finished.size(), 3U);
}

TEST(Engine, EndsByTheVocabularysEndOnlyWhereItMay) {
  EngineModelOptions ending = options();
  ending.vocabulary.mean_tokens = 4;
  Bench bench(ending);
  SequenceSpec wanted = spec(engine_prompt(5, 8), 200);
  const auto short_one = bench.answer(wanted);
  EXPECT_LT(short_one.size(), 200U);
  EXPECT_EQ(short_one.back(), ending.vocabulary.end_of_text);
  wanted.min_tokens = 50;
  EXPECT_GE(bench.answer(wanted).size(), 50U);
  wanted.ignore_end = true;
  EXPECT_EQ(bench.answer(wanted).size(), 200U);
}

TEST(Engine, APromptThatCannotFitFails) {
  Bench bench;
  bench.engine.submit(1, spec(engine_prompt(1, 4 * 64 + 1)));
  bench.run();
  EXPECT_EQ(bench.finished[1], Finish::kError);
  EXPECT_EQ(bench.engine.live(), 0U);
}

// Whatever is asked in whatever order: every sequence that is not aborted ends with its own answer,
// and no block stays behind.
TEST(Engine, KeepsItsBooksInAnyOrder) {
  for (unsigned seed = 0; seed < 20; ++seed) {
    SCOPED_TRACE(seed);
    std::mt19937 rng(seed);
    EngineModelOptions small = options("prefill_ms=3,step_ms=1,prefill_token_us=10");
    small.blocks = 40;
    Bench bench(small);
    std::map<SequenceId, SequenceSpec> wanted;
    std::vector<SequenceId> kept;
    SequenceId last = 0;
    for (int round = 0; round < 400; ++round) {
      switch (rng() % 6) {
        case 0: {
          SequenceSpec made = spec(engine_prompt(static_cast<int>(rng() % 9), 1 + rng() % 60),
                                   1 + static_cast<int>(rng() % 20));
          made.wait_for_kv = rng() % 3 == 0;
          made.keep_blocks = rng() % 4 == 0;
          if (made.keep_blocks) kept.push_back(last + 1);
          wanted[++last] = made;
          bench.engine.submit(last, made);
          break;
        }
        case 1: {
          const SequenceId id = 1 + rng() % (last + 1);
          bench.engine.abort(id);
          if (!bench.finished.contains(id)) wanted.erase(id);
          break;
        }
        case 2: {
          const SequenceId id = 1 + rng() % (last + 1);
          if (wanted.contains(id)) {
            bench.engine.kv_arrived(id, kv_content(wanted[id].prompt, ""));
          }
          break;
        }
        case 3: bench.engine.kv_missing(1 + rng() % (last + 1)); break;
        case 4: bench.engine.free_kept(1 + rng() % (last + 1)); break;
        default:
          if (bench.engine.next_event_time() < TimePoint::max()) bench.step();
      }
    }
    for (int round = 0; round < 1000 && bench.engine.live() > 0; ++round) {
      bench.run();
      for (const auto& [id, made] : wanted) bench.engine.kv_missing(id);
      for (const SequenceId id : kept) bench.engine.free_kept(id);
    }
    EXPECT_EQ(bench.engine.live(), 0U);
    for (const SequenceId id : kept) bench.engine.free_kept(id);
    EXPECT_EQ(bench.engine.pool().used_blocks(), 0);
    for (const auto& [id, made] : wanted) {
      SequenceSpec alone = made;
      alone.wait_for_kv = false;
      EXPECT_EQ(bench.answers[id], Bench().answer(alone)) << id;
    }
  }
}

}  // namespace
}  // namespace baton::engine_model
