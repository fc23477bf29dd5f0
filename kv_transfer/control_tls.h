#pragma once

#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>

#include <memory>
#include <string>

#include "core/error.h"

namespace baton::kv {

// PEM files of one end of the control service. Both ends show a certificate, and each believes only
// what `ca` has signed: who has no certificate of that CA is no pod. Names in certificates are not
// looked at, since pods are dialled by addresses that change. Files that are replaced are read
// again within a second.
struct TlsFiles {
  std::string certificate;
  std::string key;
  std::string ca;
  [[nodiscard]] bool empty() const { return certificate.empty() && key.empty() && ca.empty(); }
};

// Without files: no TLS. Errors: kInvalidArgument, naming the file that is missing or cannot be
// read.
[[nodiscard]] Result<void> check(const TlsFiles& files);
[[nodiscard]] std::shared_ptr<grpc::ServerCredentials> server_credentials(const TlsFiles& files);
[[nodiscard]] std::shared_ptr<grpc::ChannelCredentials> channel_credentials(const TlsFiles& files);

}  // namespace baton::kv
