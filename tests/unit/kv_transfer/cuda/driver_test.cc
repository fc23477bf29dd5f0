#include "kv_transfer/cuda/driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/kv_transfer/cuda/fake_driver.h"

namespace baton::kv::cuda {
namespace {

using testing::AllOf;
using testing::HasSubstr;

TEST(Driver, EveryFunctionIsFoundByItsName) {
  const auto driver = load_driver(DRIVER_LIBRARY_PATH);
  ASSERT_TRUE(driver) << driver.error().message;
  EXPECT_EQ(driver->init(0), 1);
  EXPECT_EQ(driver->get_version(nullptr), 2);
  EXPECT_EQ(driver->launch(nullptr, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr), 33);
}

TEST(Driver, AMachineWithoutOneIsToldWhatToInstall) {
  const auto driver = load_driver("libcuda-that-is-not-there.so.1");
  ASSERT_FALSE(driver);
  EXPECT_EQ(driver.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(driver.error().message,
              AllOf(HasSubstr("libcuda-that-is-not-there.so.1"),
                    HasSubstr("install NVIDIA's driver"), HasSubstr("--gpus")));
}

TEST(Driver, ALibraryThatLacksAFunctionIsTooOld) {
  const auto driver = load_driver("libm.so.6");
  ASSERT_FALSE(driver);
  EXPECT_EQ(driver.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(driver.error().message,
              AllOf(HasSubstr("libm.so.6 has no cuInit, cuDriverGetVersion, "),
                    HasSubstr(", cuLaunchKernel: "), HasSubstr("580 or later")));
}

TEST(Driver, FailuresAreInItsOwnWords) {
  const FakeDriver fake;
  const DriverTable table = FakeDriver::table();
  EXPECT_EQ(driver_failure(table, "launching a copy", FakeDriver::kBroken).message,
            "cuda: launching a copy failed: CUDA_ERROR_UNKNOWN (unknown error)");
  EXPECT_EQ(driver_failure(table, "launching a copy", 12345).message,
            "cuda: launching a copy failed: error 12345");
}

}  // namespace
}  // namespace baton::kv::cuda
