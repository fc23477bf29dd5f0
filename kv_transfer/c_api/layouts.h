#pragma once

#include "kv_transfer/baton_kv.h"
#include "kv_transfer/c_api/guard.h"
#include "kv_transfer/layout.h"
#include "kv_transfer/paged_layout.h"

// The layouts of the C API as those of the library. Null strings are empty.
namespace baton::kv::c_api {

[[nodiscard]] Outcome<KvLayout> layout_of(const baton_kv_layout* given);
[[nodiscard]] Outcome<KvShape> shape_of(const baton_kv_shape* given);

enum class Placements : std::uint8_t { kGiven, kToBeMade };
// Checked by PagedLayout::check(); with kToBeMade only what comes before the placements is read.
[[nodiscard]] Outcome<PagedLayout> paged_layout_of(const baton_kv_paged_layout* given,
                                                   Placements placements);
[[nodiscard]] baton_kv_placement placement_to_c(const PagedLayout::Placement& place);

}  // namespace baton::kv::c_api
