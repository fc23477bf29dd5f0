// A relay between the two processes flips a bit, cuts a connection, doubles, delays or exchanges
// bytes at a random place of a transfer, in either direction. No wrong byte is ever delivered: the
// transfer gets there all the same or fails in time, and the next one passes. BATON_KV_FAULTS makes
// it longer.
//
// Without TLS the control service is only cut and delayed, which is what TCP lets happen to it:
// gRPC 1.51 ends the process by an assertion of its own where HTTP/2 frames are doubled.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <map>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

#include "tests/unit/kv_faults/relay.h"
#include "tests/unit/kv_transfer/authority.h"
#include "tests/unit/kv_transfer/child.h"
#include "tests/unit/kv_transfer/node_fixture.h"
#include "tests/unit/kv_transfer/pod.h"

namespace baton::kv {
namespace {

using std::chrono::seconds;
using testing::HasSubstr;

constexpr int kLines = 4;                   // at a time, since a part of it is waiting
constexpr auto kDamagedLimit = seconds(2);  // of a receive()
constexpr auto kDamagedBeyond = seconds(10);
// Counted beside the outcomes: faults that happened.
constexpr const char* kOnData = "faults of data connections";
constexpr const char* kOnControl = "faults of control connections";

int faults() {
  const char* text = std::getenv("BATON_KV_FAULTS");
  return text == nullptr ? (is_sanitized() ? 40 : 120) : std::atoi(text);
}

// One producer process, a reader here and the relay between them.
class DamagedLine {
 public:
  explicit DamagedLine(std::uint64_t seed, const TlsFiles& tls)
      : random_(seed), has_tls_(!tls.empty()), producer_(settings("serve", tls)) {
    here_ = Pod::start(settings("engine=consumer", tls));
  }

  void suffer(int times) {
    ASSERT_TRUE(here_ != nullptr && !producer_address_.empty());
    for (int i = 0; i < times && !testing::Test::HasFailure(); ++i) {
      const LinkFault fault = draw();
      SCOPED_TRACE(fault.str());
      if (random_() % 2 == 0) relay_.cut_all();  // so that a connection is made under the fault
      relay_.strike(fault);
      transfer(kDamagedLimit, true);
      if (relay_.calm()) ++outcomes_[fault.on_data ? kOnData : kOnControl];
      transfer(seconds(20), false);
    }
    EXPECT_TRUE(here_->becomes_idle()) << here_->counts().str();
    std::string counts;
    EXPECT_TRUE(eventually([&] {
      producer_.say("counts");
      return PodCounts::parse(counts = producer_.line_that_starts("counts ")).is_idle();
    })) << counts;
    EXPECT_EQ(producer_.finish(), 0);
  }
  [[nodiscard]] const std::map<std::string, int>& outcomes() const { return outcomes_; }

 private:
  // Under TLS the data port stays hidden from the relay, so that the reader goes there itself.
  LinkFault draw() {
    for (;;) {
      const auto fault = LinkFault::draw(random_, !has_tls_ && random_() % 2 == 0);
      if (has_tls_ || fault.on_data || fault.kind == LinkFault::Kind::kCut ||
          fault.kind == LinkFault::Kind::kDelay) {
        return fault;
      }
    }
  }
  static std::vector<std::string> settings(const std::string& first, const TlsFiles& tls) {
    return {first,
            "transports=tcp",
            "slots=128",
            "ttl_ms=5000",
            "tls_certificate=" + tls.certificate,
            "tls_key=" + tls.key,
            "tls_ca=" + tls.ca};
  }
  // Slices that are as large together wherever they lie, in half of the transfers.
  Part draw_part(std::uint32_t bytes) {
    if (bytes < 4096 || random_() % 2 == 0) return {};
    std::vector<Slice> slices(1 + random_() % 64);
    for (Slice& slice : slices) {
      slice = {.offset = static_cast<std::uint32_t>(random_() % (bytes - 64)), .bytes = 16};
    }
    return {std::make_shared<const std::vector<Slice>>(std::move(slices)), bytes};
  }

  void transfer(Duration limit, bool may_fail) {
    const auto number = ++number_;
    const auto blocks = static_cast<int>(1 + random_() % 24);
    const auto bytes = static_cast<std::uint32_t>(1 + random_() % Pod::kSlotBytes);
    producer_.say(fmt::format("open {}", number));
    const TimePoint begun = Clock::now();
    const auto checker =
        here_->receive(number, {relay_.address(), kTestEpoch}, limit, {}, draw_part(bytes));
    producer_.say(fmt::format("publish {} 0 {} {}", number, blocks, bytes));
    producer_.say(fmt::format("seal {}", number));
    const auto result = checker->wait_for_end();
    EXPECT_LT(Clock::now() - begun, limit + kDamagedBeyond);
    EXPECT_EQ(checker->wrong(), 0);
    if (!result) {
      EXPECT_NE(result.error().code, ErrorCode::kInternal) << result.error().message;
    }
    ++outcomes_[std::string(result ? "ok" : name_of(result.error().code))];
    if (result) {
      EXPECT_EQ(checker->blocks(), blocks);
      EXPECT_EQ(result->prompt_tokens, Pod::kPromptTokens);
      EXPECT_EQ(result->cached_tokens, 0);
      return;
    }
    EXPECT_TRUE(may_fail) << result.error().message;
    EXPECT_THAT(result.error().message, HasSubstr(relay_.address()));
    EXPECT_THAT(result.error().message, HasSubstr(transfer_of(number).str()));
    producer_.say(fmt::format("release {}", number));
  }

  std::mt19937_64 random_;
  const bool has_tls_;
  Child producer_;
  const std::string producer_address_ = producer_.line();
  Relay relay_{producer_address_};
  std::unique_ptr<Pod> here_;
  std::uint64_t number_ = 0;
  std::map<std::string, int> outcomes_;
};

TEST(DamagedLines, NeverDeliverAWrongByte) {
  const std::uint64_t seed = std::random_device{}();
  std::cout << "seed " << seed << std::endl;
  Authority authority("ours");
  const TlsFiles tls = authority.files_for("pod");
  std::mutex mutex;
  std::map<std::string, int> outcomes;
  {
    std::vector<std::jthread> lines;
    for (std::uint64_t line = 0; line < kLines; ++line) {
      lines.emplace_back([&, line] {
        DamagedLine damaged(seed + line, line % 2 == 0 ? tls : TlsFiles{});
        damaged.suffer(faults() / kLines);
        std::lock_guard lock(mutex);
        for (const auto& [code, count] : damaged.outcomes()) outcomes[code] += count;
      });
    }
  }
  EXPECT_GT(outcomes[kOnData], 0) << "no fault struck a data connection";
  EXPECT_GT(outcomes[kOnControl], 0) << "no fault struck a control connection";
  for (const auto& [code, count] : outcomes) std::cout << "  " << code << ": " << count << "\n";
}

}  // namespace
}  // namespace baton::kv
