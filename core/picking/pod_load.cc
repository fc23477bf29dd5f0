#include "core/picking/pod_load.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

namespace baton {
LoadTable::~LoadTable() {
  for (auto& chunk : chunks_) delete chunk.load();
}

LoadTable::Chunk* LoadTable::grow(std::uint32_t chunk_index) {
  const std::scoped_lock lock(growing_);
  std::atomic<Chunk*>& place = chunks_[chunk_index];
  if (place.load() == nullptr) place.store(std::make_unique<Chunk>().release());
  return place.load();
}

void LoadTable::reset(std::uint32_t index) {
  PodLoad& load = of(index);
  load.consecutive_errors.store(0);
  load.draining.store(false);
  load.prefills.reset();
  load.adapters.reset();
}

LoadTicket::LoadTicket(PodLoad& load, Tokens cached, Tokens uncached, Tokens kv, bool decodes,
                       TimePoint now)
    : load_(&load),
      uncached_(uncached),
      pairs_(PromptWork::pairs_of(cached, uncached)),
      kv_(kv),
      decodes_(decodes),
      is_coming_(decodes) {
  load.in_flight.fetch_add(1, std::memory_order_relaxed);
  if (uncached.count() > 0) {
    load.waiting_prompts.fetch_add(1, std::memory_order_relaxed);
    load.prompt_time.begin(now);
  }
  load.uncached_prefill_tokens.fetch_add(uncached.count(), std::memory_order_relaxed);
  load.waiting_pairs.fetch_add(pairs_, std::memory_order_relaxed);
  load.reserved_kv_tokens.fetch_add(kv.count(), std::memory_order_relaxed);
  if (!decodes) return;
  load.running_decodes.fetch_add(1, std::memory_order_relaxed);
  load.coming_decodes.fetch_add(1, std::memory_order_relaxed);
}

LoadTicket LoadTicket::for_prefill(PodLoad& load, Tokens uncached, Tokens cached, TimePoint now) {
  return {load, cached, uncached, Tokens(0), false, now};
}

LoadTicket LoadTicket::for_decode(PodLoad& load, Tokens kv) {
  return {load, Tokens(0), Tokens(0), kv, true, {}};
}

LoadTicket LoadTicket::for_decode_only(PodLoad& load, Tokens uncached, Tokens kv, Tokens cached,
                                       TimePoint now) {
  return {load, cached, uncached, kv, true, now};
}

LoadTicket::LoadTicket(LoadTicket&& other) noexcept
    : load_(std::exchange(other.load_, nullptr)),
      uncached_(other.uncached_),
      pairs_(other.pairs_),
      kv_(other.kv_),
      decodes_(other.decodes_),
      is_coming_(other.is_coming_) {}

LoadTicket& LoadTicket::operator=(LoadTicket&& other) noexcept {
  if (this == &other) return *this;
  finish();
  load_ = std::exchange(other.load_, nullptr);
  uncached_ = other.uncached_;
  pairs_ = other.pairs_;
  kv_ = other.kv_;
  decodes_ = other.decodes_;
  is_coming_ = other.is_coming_;
  return *this;
}

LoadTicket::~LoadTicket() { finish(); }

void LoadTicket::prefill_done(TimePoint now) {
  if (load_ == nullptr) return;
  load_->computed_tokens.fetch_add(uncached_.count(), std::memory_order_relaxed);
  load_->computed_pairs.fetch_add(pairs_, std::memory_order_relaxed);
  return_prompt(now);
  decode_begins();
}

void LoadTicket::decode_begins() {
  if (load_ == nullptr || !std::exchange(is_coming_, false)) return;
  load_->coming_decodes.fetch_sub(1, std::memory_order_relaxed);
}

void LoadTicket::return_prompt(TimePoint now) {
  if (uncached_.count() > 0) {
    load_->waiting_prompts.fetch_sub(1, std::memory_order_relaxed);
    load_->prompt_time.end(now);
  }
  load_->uncached_prefill_tokens.fetch_sub(uncached_.count(), std::memory_order_relaxed);
  load_->waiting_pairs.fetch_sub(pairs_, std::memory_order_relaxed);
  uncached_ = Tokens(0);
  pairs_ = 0;
}

void LoadTicket::set_kv(Tokens kv) {
  if (load_ == nullptr || !decodes_) return;
  load_->reserved_kv_tokens.fetch_add((kv - kv_).count(), std::memory_order_relaxed);
  kv_ = kv;
}

void LoadTicket::finish(TimePoint now) {
  if (load_ == nullptr) return;
  return_prompt(now);
  decode_begins();
  set_kv(Tokens(0));
  if (decodes_) load_->running_decodes.fetch_sub(1, std::memory_order_relaxed);
  load_->in_flight.fetch_sub(1, std::memory_order_relaxed);
  load_ = nullptr;
}

}  // namespace baton
