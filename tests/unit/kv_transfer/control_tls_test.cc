#include "kv_transfer/control_tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <memory>

#include "tests/unit/kv_transfer/authority.h"
#include "tests/unit/kv_transfer/node_fixture.h"

namespace baton::kv {
namespace {

class ControlTlsTest : public testing::Test {
 protected:
  void SetUp() override {
    producer_ = start("producer", ours_.files_for("producer"));
    ASSERT_TRUE(producer_);
    producer_->open_lease(id_, 65, 0);
    std::mt19937_64 rng(1);
    producer_->publish(id_, {make_block(producer_->arena(), rng, 0, 1000)});
    producer_->seal(id_);
  }
  static std::unique_ptr<Node> start(const std::string& engine, const TlsFiles& files) {
    NodeOptions options = test_options(engine, "tcp");
    options.tls = files;
    return start_node(options, 4);
  }
  Result<ReceiveSummary> receive_with(const TlsFiles& files) {
    const auto consumer = start("consumer", files);
    const auto collector = std::make_shared<Collector>(*consumer);
    consumer->receive(request_to(producer_->address(), "producer", id_), collector);
    return collector->result();
  }

  const TransferId id_{3, 4};
  Authority ours_{"ours"};
  Authority theirs_{"theirs"};
  std::unique_ptr<Node> producer_;
};

TEST_F(ControlTlsTest, PodsOfOneAuthorityHandOver) {
  const auto result = receive_with(ours_.files_for("consumer"));
  ASSERT_TRUE(result.has_value()) << result.error().message;
  EXPECT_EQ(result->blocks, 1);
}

TEST_F(ControlTlsTest, WhoHasNoCertificateOfTheAuthorityIsRefused) {
  EXPECT_EQ(receive_with({}).error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(receive_with(theirs_.files_for("consumer")).error().code, ErrorCode::kUnavailable);
  TlsFiles mixed = theirs_.files_for("impostor");  // believes us, but is not believed
  mixed.ca = ours_.files_for("any").ca;
  EXPECT_EQ(receive_with(mixed).error().code, ErrorCode::kUnavailable);
  EXPECT_TRUE(receive_with(ours_.files_for("consumer")).has_value()) << "the lease stands";
}

TEST_F(ControlTlsTest, NewFilesAreTakenWithoutARestart) {
  const TlsFiles before = ours_.files_for("consumer");
  const auto consumer = start("consumer", before);
  const TlsFiles other = theirs_.files_for("producer");
  // The producer's own files become those of another authority: new connections are refused.
  const TlsFiles own = ours_.files_for("rotating");
  const auto rotating = start("rotating", own);
  ASSERT_TRUE(rotating);
  const auto try_it = [&](const TlsFiles& files) {
    const auto reader = start("reader", files);
    const auto collector = std::make_shared<Collector>(*reader);
    rotating->open_lease({9, 9}, 1, 0);
    rotating->seal({9, 9});
    reader->receive(request_to(rotating->address(), "rotating", {9, 9}), collector);
    return collector->result();
  };
  for (const auto& [from, to] : {std::pair(other.certificate, own.certificate),
                                 std::pair(other.key, own.key), std::pair(other.ca, own.ca)}) {
    std::filesystem::copy_file(from, to, std::filesystem::copy_options::overwrite_existing);
  }
  EXPECT_TRUE(eventually([&] { return try_it(theirs_.files_for("reader")).has_value(); }))
      << "the new authority's pods are let in";
}

TEST(ControlTls, SaysWhichFileIsMissing) {
  NodeOptions options = test_options("pod", "tcp");
  options.tls = {.certificate = "/nowhere/pod.pem", .key = "/nowhere/pod.key", .ca = ""};
  auto node = Node::start(options, std::move(*BlockArena::create(Bytes(64), 1)));
  ASSERT_FALSE(node);
  EXPECT_EQ(node.error().code, ErrorCode::kInvalidArgument);
  EXPECT_THAT(node.error().message, testing::HasSubstr("/nowhere/pod.pem"));
  options.tls = {.certificate = "", .key = "", .ca = "/nowhere/ca.pem"};
  node = Node::start(options, std::move(*BlockArena::create(Bytes(64), 1)));
  EXPECT_THAT(node.error().message, testing::HasSubstr("certificate is missing"));
}

}  // namespace
}  // namespace baton::kv
