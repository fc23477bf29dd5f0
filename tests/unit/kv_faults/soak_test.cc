// Hand-offs between a producer and a consumer process, one of which is killed at random every 500
// of them and comes back. Every outcome is accounted for, nothing wrong is delivered and nothing is
// left behind. BATON_KV_TRANSFERS makes it longer; BATON_SEED repeats one.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <sstream>
#include <string>
#include <thread>

#include "tests/unit/kv_transfer/child.h"
#include "tests/unit/kv_transfer/pod.h"

namespace baton::kv {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kWindow = 4;  // hand-offs under way
constexpr std::uint64_t kTransfersPerKill = 500;
// Of a process, once it has done 100 hand-offs. Sanitizers keep what was freed for a while.
constexpr int kSoakGrowth_kib = (is_sanitized() ? 1024 : 48) * 1024;
constexpr int kMostNewDescriptors = 8;

std::uint64_t from_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

// One process from its start to its end, and what it should have counted by then.
struct Life {
  std::unique_ptr<Child> process{};
  std::string address{};
  int begun = 0;    // hand-offs
  int ok = 0;       // of which the consumer said that they ended well
  int failed = 0;   // or not
  int unknown = 0;  // or died before it said
  std::optional<PodCounts> early{};
};

class Soak : public testing::Test {
 protected:
  void start_producer() {
    static constexpr const char* kTransports[] = {"shm", "tcp", "ucx"};
    const std::string listen = producer_.address.empty() ? own_address() : producer_.address;
    producer_ = {.process = std::make_unique<Child>(std::vector<std::string>{
                     "serve", "engine=producer", fmt::format("epoch={}", ++epoch_),
                     fmt::format("transports={}", kTransports[epoch_ % 3]), "listen=" + listen,
                     "slots=128", "ttl_ms=4000"})};
    producer_.address = producer_.process->line();
    ASSERT_FALSE(producer_.address.empty());
  }
  void start_consumer() {
    consumer_ = {.process = std::make_unique<Child>(
                     std::vector<std::string>{"serve", "engine=consumer", "slots=128"})};
    consumer_.address = consumer_.process->line();
    ASSERT_FALSE(consumer_.address.empty());
  }

  void begin_transfer(std::uint64_t number) {
    const bool is_large = random_() % 64 == 0;
    const auto blocks = 1 + random_() % (is_large ? 32 : 4);
    const auto bytes = 1 + random_() % (is_large ? Pod::kSlotBytes : 4096);
    const auto produce = fmt::format("produce {} {} {}", number, blocks, bytes);
    const auto receive = fmt::format("receive {} {} {} 20000", number, producer_.address, epoch_);
    // The reader may come first.
    if (random_() % 4 == 0) {
      consumer_.process->say(receive);
      producer_.process->say(produce);
    } else {
      producer_.process->say(produce);
      consumer_.process->say(receive);
    }
    ++producer_.begun;
    ++consumer_.begun;
    under_way_[number] = static_cast<int>(blocks);
  }

  // Waits for the end of one; `is_disturbed`: it may fail, since the producer was killed.
  void finish_one(bool is_disturbed) {
    const std::string line = consumer_.process->line_that_starts("end ");
    std::istringstream text(line);
    std::string word;
    std::string code;
    std::uint64_t number = 0;
    int blocks = 0;
    int wrong = -1;
    text >> word >> number >> code >> blocks >> wrong;
    ASSERT_EQ(wrong, 0) << line << what();
    const auto it = under_way_.find(number);
    ASSERT_NE(it, under_way_.end()) << line << what();
    if (code == "ok") {
      ASSERT_EQ(blocks, it->second) << line << what();
      ++producer_.ok;
      ++consumer_.ok;
    } else {
      ASSERT_TRUE(is_disturbed) << line << what();
      ASSERT_TRUE(kTyped.contains(code)) << line << what();
      ASSERT_NE(line.find(transfer_of(number).str()), std::string::npos) << line;
      ASSERT_NE(line.find(producer_.address), std::string::npos) << line;
      ++producer_.failed;
      ++consumer_.failed;
    }
    ++outcomes_[code];
    under_way_.erase(it);
  }
  void finish_all(bool is_disturbed) {
    while (!under_way_.empty() && !HasFatalFailure()) finish_one(is_disturbed);
  }

  // Its counts once nothing is under way, which must become so.
  PodCounts idle_counts(Life& life) {
    PodCounts counts;
    const TimePoint until = Clock::now() + seconds(20);
    do {
      life.process->say("counts");
      counts = PodCounts::parse(life.process->line_that_starts("counts "));
      if (!counts.is_idle()) std::this_thread::sleep_for(milliseconds(5));
    } while (!counts.is_idle() && Clock::now() < until);
    EXPECT_TRUE(counts.is_idle()) << counts.str() << what();
    return counts;
  }
  void expect_no_growth(Life& life, const PodCounts& counts) {
    if (life.begun < 100) return;
    if (!life.early) life.early = counts;
    EXPECT_LT(counts.rss_kib, life.early->rss_kib + kSoakGrowth_kib) << what();
    EXPECT_LT(counts.fds, life.early->fds + kMostNewDescriptors) << what();
  }
  void check_producer() {
    const PodCounts counts = idle_counts(producer_);
    EXPECT_EQ(counts.committed + counts.freed, producer_.begun) << what();
    EXPECT_GE(counts.committed, producer_.ok) << what();
    EXPECT_LE(counts.committed, producer_.ok + producer_.unknown) << what();
    expect_no_growth(producer_, counts);
  }
  void check_consumer() {
    const PodCounts counts = idle_counts(consumer_);
    EXPECT_EQ(counts.received, consumer_.ok) << what();
    EXPECT_EQ(counts.failed, consumer_.failed) << what();
    EXPECT_EQ(consumer_.ok + consumer_.failed, consumer_.begun) << what();
    expect_no_growth(consumer_, counts);
  }

  void kill_one() {
    std::this_thread::sleep_for(microseconds(random_() % 3000));
    ++kills_;
    if (random_() % 2 == 0) {
      producer_.process->kill();
      finish_all(true);
      if (HasFatalFailure()) return;
      check_consumer();
      start_producer();
      return;
    }
    consumer_.process->kill();
    producer_.unknown += static_cast<int>(under_way_.size());
    outcomes_["died with the consumer"] += static_cast<int>(under_way_.size());
    // A router gives back the leases of a pod that died; without one they run out.
    if (random_() % 8 != 0) {
      for (const auto& [number, blocks] : under_way_) {
        producer_.process->say(fmt::format("release {}", number));
      }
    }
    under_way_.clear();
    check_producer();
    start_consumer();
  }

  std::string what() const {
    return fmt::format(" (seed {}, after {} kills, producer epoch {})", seed_, kills_, epoch_);
  }

  static const inline std::set<std::string> kTyped{"unavailable", "timeout", "stale",
                                                   "unsupported"};
  const std::uint64_t seed_ = from_environment("BATON_SEED", std::random_device{}());
  std::mt19937_64 random_{seed_};
  Life producer_;
  Life consumer_;
  std::uint64_t epoch_ = 0;
  int kills_ = 0;
  std::map<std::uint64_t, int> under_way_;  // blocks, by number
  std::map<std::string, int> outcomes_;
};

TEST_F(Soak, EveryOutcomeIsAccountedForAndNothingIsLost) {
  const std::uint64_t transfers =
      from_environment("BATON_KV_TRANSFERS", is_sanitized() ? 1000 : 2000);
  std::cout << "seed " << seed_ << ", " << transfers << " hand-offs" << std::endl;
  start_producer();
  start_consumer();
  std::uint64_t kill_at = 1 + random_() % kTransfersPerKill;
  for (std::uint64_t number = 1; number <= transfers && !HasFailure(); ++number) {
    while (under_way_.size() >= kWindow && !HasFatalFailure()) finish_one(false);
    begin_transfer(number);
    if (number == kill_at) {
      kill_one();
      kill_at =
          (number / kTransfersPerKill + 1) * kTransfersPerKill + random_() % kTransfersPerKill;
    }
  }
  ASSERT_FALSE(HasFailure());
  finish_all(false);
  check_producer();
  check_consumer();
  EXPECT_EQ(consumer_.process->finish(), 0);
  EXPECT_EQ(producer_.process->finish(), 0);
  int total = 0;
  for (const auto& [outcome, count] : outcomes_) {
    std::cout << "  " << outcome << ": " << count << "\n";
    total += count;
  }
  std::cout << "  kills: " << kills_ << std::endl;
  EXPECT_EQ(static_cast<std::uint64_t>(total), transfers);
}

}  // namespace
}  // namespace baton::kv
