#include "kv_transfer/c_api/layouts.h"

#include <fmt/format.h>

#include <cstdint>
#include <utility>

namespace baton::kv::c_api {
namespace {

constexpr std::size_t kMostParts = 64;  // PagedLayout::check() allows fewer and says so

Outcome<bool> flag(std::uint32_t value, std::string_view field) {
  if (value <= 1) return value == 1;
  return wrong(fmt::format("{} is {}: it must be 0 or 1", field, value));
}

Outcome<KvShape::Part> part_of(const baton_kv_part& given) {
  if (given.name == nullptr) return null("baton_kv_part.name");
  if (given.reserved != 0) return wrong("baton_kv_part.reserved must be 0");
  return KvShape::Part{given.name, given.row_bytes};
}

Outcome<PagedLayout::Placement> placement_of(const baton_kv_placement& given) {
  const auto per_layer = flag(given.region_per_layer, "baton_kv_placement.region_per_layer");
  if (!per_layer) return std::unexpected(per_layer.error());
  return PagedLayout::Placement{.region = given.region,
                                .region_per_layer = *per_layer,
                                .offset = given.offset,
                                .layer_stride = given.layer_stride,
                                .block_stride = given.block_stride,
                                .head_stride = given.head_stride,
                                .token_stride = given.token_stride};
}

}  // namespace

Outcome<KvLayout> layout_of(const baton_kv_layout* given) {
  const auto c = read(given, "baton_kv_layout");
  if (!c) return std::unexpected(c.error());
  const auto flash = flag(c->flash_attention, "baton_kv_layout.flash_attention");
  if (!flash) return std::unexpected(flash.error());
  const auto unified = flag(c->unified, "baton_kv_layout.unified");
  if (!unified) return std::unexpected(unified.error());
  if (c->reserved != 0) return wrong("baton_kv_layout.reserved must be 0");
  if (c->layers < 0 || c->kv_heads < 0 || c->key_dim < 0 || c->value_dim < 0 ||
      c->block_tokens < 0) {
    return wrong("baton_kv_layout counts layers, heads, elements and tokens: none may be below 0");
  }
  return KvLayout{.engine = text_or(c->engine),
                  .model = text_or(c->model),
                  .key_type = text_or(c->key_type),
                  .value_type = text_or(c->value_type),
                  .order = text_or(c->order),
                  .flash_attention = *flash,
                  .unified = *unified,
                  .layers = c->layers,
                  .kv_heads = c->kv_heads,
                  .key_dim = c->key_dim,
                  .value_dim = c->value_dim,
                  .block_tokens = c->block_tokens,
                  .extra = text_or(c->extra)};
}

Outcome<KvShape> shape_of(const baton_kv_shape* given) {
  const auto c = read(given, "baton_kv_shape");
  if (!c) return std::unexpected(c.error());
  if (c->parts == nullptr) return null("baton_kv_shape.parts");
  if (c->part_count < 1 || c->part_count > kMostParts) {
    return wrong(
        fmt::format("baton_kv_shape.part_count is {}: give the number of parts, as 2 for "
                    "keys and values",
                    c->part_count));
  }
  KvShape shape{.model = text_or(c->model),
                .dtype = text_or(c->dtype),
                .layers = c->layers,
                .kv_heads = c->kv_heads,
                .parts = {}};
  for (std::size_t i = 0; i < c->part_count; ++i) {
    auto part = part_of(c->parts[i]);
    if (!part) return std::unexpected(part.error());
    shape.parts.push_back(std::move(*part));
  }
  return shape;
}

Outcome<PagedLayout> paged_layout_of(const baton_kv_paged_layout* given, Placements placements) {
  const auto c = read(given, "baton_kv_paged_layout");
  if (!c) return std::unexpected(c.error());
  if (c->reserved != 0) return wrong("baton_kv_paged_layout.reserved must be 0");
  auto shape = shape_of(c->shape);
  if (!shape) return std::unexpected(shape.error());
  PagedLayout layout{.shape = std::move(*shape),
                     .layers = {c->first_layer, c->layer_count},
                     .heads = {c->first_head, c->head_count},
                     .block_tokens = c->block_tokens,
                     .parts = {}};
  if (placements == Placements::kToBeMade) {
    layout.parts.resize(layout.shape.parts.size());
  } else {
    if (c->placements == nullptr) return null("baton_kv_paged_layout.placements");
    for (std::size_t i = 0; i < layout.shape.parts.size(); ++i) {
      const auto place = placement_of(c->placements[i]);
      if (!place) return std::unexpected(place.error());
      layout.parts.push_back(*place);
    }
  }
  if (const auto good = layout.check(); !good) return failed(good.error());
  return layout;
}

baton_kv_placement placement_to_c(const PagedLayout::Placement& place) {
  return {.region = place.region,
          .region_per_layer = place.region_per_layer ? 1U : 0U,
          .offset = place.offset,
          .layer_stride = place.layer_stride,
          .block_stride = place.block_stride,
          .head_stride = place.head_stride,
          .token_stride = place.token_stride};
}

}  // namespace baton::kv::c_api
