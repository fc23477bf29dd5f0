#include "kv_transfer/control_tls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>

#include "tests/unit/kv_transfer/node_fixture.h"

namespace baton::kv {
namespace {

template <auto free>
struct Free {
  template <class T>
  void operator()(T* object) const {
    free(object);
  }
};
using Key = std::unique_ptr<EVP_PKEY, Free<EVP_PKEY_free>>;
using Certificate = std::unique_ptr<X509, Free<X509_free>>;

// A certificate authority of the test's own, and what it signs, as PEM files in a new folder.
class Authority {
 public:
  explicit Authority(const std::string& name) : folder_(make_folder()), key_(EVP_EC_gen("P-256")) {
    certificate_ = sign(name, *key_, true);
    write_certificate(folder_ / "ca.pem", *certificate_);
  }
  ~Authority() { std::filesystem::remove_all(folder_); }
  Authority(const Authority&) = delete;
  Authority& operator=(const Authority&) = delete;

  TlsFiles files_for(const std::string& name) {
    const Key key(EVP_EC_gen("P-256"));
    write_certificate(folder_ / (name + ".pem"), *sign(name, *key, false));
    std::FILE* file = std::fopen((folder_ / (name + ".key")).c_str(), "w");
    EXPECT_EQ(PEM_write_PrivateKey(file, key.get(), nullptr, nullptr, 0, nullptr, nullptr), 1);
    std::fclose(file);
    return {.certificate = folder_ / (name + ".pem"),
            .key = folder_ / (name + ".key"),
            .ca = folder_ / "ca.pem"};
  }

 private:
  static std::filesystem::path make_folder() {
    std::string name = std::filesystem::temp_directory_path() / "baton-tls-XXXXXX";
    EXPECT_NE(::mkdtemp(name.data()), nullptr);
    return name;
  }
  static void write_certificate(const std::filesystem::path& path, X509& certificate) {
    std::FILE* file = std::fopen(path.c_str(), "w");
    EXPECT_EQ(PEM_write_X509(file, &certificate), 1);
    std::fclose(file);
  }
  Certificate sign(const std::string& name, EVP_PKEY& of, bool is_ca) {
    static long serial = 1;
    Certificate made(X509_new());
    X509_set_version(made.get(), X509_VERSION_3);
    ASN1_INTEGER_set(X509_get_serialNumber(made.get()), serial++);
    X509_gmtime_adj(X509_getm_notBefore(made.get()), -60);
    X509_gmtime_adj(X509_getm_notAfter(made.get()), 3600);
    X509_set_pubkey(made.get(), &of);
    X509_NAME_add_entry_by_txt(X509_get_subject_name(made.get()), "CN", MBSTRING_ASC,
                               reinterpret_cast<const unsigned char*>(name.c_str()), -1, -1, 0);
    X509* const issuer = is_ca ? made.get() : certificate_.get();
    X509_set_issuer_name(made.get(), X509_get_subject_name(issuer));
    X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, nullptr, NID_basic_constraints,
                                                    is_ca ? "critical,CA:TRUE" : "CA:FALSE");
    X509_add_ext(made.get(), extension, -1);
    X509_EXTENSION_free(extension);
    EXPECT_GT(X509_sign(made.get(), key_.get(), EVP_sha256()), 0);
    return made;
  }

  const std::filesystem::path folder_;
  const Key key_;
  Certificate certificate_;
};

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
