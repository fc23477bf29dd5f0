#include "core/caching_tokenizer.h"

#include <xxhash.h>

namespace baton {
namespace {

struct Key {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  bool operator==(const Key&) const = default;
};

struct KeyHash {
  std::size_t operator()(const Key& key) const { return key.low; }
};

Key key_of(std::string_view text, bool add_special, bool parse_special) {
  const std::uint64_t seed = (add_special ? 1U : 0U) | (parse_special ? 2U : 0U);
  const XXH128_hash_t hash = XXH3_128bits_withSeed(text.data(), text.size(), seed);
  return {hash.high64, hash.low64};
}

}  // namespace

class CachingTokenizer::Cache {
 public:
  explicit Cache(Bytes bound) : bound_(bound) {}

  std::optional<std::vector<TokenId>> get(const Key& key) {
    const std::scoped_lock lock(mutex_);
    const auto it = by_key_.find(key);
    if (it == by_key_.end()) {
      ++misses_;
      return std::nullopt;
    }
    ++hits_;
    recent_.splice(recent_.begin(), recent_, it->second);
    return it->second->ids;
  }

  void put(const Key& key, const std::vector<TokenId>& ids) {
    const std::scoped_lock lock(mutex_);
    if (by_key_.contains(key) || cost(ids) > bound_) return;
    used_ += cost(ids);
    while (used_ > bound_) {
      used_ -= cost(recent_.back().ids);
      by_key_.erase(recent_.back().key);
      recent_.pop_back();
    }
    recent_.push_front({key, ids});
    by_key_.emplace(key, recent_.begin());
  }

  struct Figures {
    std::uint64_t hits, misses;
    Bytes used;
  };
  Figures figures() const {
    const std::scoped_lock lock(mutex_);
    return {hits_, misses_, used_};
  }

 private:
  struct Entry {
    Key key;
    std::vector<TokenId> ids;
  };

  static Bytes cost(const std::vector<TokenId>& ids) {
    constexpr std::int64_t kNodes = 128;  // the list's and the map's
    return Bytes(static_cast<std::int64_t>(ids.size() * sizeof(TokenId)) + kNodes);
  }

  mutable std::mutex mutex_;
  Bytes bound_;
  Bytes used_{0};
  std::uint64_t hits_ = 0;
  std::uint64_t misses_ = 0;
  std::list<Entry> recent_;  // the most recently used first
  std::unordered_map<Key, std::list<Entry>::iterator, KeyHash> by_key_;
};

CachingTokenizer::CachingTokenizer(std::shared_ptr<Tokenizer> inner, Bytes memory)
    : inner_(std::move(inner)), cache_(std::make_shared<Cache>(memory)) {}

CachingTokenizer::~CachingTokenizer() = default;

void CachingTokenizer::encode(std::string_view text, bool add_special, bool parse_special,
                              Done done) {
  const Key key = key_of(text, add_special, parse_special);
  if (auto ids = cache_->get(key)) {
    done(std::move(*ids));
    return;
  }
  inner_->encode(text, add_special, parse_special,
                 [key, cache = cache_, done = std::move(done)](Result<std::vector<TokenId>> ids) {
                   if (ids) cache->put(key, *ids);
                   done(std::move(ids));
                 });
}

std::uint64_t CachingTokenizer::hits() const { return cache_->figures().hits; }
std::uint64_t CachingTokenizer::misses() const { return cache_->figures().misses; }
Bytes CachingTokenizer::memory_used() const { return cache_->figures().used; }

}  // namespace baton
