// What is said where NCCL, the driver or a GPU is missing or will not do.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "kv_transfer/cuda/driver.h"
#include "kv_transfer/nccl/nccl_library.h"
#include "kv_transfer/nccl/nccl_transport.h"
#include "kv_transfer/node.h"
#include "tests/unit/kv_transfer/nccl/fake_gpu.h"
#include "tests/unit/kv_transfer/node_fixture.h"

namespace baton::kv {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

TEST(NcclLibrary, IsMissing) {
  const auto library = nccl::open_library("libno_such_nccl.so.2");
  ASSERT_FALSE(library);
  EXPECT_EQ(library.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(library.error().message,
              AllOf(HasSubstr("libno_such_nccl.so.2"), HasSubstr("LD_LIBRARY_PATH")));
}

TEST(NcclLibrary, LacksFunctions) {
  const auto library = nccl::open_library(NCCL_INCOMPLETE_PATH);
  ASSERT_FALSE(library);
  EXPECT_EQ(library.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(library.error().message,
              HasSubstr("has no ncclCommInitRankConfig, ncclCommGetAsyncError, ncclRecv, "
                        "ncclCommAbort:"));
}

TEST(NcclLibrary, IsTooOld) {
  const auto library = nccl::open_library(NCCL_OLD_PATH);
  ASSERT_TRUE(library) << library.error().message;
  const auto version = nccl::usable_version(*library);
  ASSERT_FALSE(version);
  EXPECT_EQ(version.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(version.error().message, HasSubstr("NCCL 2.7.8 is too old"));
}

TEST(NcclLibrary, WritesVersionsAsTheyAreSpoken) {
  EXPECT_EQ(nccl::version_text(23203), "2.32.3");
  EXPECT_EQ(nccl::version_text(21700), "2.17.0");
  EXPECT_EQ(nccl::version_text(2804), "2.8.4");
}

class NcclAtStart : public testing::Test {
 protected:
  Error error_of_start() {
    const auto loop = std::make_shared<boost::asio::io_context>(1);
    const auto arena = std::move(*BlockArena::create(Bytes(4096), 1));
    const auto made = make_nccl_transport(loop, *arena, {}, FakeGpu::nccl(), FakeGpu::cuda());
    EXPECT_FALSE(made);
    return made ? Error{} : made.error();
  }
  FakeGpu gpu_;
};

TEST_F(NcclAtStart, HasAnOldLibrary) {
  gpu_.version = 21605;
  EXPECT_THAT(error_of_start().message, HasSubstr("NCCL 2.16.5 is too old"));
}

TEST_F(NcclAtStart, SeesNoGpu) {
  gpu_.gpus = 0;
  const Error error = error_of_start();
  EXPECT_EQ(error.code, ErrorCode::kUnsupported);
  EXPECT_THAT(error.message, HasSubstr("CUDA_VISIBLE_DEVICES"));
}

TEST_F(NcclAtStart, IsRefusedByAnyCall) {
  for (const char* call :
       {"ncclGetVersion", "cuInit", "cuDeviceGetCount", "cuDeviceGet", "cuDevicePrimaryCtxRetain",
        "cuCtxSetCurrent", "ncclGetUniqueId", "ncclCommInitRankConfig", "ncclCommGetAsyncError"}) {
    gpu_.fail(call);
    const Error error = error_of_start();
    EXPECT_EQ(error.code, ErrorCode::kUnsupported) << call;
    EXPECT_THAT(error.message, HasSubstr("played")) << call;
    EXPECT_EQ(gpu_.left(), "") << call;
  }
}

// A pod that may use nccl starts without it; one that must says what is missing.
TEST(NcclOfANode, IsLeftOutOrDemanded) {
  const bool is_here = nccl::open_library().has_value() && cuda::load_driver().has_value();
  NodeOptions options = test_options("engine", "tcp");
  options.transports = {"nccl", "tcp"};
  EXPECT_NE(start_node(options, 4), nullptr);
  if (is_here) return;  // what is demanded may stand, then
  for (const auto& only : {std::string("nccl"), std::string()}) {
    options.require_transport = only;
    options.transports = {"nccl"};
    const auto node = Node::start(options, std::move(*BlockArena::create(Bytes(4096), 1)));
    ASSERT_FALSE(node);
    EXPECT_EQ(node.error().code, ErrorCode::kUnsupported);
    EXPECT_THAT(node.error().message, AllOf(HasSubstr("nccl"), HasSubstr("install")));
  }
}

}  // namespace
}  // namespace baton::kv
