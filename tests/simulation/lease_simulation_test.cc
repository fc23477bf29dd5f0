#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "kv_transfer/lease_table.h"

// Random producers, readers that crash and a network that loses, repeats and reorders what readers
// say, over the lease table in virtual time. What must hold is checked after each step. A failure
// prints its seed; BATON_SEED=N runs that one alone.
namespace baton::kv {
namespace {

using Kind = LeaseAction::Kind;
using std::chrono::milliseconds;
using std::chrono::seconds;

// What is known of one transfer from outside the table.
struct Transfer {
  bool opened = false;
  bool sealed = false;
  bool withdrawn = false;
  int ends = 0;
  ReaderKey reader = 0;  // the last one let in
  bool attached = false;
  std::set<std::uint32_t> pinned;  // slots handed to publish() and not given back
  std::uint32_t told_of = 0;       // blocks that the current reader was told of
};

struct Message {
  enum class Kind : std::uint8_t { kFollow, kLost, kAcknowledge, kCancel, kTold } kind;
  TransferId id;
  ReaderKey reader = 0;
};

class Simulation {
 public:
  explicit Simulation(std::uint64_t seed) : rng_(seed) {}

  void run() {
    for (int step = 0; step < 600 && !testing::Test::HasFailure(); ++step) {
      take_step();
      check();
    }
    wind_down();
  }

 private:
  bool chance(int percent) { return static_cast<int>(rng_() % 100) < percent; }
  TransferId any_id() { return {1, 1 + rng_() % 12}; }

  void take_step() {
    now_ += milliseconds(rng_() % 400);
    const TransferId id = any_id();
    switch (rng_() % 12) {
      case 0:
      case 1: open(id); break;
      case 2:
      case 3:
      case 4: publish(id); break;
      case 5: seal(id); break;
      case 6:
        if (chance(20)) apply(table_.abort(id, {.message = "broken"}, now_));
        break;
      case 7:
        if (chance(20)) apply(table_.release(id, now_));
        break;
      case 8:
      case 9: reader_acts(id); break;
      case 10: apply(table_.expire(now_)); break;
      default: deliver(); break;
    }
  }

  void open(TransferId id) {
    if (!table_.state(id) || table_.state(id) == LeaseState::kReserved)
      transfers_[id].opened = true;
    apply(table_.open(id, {.prompt_tokens = 100}, now_));
  }

  void publish(TransferId id) {
    std::vector<BlockDescriptor> blocks(1 + rng_() % 3);
    for (BlockDescriptor& block : blocks) {
      block.slot = {next_slot_++, 1};
      transfers_[id].pinned.insert(block.slot.slot);
    }
    apply(table_.publish(id, blocks));
  }

  void seal(TransferId id) {
    if (table_.state(id) == LeaseState::kStreaming) transfers_[id].sealed = true;
    apply(table_.seal(id, now_));
  }

  // A new reader comes, or one that is there acknowledges, cancels or dies.
  void reader_acts(TransferId id) {
    const ReaderKey reader = chance(40) ? next_reader_++ : transfers_[id].reader;
    if (reader == 0) return;
    const bool is_new = reader == next_reader_ - 1 && !followed_.contains(reader);
    if (is_new) {
      followed_[reader] = id;
      say({Message::Kind::kFollow, id, reader});
      return;
    }
    const auto kind = std::vector{Message::Kind::kLost, Message::Kind::kAcknowledge,
                                  Message::Kind::kCancel}[rng_() % 3];
    say({kind, id, reader});
  }

  void say(const Message& message) {
    if (chance(15)) return;  // lost
    network_.push_back(message);
    if (chance(15)) network_.push_back(message);  // repeated
  }

  void deliver() {
    if (network_.empty()) return;
    const std::size_t which = rng_() % network_.size();  // reordered
    const Message message = network_[which];
    network_.erase(network_.begin() + static_cast<std::ptrdiff_t>(which));
    take(message);
  }

  void take(const Message& message) {
    switch (message.kind) {
      case Message::Kind::kFollow: follow(message.id, message.reader); break;
      case Message::Kind::kLost:
        if (transfers_[message.id].reader == message.reader)
          transfers_[message.id].attached = false;
        apply(table_.lost(message.id, message.reader, now_));
        break;
      case Message::Kind::kAcknowledge:
        apply(table_.acknowledge(message.id, message.reader, now_));
        break;
      case Message::Kind::kCancel: apply(table_.cancel(message.id, message.reader, now_)); break;
      case Message::Kind::kTold: apply(table_.told(message.id, message.reader)); break;
    }
  }

  void follow(TransferId id, ReaderKey reader) {
    const auto actions = table_.follow(id, reader, now_);
    const bool is_refused = std::ranges::any_of(actions, [reader](const LeaseAction& action) {
      return action.kind == Kind::kAbort && action.reader == reader;
    });
    Transfer& transfer = transfers_[id];
    if (!is_refused && (transfer.reader != reader || !transfer.attached)) {
      transfer.reader = reader;
      transfer.attached = true;
      transfer.told_of = 0;
    }
    apply(actions);
  }

  void apply(const LeaseTable::Actions& actions) {
    for (const LeaseAction& action : actions) {
      Transfer& transfer = transfers_[action.id];
      switch (action.kind) {
        case Kind::kOffer:
          EXPECT_FALSE(transfer.withdrawn) << "offered after it was withdrawn";
          break;
        case Kind::kWithdraw: transfer.withdrawn = true; break;
        case Kind::kPublish: on_publish(transfer, action); break;
        case Kind::kSeal: EXPECT_EQ(action.total_blocks, transfer.told_of); break;
        case Kind::kAbort: say({Message::Kind::kTold, action.id, action.reader}); break;
        case Kind::kClose: break;
        case Kind::kUnpin:
          for (const BlockDescriptor& block : action.blocks) {
            EXPECT_EQ(transfer.pinned.erase(block.slot.slot), 1u) << "unpinned twice";
          }
          break;
        case Kind::kEnd:
          ++transfer.ends;
          EXPECT_TRUE(transfer.withdrawn) << "ended while it could be read";
          EXPECT_TRUE(transfer.pinned.empty()) << "ended with pins";
          break;
      }
    }
  }

  // A reader is told of each block once and in order, from the beginning.
  void on_publish(Transfer& transfer, const LeaseAction& action) {
    EXPECT_EQ(transfer.ends, 0) << "published after the end";
    EXPECT_EQ(action.reader, transfer.reader);
    EXPECT_EQ(action.first_index, transfer.told_of);
    transfer.told_of += static_cast<std::uint32_t>(action.blocks.size());
  }

  void check() {
    for (const auto& [id, transfer] : transfers_) {
      EXPECT_LE(transfer.ends, 1) << id.str();
      const auto state = table_.state(id);
      if (!state || has_ended(*state) || *state == LeaseState::kReserved) {
        EXPECT_TRUE(transfer.pinned.empty()) << id.str() << " holds pins without a lease";
      }
      if (state == LeaseState::kCommitted) {
        EXPECT_TRUE(transfer.sealed) << "committed, though never sealed";
      }
    }
  }

  // Every stream breaks, every engine finishes, time passes: nothing may be left.
  void wind_down() {
    while (!network_.empty()) deliver();
    for (const auto& [reader, id] : followed_) apply(table_.lost(id, reader, now_));
    for (const auto& [id, transfer] : transfers_) {
      apply(table_.seal(id, now_));
      check();
    }
    now_ += seconds(60);
    apply(table_.expire(now_));
    check();
    EXPECT_EQ(table_.open_leases(), 0u);
    for (const auto& [id, transfer] : transfers_) {
      EXPECT_TRUE(transfer.pinned.empty());
      if (transfer.opened) EXPECT_EQ(transfer.ends, 1) << id.str() << " never ended";
    }
  }

  std::mt19937_64 rng_;
  LeaseTable table_{LeaseTable::Options{}};
  TimePoint now_{};
  std::map<TransferId, Transfer> transfers_;
  std::map<ReaderKey, TransferId> followed_;
  std::vector<Message> network_;
  std::uint32_t next_slot_ = 0;
  ReaderKey next_reader_ = 1;
};

TEST(LeaseSimulation, EveryLeaseEndsOnceAndNothingStaysPinned) {
  const char* chosen = std::getenv("BATON_SEED");
  const std::uint64_t first =
      chosen != nullptr ? std::strtoull(chosen, nullptr, 10) : std::random_device{}();
  const int runs = chosen != nullptr ? 1 : 500;
  for (int run = 0; run < runs && !testing::Test::HasFailure(); ++run) {
    const std::uint64_t seed = first + static_cast<std::uint64_t>(run);
    SCOPED_TRACE("BATON_SEED=" + std::to_string(seed));
    Simulation(seed).run();
  }
}

}  // namespace
}  // namespace baton::kv
