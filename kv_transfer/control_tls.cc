#include "kv_transfer/control_tls.h"

#include <fmt/format.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_certificate_verifier.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <array>
#include <fstream>
#include <utility>

namespace baton::kv {
namespace {

namespace tls = grpc::experimental;

constexpr unsigned kReadAgain_s = 1;

std::shared_ptr<tls::CertificateProviderInterface> provider(const TlsFiles& files) {
  return std::make_shared<tls::FileWatcherCertificateProvider>(files.key, files.certificate,
                                                               files.ca, kReadAgain_s);
}

}  // namespace

Result<void> check(const TlsFiles& files) {
  if (files.empty()) return {};
  const std::array<std::pair<const char*, const std::string*>, 3> all{
      {{"certificate", &files.certificate}, {"key", &files.key}, {"CA", &files.ca}}};
  for (const auto& [what, path] : all) {
    if (path->empty()) {
      return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
                  fmt::format("TLS between pods needs a certificate, its key and a CA; the {} is "
                              "missing",
                              what));
    }
    if (!std::ifstream(*path)) {
      return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
                  fmt::format("the {} of the KV control service, {}, cannot be read", what, *path));
    }
  }
  return {};
}

std::shared_ptr<grpc::ServerCredentials> server_credentials(const TlsFiles& files) {
  if (files.empty()) return grpc::InsecureServerCredentials();
  tls::TlsServerCredentialsOptions options(provider(files));
  options.watch_identity_key_cert_pairs();
  options.watch_root_certs();
  options.set_cert_request_type(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  return tls::TlsServerCredentials(options);
}

std::shared_ptr<grpc::ChannelCredentials> channel_credentials(const TlsFiles& files) {
  if (files.empty()) return grpc::InsecureChannelCredentials();
  tls::TlsChannelCredentialsOptions options;
  options.set_certificate_provider(provider(files));
  options.watch_identity_key_cert_pairs();
  options.watch_root_certs();
  options.set_verify_server_certs(true);
  options.set_check_call_host(false);
  options.set_certificate_verifier(std::make_shared<tls::NoOpCertificateVerifier>());
  return tls::TlsCredentials(options);
}

}  // namespace baton::kv
