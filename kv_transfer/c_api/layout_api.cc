#include <fmt/format.h>

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "kv_transfer/c_api/layouts.h"
#include "kv_transfer/copy_plan.h"
#include "kv_transfer/slice_plan.h"

// NOLINTNEXTLINE(readability-identifier-naming): the C API's name
struct baton_kv_plan {
  std::vector<baton_kv_run> runs;
};

namespace baton::kv::c_api {
namespace {

constexpr std::size_t kMostSources = 65536;

// A holder with the layout that it points to.
struct OwnedHolder {
  PagedLayout layout;
  std::span<const std::uint32_t> blocks;
  [[nodiscard]] KvHolder view() const { return {.layout = &layout, .blocks = blocks}; }
};

Outcome<OwnedHolder> holder_of(const baton_kv_holder& given, const std::string& name) {
  auto layout = paged_layout_of(given.layout, Placements::kGiven);
  if (!layout) return failed(layout.error().status, name + ": " + layout.error().message);
  if (given.blocks == nullptr && given.block_count != 0) return null(name + ".blocks");
  if (given.block_count > PagedLayout::kMostBlocks) {
    return wrong(fmt::format("{} has {} blocks: at most {}", name, given.block_count,
                             PagedLayout::kMostBlocks));
  }
  return OwnedHolder{std::move(*layout), {given.blocks, given.block_count}};
}

baton_kv_run run_to_c(std::size_t holder, const CopyRun& run) {
  return {.holder = static_cast<std::uint32_t>(holder),
          .source_region = run.source_region,
          .target_region = run.target_region,
          .reserved = 0,
          .source = run.source,
          .target = run.target,
          .bytes = run.bytes,
          .source_stride = run.source_stride,
          .target_stride = run.target_stride,
          .count = run.count};
}

Outcome<TokenOrder> token_order_of(std::int32_t order, std::string_view field) {
  if (order == BATON_KV_NHD) return TokenOrder::kNhd;
  if (order == BATON_KV_HND) return TokenOrder::kHnd;
  return wrong(fmt::format("{} is {}: BATON_KV_NHD or BATON_KV_HND", field, order));
}

Outcome<DenseBlocks> dense_of(const baton_kv_dense_options* given) {
  const auto c = read(given, "baton_kv_dense_options");
  if (!c) return std::unexpected(c.error());
  if (c->blocks < 1 || c->blocks > PagedLayout::kMostBlocks) {
    return wrong(fmt::format("baton_kv_dense_options.blocks is {}: 1 to {}", c->blocks,
                             PagedLayout::kMostBlocks));
  }
  const auto order = token_order_of(c->token_order, "baton_kv_dense_options.token_order");
  if (!order) return std::unexpected(order.error());
  if (c->part_order != BATON_KV_PARTS_APART && c->part_order != BATON_KV_PARTS_PER_BLOCK) {
    return wrong(
        fmt::format("baton_kv_dense_options.part_order is {}: BATON_KV_PARTS_APART or "
                    "BATON_KV_PARTS_PER_BLOCK",
                    c->part_order));
  }
  if (c->one_region > 1) return wrong("baton_kv_dense_options.one_region must be 0 or 1");
  return DenseBlocks{
      .blocks = static_cast<int>(c->blocks),
      .tokens = *order,
      .parts = c->part_order == BATON_KV_PARTS_APART ? PartOrder::kApart : PartOrder::kPerBlock,
      .region_per_layer = c->one_region == 0};
}

Outcome<std::unique_ptr<baton_kv_plan>> plan(std::span<const baton_kv_holder> sources,
                                             const baton_kv_holder& target, TokenRange tokens,
                                             std::size_t turn) {
  std::vector<OwnedHolder> owned;
  std::vector<KvHolder> views;
  owned.reserve(sources.size());
  for (std::size_t i = 0; i < sources.size(); ++i) {
    auto holder = holder_of(sources[i], fmt::format("source {}", i));
    if (!holder) return std::unexpected(holder.error());
    owned.push_back(std::move(*holder));
    views.push_back(owned.back().view());
  }
  const auto into = holder_of(target, "the target");
  if (!into) return std::unexpected(into.error());
  const auto copies = plan_copy(views, into->view(), tokens, turn);
  if (!copies) return failed(copies.error());
  auto made = std::make_unique<baton_kv_plan>();
  for (const CopyFrom& from : *copies) {
    for (const CopyRun& run : from.runs) made->runs.push_back(run_to_c(from.source, run));
  }
  return made;
}

}  // namespace
}  // namespace baton::kv::c_api

using namespace baton::kv;  // NOLINT: the C API lives outside the namespaces
using namespace baton::kv::c_api;

extern "C" {

baton_kv_status baton_kv_layout_hash(const baton_kv_layout* layout, uint64_t* hash) {
  return guarded([&]() -> Outcome<void> {
    if (hash == nullptr) return null("hash");
    const auto given = layout_of(layout);
    if (!given) return std::unexpected(given.error());
    *hash = given->hash();
    return {};
  });
}

baton_kv_status baton_kv_shape_hash(const baton_kv_shape* shape, uint64_t* hash) {
  return guarded([&]() -> Outcome<void> {
    if (hash == nullptr) return null("hash");
    const auto given = shape_of(shape);
    if (!given) return std::unexpected(given.error());
    *hash = given->hash();
    return {};
  });
}

baton_kv_status baton_kv_dense_placements(const baton_kv_paged_layout* layout,
                                          const baton_kv_dense_options* how,
                                          baton_kv_placement* placements, uint64_t* region_bytes) {
  return guarded([&]() -> Outcome<void> {
    if (placements == nullptr) return null("placements");
    const auto rank = paged_layout_of(layout, Placements::kToBeMade);
    if (!rank) return std::unexpected(rank.error());
    const auto dense = dense_of(how);
    if (!dense) return std::unexpected(dense.error());
    const PagedLayout made =
        dense_layout(rank->shape, rank->layers, rank->heads, rank->block_tokens, *dense);
    if (const auto good = made.check(); !good) return failed(good.error());
    for (std::size_t i = 0; i < made.parts.size(); ++i) {
      placements[i] = placement_to_c(made.parts[i]);
    }
    if (region_bytes != nullptr) *region_bytes = dense_region_bytes(made, *dense);
    return {};
  });
}

baton_kv_status baton_kv_plan_copy(const baton_kv_holder* sources, size_t source_count,
                                   const baton_kv_holder* target, int64_t first_token,
                                   int64_t end_token, size_t turn, baton_kv_plan** plan) {
  return guarded([&]() -> Outcome<void> {
    if (sources == nullptr) return null("sources");
    if (source_count > kMostSources) {
      return wrong(fmt::format("{} sources: at most {}", source_count, kMostSources));
    }
    if (target == nullptr) return null("target");
    if (plan == nullptr) return null("plan");
    auto made = c_api::plan({sources, source_count}, *target, {first_token, end_token}, turn);
    if (!made) return std::unexpected(made.error());
    *plan = made->release();
    return {};
  });
}

baton_kv_status baton_kv_plan_slices(const baton_kv_paged_layout* slot, int32_t first_layer,
                                     int32_t layer_count, int32_t first_head, int32_t head_count,
                                     int32_t token_order, baton_kv_slice* slices, size_t capacity,
                                     size_t* count, baton_kv_placement* landed) {
  return guarded([&]() -> Outcome<void> {
    if (count == nullptr) return null("count");
    if (slices == nullptr && capacity != 0) return null("slices");
    const auto layout = paged_layout_of(slot, Placements::kGiven);
    if (!layout) return std::unexpected(layout.error());
    const auto order = token_order_of(token_order, "token_order");
    if (!order) return std::unexpected(order.error());
    const auto plan =
        plan_slices(*layout, {first_layer, layer_count}, {first_head, head_count}, *order);
    if (!plan) return failed(plan.error());
    *count = plan->slices.size();
    if (capacity < plan->slices.size()) {
      return wrong(fmt::format("there are {} slices, and room for {}: pass a larger array",
                               plan->slices.size(), capacity));
    }
    for (std::size_t i = 0; i < plan->slices.size(); ++i) {
      const Slice& slice = plan->slices[i];
      slices[i] = {slice.offset, slice.bytes, slice.stride, slice.count};
    }
    if (landed == nullptr) return {};
    for (std::size_t i = 0; i < plan->landed.parts.size(); ++i) {
      landed[i] = placement_to_c(plan->landed.parts[i]);
    }
    return {};
  });
}

baton_kv_status baton_kv_plan_runs(const baton_kv_plan* plan, const baton_kv_run** runs,
                                   size_t* count) {
  return guarded([&]() -> Outcome<void> {
    if (plan == nullptr) return null("plan");
    if (runs == nullptr) return null("runs");
    if (count == nullptr) return null("count");
    *runs = plan->runs.data();
    *count = plan->runs.size();
    return {};
  });
}

void baton_kv_plan_free(baton_kv_plan* plan) { delete plan; }
}
