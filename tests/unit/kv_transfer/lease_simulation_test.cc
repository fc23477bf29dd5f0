// Both sides of leases in virtual time, with the real table, arena and book of blocks between
// played engines and readers: messages are late, lost or doubled, readers die, the producer starts
// again, the clock jumps. After every step nothing was read that was somebody else's, and what is
// pinned is what somebody holds; in the end every lease has ended once and nothing is pinned. A
// failure names the seed; BATON_SIMULATION_STEPS makes it longer.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <utility>
#include <vector>

#include "kv_transfer/arena.h"
#include "kv_transfer/lease_table.h"
#include "kv_transfer/published_blocks.h"

namespace baton::kv {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Kind = LeaseAction::Kind;

constexpr std::size_t kSlotBytes = 64;
constexpr int kSlots = 48;

// What a slot's bytes say they are.
struct Stamp {
  std::uint64_t epoch = 0;
  std::uint64_t transfer = 0;
  std::uint64_t index = 0;
  bool operator==(const Stamp&) const = default;
};

class World {
 public:
  explicit World(std::uint64_t seed) : rng_(seed) {}

  [[nodiscard]] TimePoint now() const { return now_; }
  [[nodiscard]] bool chance(int percent) { return below(100) < percent; }
  [[nodiscard]] int below(int bound) {
    return static_cast<int>(rng_() % static_cast<std::uint64_t>(bound));
  }
  [[nodiscard]] Duration delay(int most_ms) { return milliseconds(below(most_ms + 1)); }
  [[nodiscard]] std::uint64_t draw() { return rng_(); }

  void at(TimePoint time, std::function<void()> what) { agenda_.emplace(time, std::move(what)); }
  void in(Duration time, std::function<void()> what) { at(now_ + time, std::move(what)); }
  // The next event; false: there is none.
  bool step() {
    if (agenda_.empty()) return false;
    auto event = agenda_.extract(agenda_.begin());
    now_ = std::max(now_, event.key());
    if (chance(1)) now_ += delay(4000);  // a machine that stood still
    event.mapped()();
    return true;
  }

 private:
  std::mt19937_64 rng_;
  TimePoint now_{};
  std::multimap<TimePoint, std::function<void()>> agenda_;
};

class Reader;

// One start of the producer's process. Messages to an earlier start are lost.
struct Life {
  explicit Life(std::uint64_t number) : epoch(number) {}
  std::uint64_t epoch;
  std::unique_ptr<BlockArena> arena =
      std::move(*BlockArena::create(Bytes(static_cast<std::int64_t>(kSlotBytes)), kSlots));
  LeaseTable table{{.ttl = seconds(3), .wait_for_open = seconds(4), .quarantine = seconds(2)}};
  PublishedBlocks published{*arena};
  std::map<ReaderKey, std::shared_ptr<Reader>> streams;
  std::multiset<SlotRef> held;  // pins that somebody has to give back
  std::map<TransferId, int> ends;
  std::set<TransferId> opened;
};

// The producer's side, as a Node has it.
class Producer {
 public:
  explicit Producer(World& world) : world_(world) { start(); }

  [[nodiscard]] const std::shared_ptr<Life>& life() const { return life_; }
  void start() {
    const std::uint64_t before = life_ == nullptr ? 0 : life_->epoch;
    if (life_ != nullptr) life_->streams.clear();
    life_ = std::make_shared<Life>(before + 1);
  }

  void apply(const std::shared_ptr<Life>& life, LeaseTable::Actions actions);
  void serve(const std::shared_ptr<Life>& life, TransferId id);
  void check() const;
  void drain();

 private:
  World& world_;
  std::shared_ptr<Life> life_;
};

// The consumer's side of one transfer, as a ReceiveSession has it.
class Reader : public std::enable_shared_from_this<Reader> {
 public:
  Reader(World& world, Producer& producer, TransferId id)
      : world_(world), producer_(producer), id_(id), key_(world.draw() | 1U) {}

  [[nodiscard]] ReaderKey key() const { return key_; }
  [[nodiscard]] bool ended() const { return ended_; }
  [[nodiscard]] bool complete() const { return complete_; }

  void begin() {
    const auto life = producer_.life();
    life_ = life;
    world_.in(world_.delay(20), [self = shared_from_this(), life] {
      if (self->producer_.life() != life) return self->end();
      life->streams[self->key_] = self;
      self->producer_.apply(life, life->table.follow(self->id_, self->key_, self->world_.now()));
    });
    world_.in(seconds(9), [self = shared_from_this()] { self->cancel(); });
  }
  // The stream's messages keep their order.
  void hear(std::function<void(Reader&)> what) {
    heard_until_ = std::max(heard_until_, world_.now() + world_.delay(30));
    world_.at(heard_until_, [self = shared_from_this(), what = std::move(what)] {
      if (!self->ended_) what(*self);
    });
  }
  void on_published(std::uint32_t first, const std::vector<BlockDescriptor>& blocks) {
    ASSERT_EQ(first, next_index_);
    for (const BlockDescriptor& block : blocks) fetch(next_index_++, block);
  }
  void on_sealed(std::uint32_t total) {
    ASSERT_EQ(total, next_index_);
    sealed_ = true;
    finish_if_complete();
  }
  void cancel() {
    if (ended_) return;
    release(wire::Outcome::kCancelled);
    end();
  }
  // It stops, or its process does: the producer learns of it when the stream breaks.
  void end() {
    if (std::exchange(ended_, true)) return;
    const auto life = life_;
    if (life == nullptr) return;
    world_.in(world_.delay(3000), [self = shared_from_this(), life] {
      if (self->producer_.life() != life || life->streams.erase(self->key_) == 0) return;
      self->producer_.apply(life, life->table.lost(self->id_, self->key_, self->world_.now()));
    });
  }

 private:
  void fetch(std::uint32_t index, const BlockDescriptor& block) {
    const wire::Wanted wanted{.generation = block.slot.generation,
                              .slot = block.slot.slot,
                              .index = index,
                              .bytes = block.bytes};
    const int times = world_.chance(10) ? 2 : 1;
    for (int i = 0; i < times; ++i) {
      if (world_.chance(2)) {
        world_.in(world_.delay(50), [self = shared_from_this()] { self->end(); });  // a lost link
        continue;
      }
      world_.in(world_.delay(40), [self = shared_from_this(), life = life_, wanted] {
        self->ask_owner(life, wanted);
      });
    }
  }
  // At the owner: pins, sends for a while, unpins.
  void ask_owner(const std::shared_ptr<Life>& life, const wire::Wanted& wanted) {
    if (producer_.life() != life) return;
    const auto answer = std::make_shared<PieceAnswer>();
    life->published.answer(id_, wanted, {}, *answer);
    if (answer->body.empty()) {
      return world_.in(world_.delay(20), [self = shared_from_this()] { self->end(); });
    }
    life->held.insert({wanted.slot, wanted.generation});
    world_.in(world_.delay(80), [self = shared_from_this(), life, wanted, answer] {
      if (self->producer_.life() != life) return;
      Stamp stamp;
      std::memcpy(&stamp, answer->body.data(), sizeof stamp);
      EXPECT_EQ(stamp, (Stamp{life->epoch, self->id_.low(), wanted.index})) << "another's bytes";
      life->published.let_go(*answer);
      life->held.erase(life->held.find({wanted.slot, wanted.generation}));
      self->world_.in(self->world_.delay(20), [self, wanted] { self->arrived(wanted.index); });
    });
  }
  void arrived(std::uint32_t index) {
    if (ended_) return;
    got_.insert(index);
    finish_if_complete();
  }
  void finish_if_complete() {
    if (ended_ || !sealed_ || got_.size() != next_index_) return;
    complete_ = true;
    release(wire::Outcome::kAcknowledged);
    end();
  }
  void release(wire::Outcome outcome) {
    const int times = world_.chance(10) ? 0 : world_.chance(10) ? 2 : 1;
    for (int i = 0; i < times; ++i) {
      world_.in(world_.delay(200), [self = shared_from_this(), life = life_, outcome] {
        if (self->producer_.life() != life) return;
        LeaseTable& table = life->table;
        self->producer_.apply(life,
                              outcome == wire::Outcome::kAcknowledged
                                  ? table.acknowledge(self->id_, self->key_, self->world_.now())
                                  : table.cancel(self->id_, self->key_, self->world_.now()));
      });
    }
  }

  World& world_;
  Producer& producer_;
  const TransferId id_;
  const ReaderKey key_;
  std::shared_ptr<Life> life_;
  TimePoint heard_until_{};
  std::uint32_t next_index_ = 0;
  std::set<std::uint32_t> got_;
  bool sealed_ = false;
  bool complete_ = false;
  bool ended_ = false;
};

void Producer::apply(const std::shared_ptr<Life>& life, LeaseTable::Actions actions) {
  for (LeaseAction& action : actions) {
    const auto stream = life->streams.find(action.reader);
    const auto reader = stream == life->streams.end() ? nullptr : stream->second;
    switch (action.kind) {
      case Kind::kOffer: life->published.publish(action.id, action.blocks); break;
      case Kind::kWithdraw: life->published.withdraw(action.id); break;
      case Kind::kPublish:
        if (reader) {
          reader->hear([first = action.first_index, blocks = action.blocks](Reader& heard) {
            heard.on_published(first, blocks);
          });
        }
        break;
      case Kind::kSeal:
        if (reader) {
          reader->hear([total = action.total_blocks](Reader& heard) { heard.on_sealed(total); });
        }
        break;
      case Kind::kAbort:
        if (!reader) break;
        reader->hear([](Reader& heard) { heard.end(); });
        world_.in(world_.delay(50), [this, life, id = action.id, key = action.reader] {
          if (life_ == life) apply(life, life->table.told(id, key));
        });
        break;
      case Kind::kClose:
        if (!reader) break;
        life->streams.erase(stream);
        reader->hear([](Reader& heard) { heard.end(); });
        break;
      case Kind::kUnpin:
        for (const BlockDescriptor& block : action.blocks) {
          const auto pin = life->held.find(block.slot);
          ASSERT_NE(pin, life->held.end()) << "unpinned twice";
          life->held.erase(pin);
          life->arena->unpin(block.slot);
        }
        break;
      case Kind::kEnd: EXPECT_EQ(++life->ends[action.id], 1) << "ended twice"; break;
    }
  }
}

// An engine prefills: opens, publishes as it goes, seals or fails; frees its slots when it likes.
void Producer::serve(const std::shared_ptr<Life>& life, TransferId id) {
  const int blocks = 1 + world_.below(6);
  Duration time = world_.delay(3000);
  const auto act = [this, life](Duration when, auto what) {
    world_.in(when, [this, life, what] {
      if (life_ == life) what(*life);
    });
  };
  act(time, [this, id, life](Life&) {
    life->opened.insert(id);
    apply(life, life->table.open(id, {.prompt_tokens = 10, .cached_tokens = 0}, world_.now()));
  });
  for (int i = 0; i < blocks; ++i) {
    time += world_.delay(300);
    act(time, [this, id, life, i](Life& now) {
      const auto slot = now.arena->allocate();
      if (!slot) {
        return apply(life, life->table.abort(id, {.message = "no room"}, world_.now()));
      }
      const Stamp stamp{now.epoch, id.low(), static_cast<std::uint64_t>(i)};
      std::memcpy(now.arena->bytes(*slot).data(), &stamp, sizeof stamp);
      ASSERT_TRUE(now.arena->pin(*slot));  // the lease's
      now.held.insert(*slot);
      apply(life, life->table.publish(
                      id, {{.first_token = i * 4, .token_count = 4, .slot = *slot, .bytes = 64}}));
      world_.in(world_.delay(6000), [this, life, kept = *slot] {
        if (life_ == life) life->arena->free(kept);
      });
    });
  }
  time += world_.delay(300);
  const bool fails = world_.chance(10);
  act(time, [this, id, life, fails](Life&) {
    apply(life, fails ? life->table.abort(id, {.message = "engine"}, world_.now())
                      : life->table.seal(id, world_.now()));
  });
  if (world_.chance(10)) {
    act(time + world_.delay(2000),
        [this, id, life](Life&) { apply(life, life->table.release(id, world_.now())); });
  }
}

void Producer::check() const {
  const std::set<SlotRef> pinned(life_->held.begin(), life_->held.end());
  ASSERT_EQ(life_->arena->counts().pinned, static_cast<int>(pinned.size()));
}

void Producer::drain() {
  const auto life = life_;
  life->streams.clear();
  for (const TransferId& id : life->table.ids()) {
    apply(life, life->table.abort(id, {.message = "over"}, world_.now()));
  }
  apply(life, life->table.expire(world_.now() + std::chrono::hours(1)));
  EXPECT_EQ(life->table.open_leases(), 0U);
  EXPECT_EQ(life->published.open_leases(), 0U);
  EXPECT_TRUE(life->held.empty());
  EXPECT_EQ(life->arena->counts().pinned, 0);
  EXPECT_EQ(life->arena->counts().quarantined, 0);
  for (const TransferId& id : life->opened) EXPECT_EQ(life->ends[id], 1) << "not ended once";
}

std::uint64_t steps_wanted() {
  const char* more = std::getenv("BATON_SIMULATION_STEPS");
  return more == nullptr ? 100'000 : std::strtoull(more, nullptr, 10);
}

struct Outcomes {
  std::uint64_t steps = 0;
  int readers = 0;
  int complete = 0;
};

// Some hundred transfers of one world, until nothing is left to happen.
void simulate(std::uint64_t seed, Outcomes& outcomes) {
  SCOPED_TRACE("seed " + std::to_string(seed));
  World world(seed);
  Producer producer(world);
  std::vector<std::shared_ptr<Reader>> readers;
  for (std::uint64_t i = 1; i <= 100; ++i) {
    world.in(world.delay(60'000), [&world, &producer, &readers, i] {
      const TransferId id{7, i};
      if (!world.chance(4)) producer.serve(producer.life(), id);
      const int many = world.chance(15) ? 2 : world.chance(10) ? 0 : 1;
      for (int n = 0; n < many; ++n) {
        world.in(world.delay(4000), [&world, &producer, &readers, id] {
          readers.push_back(std::make_shared<Reader>(world, producer, id));
          readers.back()->begin();
          if (world.chance(15)) {  // its process dies
            world.in(world.delay(3000), [reader = readers.back()] { reader->end(); });
          }
        });
      }
    });
  }
  if (world.chance(50)) {
    world.in(world.delay(60'000), [&producer] { producer.start(); });
  }
  for (int second = 0; second < 90; ++second) {
    world.in(seconds(second), [&world, &producer] {
      producer.apply(producer.life(), producer.life()->table.expire(world.now()));
    });
  }
  while (world.step()) {
    ++outcomes.steps;
    ASSERT_NO_FATAL_FAILURE(producer.check());
    if (testing::Test::HasFailure()) return;
  }
  producer.drain();
  for (const auto& reader : readers) {
    EXPECT_TRUE(reader->ended());
    outcomes.complete += reader->complete() ? 1 : 0;
  }
  outcomes.readers += static_cast<int>(readers.size());
}

TEST(LeaseSimulation, NothingIsMisreadLostOrEndedTwice) {
  Outcomes outcomes;
  for (std::uint64_t seed = 1; outcomes.steps < steps_wanted() && !HasFailure(); ++seed) {
    simulate(seed, outcomes);
  }
  RecordProperty("steps", std::to_string(outcomes.steps));
  RecordProperty("readers", outcomes.readers);
  RecordProperty("complete", outcomes.complete);
  // That the faults leave something to go right.
  EXPECT_GT(outcomes.complete, outcomes.readers / 3) << outcomes.readers;
}

}  // namespace
}  // namespace baton::kv
