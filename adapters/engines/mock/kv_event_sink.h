#pragma once

#include <memory>
#include <span>

#include "adapters/kv_events/publisher.h"
#include "core/engine_model/block_pool.h"

namespace baton::adapters::mock {

// Publishes what a mock rank's cache holds, one batch a change. Owned by its pod, outlives the
// rank's engine; on the pod's thread.
class KvEventSink final : public engine_model::BlockEvents {
 public:
  explicit KvEventSink(std::unique_ptr<KvEventPublisher> publisher)
      : publisher_(std::move(publisher)) {}
  void stored(const engine_model::BlocksStored& blocks) override;
  void removed(std::span<const std::uint64_t> hashes) override;
  void cleared() override;

 private:
  std::unique_ptr<KvEventPublisher> publisher_;
};

}  // namespace baton::adapters::mock
