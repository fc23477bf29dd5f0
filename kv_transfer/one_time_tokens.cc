#include "kv_transfer/one_time_tokens.h"

#include <fmt/format.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <chrono>
#include <cstdlib>
#include <random>
#include <utility>

#include "core/ids.h"

namespace baton::kv {
namespace {

constexpr auto kLife = std::chrono::seconds(10);
constexpr std::size_t kMostWaiting = 4096;

}  // namespace

OneTimeTokens::OneTimeTokens(std::string audience) : audience_(std::move(audience)) {
  std::random_device random;  // getrandom()
  for (unsigned char& byte : key_) byte = static_cast<unsigned char>(random());
}

std::string OneTimeTokens::draw() {
  std::random_device random;
  return Id128::draw(random).str();
}

std::string OneTimeTokens::issue(TimePoint now) {
  std::erase_if(ends_, [now](const auto& entry) { return entry.second < now; });
  const std::string nonce = draw();
  const TimePoint end = now + kLife;
  if (ends_.size() < kMostWaiting) ends_[nonce] = end;
  return nonce + sign(nonce, end);
}

bool OneTimeTokens::redeem(std::string_view token, TimePoint now) {
  if (token.size() != kBytes) return false;
  const auto known = ends_.find(std::string(token.substr(0, kNonceBytes)));
  if (known == ends_.end()) return false;
  const std::string expected = sign(known->first, known->second);
  const bool is_good =
      CRYPTO_memcmp(expected.data(), token.data() + kNonceBytes, expected.size()) == 0;
  if (!is_good) return false;
  const bool in_time = known->second >= now;
  ends_.erase(known);
  return in_time;
}

std::string OneTimeTokens::sign(std::string_view nonce, TimePoint end) const {
  const std::string text =
      fmt::format("{}\n{}\n{}", audience_, nonce, end.time_since_epoch().count());
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (::HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()),
             reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data(),
             &size) == nullptr) {
    std::abort();  // out of memory: a right that is not signed must not exist
  }
  std::string hex;
  for (unsigned i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

}  // namespace baton::kv
