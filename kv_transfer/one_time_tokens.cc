#include "kv_transfer/one_time_tokens.h"

#include <chrono>
#include <random>
#include <utility>

#include "core/ids.h"

namespace baton::kv {
namespace {

constexpr auto kLife = std::chrono::seconds(10);
constexpr std::size_t kMostWaiting = 1024;

}  // namespace

std::string OneTimeTokens::draw() {
  std::random_device random;
  return Id128::draw(random).str();
}

std::string OneTimeTokens::issue(TimePoint now) {
  std::erase_if(ends_, [now](const auto& entry) { return entry.second < now; });
  std::string token = draw();
  if (ends_.size() < kMostWaiting) ends_[token] = now + kLife;
  return token;
}

bool OneTimeTokens::redeem(std::string_view token, TimePoint now) {
  const auto node = ends_.extract(std::string(token));
  return !node.empty() && node.mapped() >= now;
}

}  // namespace baton::kv
