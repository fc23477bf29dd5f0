#pragma once

#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <filesystem>
#include <memory>
#include <string>

#include "kv_transfer/control_tls.h"

namespace baton::kv {

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

}  // namespace baton::kv
