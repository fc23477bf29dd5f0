#include "kv_transfer/cuda/copier.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "tests/unit/kv_transfer/cuda/copier_cases.h"
#include "tests/unit/kv_transfer/cuda/fake_driver.h"

namespace baton::kv::cuda {
namespace {

using testing::AllOf;
using testing::HasSubstr;

const Copier::Options kOptions{.kernels = FakeDriver::kKernels};

class CopierTest : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = Copier::open(driver_, kOptions);
    ASSERT_TRUE(opened) << opened.error().message;
    copier_ = *std::move(opened);
  }
  [[nodiscard]] Machine machine() const { return {driver_, *copier_}; }

  // Memory of the process does as memory of the fake device.
  static Region region_of(std::vector<std::uint8_t>& bytes) {
    return {reinterpret_cast<std::uint64_t>(bytes.data()), bytes.size()};
  }
  Copier::Ticket begin(std::vector<std::uint8_t>& source, std::vector<std::uint8_t>& target,
                       Event after = nullptr) {
    const CopyRun run{0, 0, 0, 0, source.size()};
    const auto ticket = copier_->begin(std::vector{run}, std::vector{region_of(source)},
                                       std::vector{region_of(target)}, after);
    EXPECT_TRUE(ticket) << ticket.error().message;
    return ticket.value_or(0);
  }
  bool is_done(Copier::Ticket ticket) {
    const auto done = copier_->is_done(ticket);
    EXPECT_TRUE(done) << done.error().message;
    return done.value_or(false);
  }
  [[nodiscard]] auto calls_of(const std::string& function) const {
    return std::ranges::count(fake_.calls, function);
  }

  // What an engine has: its own stream and event.
  struct Engine {
    explicit Engine(const CopierTest& test) : driver(test.driver_) {
      (void)driver.push_context(test.copier_->context());
      EXPECT_EQ(driver.create_stream(&stream, kStreamNonBlocking), kSuccess);
      EXPECT_EQ(driver.create_event(&event, kEventDisableTiming), kSuccess);
    }
    ~Engine() {
      Context popped = nullptr;
      EXPECT_EQ(driver.destroy_event(event), kSuccess);
      EXPECT_EQ(driver.destroy_stream(stream), kSuccess);
      EXPECT_EQ(driver.pop_context(&popped), kSuccess);
    }
    const DriverTable& driver;
    Stream stream = nullptr;
    Event event = nullptr;
  };

  FakeDriver fake_;
  const DriverTable driver_ = FakeDriver::table();
  std::unique_ptr<Copier> copier_;
};

class KernelTest : public CopierTest, public testing::WithParamInterface<std::uint64_t> {};
TEST_P(KernelTest, CopiesAsTheCpuDoes) {
  expect_width_is_copied(machine(), GetParam());
  ASSERT_EQ(fake_.launches.size(), 1U);
  EXPECT_EQ(fake_.launches[0].kernel, "baton_strided_copy_" + std::to_string(GetParam()));
}
INSTANTIATE_TEST_SUITE_P(Widths, KernelTest, testing::Values(16, 8, 4, 2, 1));

TEST_F(CopierTest, PacksAndUnpacks) { expect_packed_and_unpacked(machine()); }
TEST_F(CopierTest, ReslicesHeads) { expect_heads_resliced(machine()); }
TEST_F(CopierTest, TurnsNhdIntoHnd) {
  expect_reordered(machine(), TokenOrder::kNhd, TokenOrder::kHnd);
}
TEST_F(CopierTest, TurnsHndIntoNhd) {
  expect_reordered(machine(), TokenOrder::kHnd, TokenOrder::kNhd);
}
TEST_F(CopierTest, CopiesBetweenAnyEngines) { expect_random_systems(machine(), 1, 300); }

TEST_F(CopierTest, ReturnsBeforeTheCopyHasEnded) {
  std::vector<std::uint8_t> source(4096, 1), target(4096, 0);
  const auto ticket = begin(source, target);
  EXPECT_FALSE(is_done(ticket));
  EXPECT_EQ(target[0], 0);
  fake_.run();
  EXPECT_TRUE(is_done(ticket));
  EXPECT_EQ(target, source);
  EXPECT_TRUE(copier_->wait(ticket));
}

TEST_F(CopierTest, BeginsBehindTheEnginesEvent) {
  Engine engine(*this);
  const std::vector<std::uint8_t> computed(4096, 7);
  std::vector<std::uint8_t> source(4096, 1), target(4096, 0), at_once(4096, 0);
  (void)driver_.upload(region_of(source).address, computed.data(), computed.size(), engine.stream);
  (void)driver_.record_event(engine.event, engine.stream);
  const auto first = begin(source, at_once);
  const auto ticket = begin(source, target, engine.event);
  fake_.run_all_but(engine.stream);
  EXPECT_TRUE(is_done(first));
  EXPECT_FALSE(is_done(ticket));
  EXPECT_EQ(at_once[0], 1) << "the engine had not written yet";
  fake_.run();
  EXPECT_TRUE(is_done(ticket));
  EXPECT_EQ(target, computed);
}

TEST_F(CopierTest, HoldsTheEnginesStreamBackUntilTheCopyHasEnded) {
  Engine engine(*this);
  std::vector<std::uint8_t> source(4096, 3), target(4096, 0), seen(4096, 0);
  const auto ticket = begin(source, target);
  ASSERT_TRUE(copier_->hold(engine.stream, ticket));
  (void)driver_.download(seen.data(), region_of(target).address, seen.size(), engine.stream);
  fake_.run_only(engine.stream);
  EXPECT_EQ(seen[0], 0);
  fake_.run();
  EXPECT_EQ(seen, source);
  EXPECT_TRUE(is_done(ticket));
  ASSERT_TRUE(copier_->hold(engine.stream, ticket)) << "nothing to wait for is no error";
}

TEST_F(CopierTest, TablesAreUsedAgainOnceTheirCopyHasEnded) {
  std::vector<std::uint8_t> source(4096, 1), target(4096, 0);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(copier_->wait(begin(source, target)));
  EXPECT_EQ(calls_of("allocate"), 1);
  EXPECT_EQ(calls_of("allocate_pinned"), 1);
}

TEST_F(CopierTest, ATableWhoseCopyWasRefusedIsUsedAgain) {
  std::vector<std::uint8_t> source(4096, 1), target(4096, 0);
  const std::vector<CopyRun> runs{{0, 0, 0, 0, source.size()}};
  fake_.fail(1, "launch");
  EXPECT_FALSE(
      copier_->begin(runs, std::vector{region_of(source)}, std::vector{region_of(target)}));
  ASSERT_TRUE(copier_->wait(begin(source, target)));
  EXPECT_EQ(target, source);
  EXPECT_EQ(calls_of("allocate"), 1);
}

TEST_F(CopierTest, ATableGrowsWithItsRuns) {
  std::vector<std::uint8_t> source(64 * 1024, 9), target(64 * 1024, 0);
  ASSERT_TRUE(copier_->wait(begin(source, target)));
  std::vector<CopyRun> runs;
  for (std::uint64_t i = 0; i < 1000; ++i) runs.push_back({0, 0, i * 64, i * 64, 32});
  const auto ticket =
      copier_->begin(runs, std::vector{region_of(source)}, std::vector{region_of(target)});
  ASSERT_TRUE(ticket && copier_->wait(*ticket));
  EXPECT_EQ(calls_of("allocate"), 2);
}

TEST_F(CopierTest, ManyUnderWayKeepTheirTablesAndTheOldestIsWaitedFor) {
  constexpr std::size_t kCopies = Copier::kMostUnderWay + 5;
  Regions sources, targets(kCopies, std::vector<std::uint8_t>(256, 0));
  for (std::size_t i = 0; i < kCopies; ++i) {
    sources.emplace_back(256, static_cast<std::uint8_t>(i + 1));
  }
  Copier::Ticket last = 0;
  for (std::size_t i = 0; i < kCopies; ++i) {
    const auto ticket = begin(sources[i], targets[i]);
    EXPECT_GT(ticket, last);
    last = ticket;
    EXPECT_EQ(calls_of("synchronize_event"), i < Copier::kMostUnderWay ? 0 : 1);
  }
  ASSERT_TRUE(copier_->wait(last));
  EXPECT_EQ(targets, sources);
  EXPECT_EQ(calls_of("allocate"), static_cast<std::int64_t>(Copier::kMostUnderWay));
}

TEST_F(CopierTest, NoRunsAreDoneInTheirTurn) {
  std::vector<std::uint8_t> source(64, 1), target(64, 0);
  const auto first = begin(source, target);
  const auto none = copier_->begin({}, {}, {});
  ASSERT_TRUE(none);
  EXPECT_FALSE(is_done(*none));
  fake_.run();
  EXPECT_TRUE(is_done(*none) && is_done(first));
  EXPECT_EQ(fake_.launches.size(), 1U);
}

TEST_F(CopierTest, EachWidthIsOneLaunchOfAsManyBlocksAsFillTheDevice) {
  std::vector<std::uint8_t> source(1 << 20, 1), target(1 << 20, 0);
  const std::vector<CopyRun> runs{
      {0, 0, 1, 1, 3}, {0, 0, 16, 16, (1 << 20) - 32}, {0, 0, 4, 4, 4}, {0, 0, 8, 8, 3}};
  const auto ticket =
      copier_->begin(runs, std::vector{region_of(source)}, std::vector{region_of(target)});
  ASSERT_TRUE(ticket && copier_->wait(*ticket));
  ASSERT_EQ(fake_.launches.size(), 3U);
  EXPECT_EQ(fake_.launches[0].kernel, "baton_strided_copy_16");
  EXPECT_EQ(fake_.launches[0].blocks, 10U) << "two multiprocessors, five blocks each";
  EXPECT_EQ(fake_.launches[1].kernel, "baton_strided_copy_4");
  EXPECT_EQ(fake_.launches[1].blocks, 1U);
  EXPECT_EQ(fake_.launches[2].kernel, "baton_strided_copy_1");
  EXPECT_EQ(fake_.launches[2].argument.count, 2U);
}

TEST_F(CopierTest, ARunOutsideItsRegionReachesNoDriver) {
  std::vector<std::uint8_t> memory(64, 1);
  const auto before = fake_.calls.size();
  const auto refused =
      copier_->begin(std::vector{CopyRun{0, 0, 60, 0, 8}}, std::vector{region_of(memory)},
                     std::vector{region_of(memory)});
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidArgument);
  EXPECT_EQ(fake_.calls.size(), before);
}

TEST(CopierOptions, ALaunchHasAtMostSoManyBlocks) {
  FakeDriver fake;
  const DriverTable driver = FakeDriver::table();
  const auto copier = Copier::open(driver, {.most_blocks = 3, .kernels = FakeDriver::kKernels});
  ASSERT_TRUE(copier);
  expect_width_is_copied({driver, **copier}, 16);
  EXPECT_EQ(fake.launches.at(0).blocks, 3U);
}

TEST(CopierOpen, SaysWhatIsMissing) {
  FakeDriver fake;
  const DriverTable driver = FakeDriver::table();
  const auto refused = [&driver](const Copier::Options& options) {
    const auto opened = Copier::open(driver, options);
    EXPECT_FALSE(opened);
    return opened ? Error{} : opened.error();
  };
  EXPECT_THAT(refused({.kernels = {}}).message,
              AllOf(HasSubstr("this build has no kernels"), HasSubstr("-DBATON_CUDA=ON")));
  EXPECT_TRUE(fake.calls.empty());
  fake.devices = 0;
  EXPECT_EQ(refused(kOptions).code, ErrorCode::kUnsupported);
  EXPECT_THAT(refused(kOptions).message,
              AllOf(HasSubstr("finds no GPU"), HasSubstr("CUDA_VISIBLE_DEVICES")));
  fake.devices = 2;
  EXPECT_THAT(refused({.device = 2, .kernels = FakeDriver::kKernels}).message,
              HasSubstr("there is no device 2, only 0 to 1"));
  fake.start_status = kNoDevice;
  EXPECT_THAT(refused(kOptions).message, HasSubstr("finds no GPU"));
  fake.start_status = kSuccess;
  fake.fail(1, "load_module");
  const Error unfit = refused(kOptions);
  EXPECT_EQ(unfit.code, ErrorCode::kUnsupported);
  EXPECT_THAT(unfit.message, AllOf(HasSubstr("CUDA_ERROR_UNKNOWN"), HasSubstr("Fake GPU"),
                                   HasSubstr("compute capability 7.5"),
                                   HasSubstr("a driver for CUDA 12.4"), HasSubstr("580 or later")));
}

const std::vector<CopyRun> kTwoWidths{{0, 0, 0, 0, 512}, {0, 0, 515, 515, 3}};

// Opens, copies three times and closes; what failed first. A copy that is said to have ended is
// whole, and one that was refused goes no further.
Result<void> use_copier(FakeDriver& fake, bool goes_on) {
  const auto opened = Copier::open(FakeDriver::table(), kOptions);
  if (!opened) return std::unexpected(opened.error());
  Copier& copier = **opened;
  std::vector<std::uint8_t> source(1024, 1);
  Regions targets(3, std::vector<std::uint8_t>(1024, 0));
  const auto region = [](std::vector<std::uint8_t>& bytes) {
    return std::vector{Region{reinterpret_cast<std::uint64_t>(bytes.data()), bytes.size()}};
  };
  Result<void> result;
  const auto note = [&result](const auto& outcome) {
    if (!outcome && result) result = std::unexpected(outcome.error());
    return outcome.has_value();
  };
  for (auto& target : targets) {
    const auto ticket = copier.begin(kTwoWidths, region(source), region(target));
    if (note(ticket)) {
      (void)note(copier.is_done(*ticket));
      if (note(copier.wait(*ticket))) {
        EXPECT_EQ(std::ranges::count(target, 1), 515);
      }
      (void)note(copier.is_done(*ticket));
    } else {
      const auto left = target;
      fake.run();
      EXPECT_EQ(target, left) << "it goes on behind the error";
    }
    if (!result && !goes_on) break;
  }
  fake.run();  // what a failed wait() left under way
  return result;
}

bool gives_back(std::string_view call) {
  return call.starts_with("destroy_") || call.starts_with("release") || call == "unload_module" ||
         call == "pop_context";
}

TEST(CopierFailures, EachCallFailingOnceIsAnErrorAndNothingIsKept) {
  std::set<std::string> failed;
  for (int nth = 1;; ++nth) {
    FakeDriver fake;
    fake.fail(nth);
    const auto result = use_copier(fake, true);
    if (!fake.has_failed()) {
      EXPECT_TRUE(result) << result.error().message;
      break;
    }
    failed.insert(fake.failed_call());
    SCOPED_TRACE(std::to_string(nth) + ": " + fake.failed_call());
    if (!result) {
      EXPECT_THAT(result.error().message,
                  AllOf(HasSubstr("cuda: "), HasSubstr(" failed: CUDA_ERROR_UNKNOWN")));
    } else if (fake.failed_call() == "push_context") {
      fake.lose_context();  // the destructor could not give anything back
    } else {
      EXPECT_TRUE(gives_back(fake.failed_call()) || fake.failed_call() == "synchronize_stream");
    }
  }
  for (const std::string call :
       {"init", "count_devices", "get_device", "get_device_name", "get_attribute", "retain_context",
        "push_context", "load_module", "get_function", "create_stream", "create_event",
        "allocate_pinned", "allocate", "upload", "launch", "record_event", "query_event",
        "synchronize_event", "synchronize_stream"}) {
    EXPECT_TRUE(failed.contains(call)) << call;
  }
}

TEST(CopierFailures, ADeviceThatIsLostAtAnyCallIsAnErrorToTheEnd) {
  for (int nth = 1;; ++nth) {
    FakeDriver fake;
    fake.fail(nth, "", true);
    const auto result = use_copier(fake, false);
    if (!fake.has_failed()) break;
    SCOPED_TRACE(std::to_string(nth) + ": " + fake.failed_call());
    if (result) {  // only the destructor is left
      EXPECT_TRUE(gives_back(fake.failed_call()) || fake.failed_call() == "push_context" ||
                  fake.failed_call() == "synchronize_stream");
    } else if (fake.failed_call() == "record_event" || fake.failed_call() == "launch") {
      EXPECT_THAT(result.error().message, HasSubstr("; cuda: waiting for the rest of it failed"));
    }
    fake.lose_context();
  }
}

TEST(CopierFailures, AnEngineThatCannotBeWaitedForIsAnError) {
  for (const bool holds : {false, true}) {
    FakeDriver fake;
    const DriverTable driver = FakeDriver::table();
    const auto copier = Copier::open(driver, kOptions);
    ASSERT_TRUE(copier);
    const auto first = (*copier)->begin({}, {}, {});
    ASSERT_TRUE(first);
    fake.fail(1, "stream_wait_event");
    Event event = reinterpret_cast<Event>(&fake);
    if (holds) {
      EXPECT_THAT((*copier)->hold(nullptr, *first).error().message,
                  HasSubstr("making a stream wait failed"));
    } else {
      EXPECT_THAT((*copier)->begin({}, {}, {}, event).error().message,
                  HasSubstr("waiting for an event failed"));
    }
  }
}

}  // namespace
}  // namespace baton::kv::cuda
