#pragma once

#include <vector>

#include "core/error.h"
#include "kv_transfer/paged_layout.h"
#include "kv_transfer/slices.h"

namespace baton::kv {

struct SlicePlan {
  std::vector<Slice> slices;  // to ask for of each slot
  PagedLayout landed;         // how a block lies where they arrive: packed, block 0 of region 0
};

// What a rank with these layers and heads asks for of a rank that has a block in each slot, laid
// out as `slot` says (block 0, region 0, offsets from the slot's beginning): all of both, and no
// byte more. `order` is how they land; the slot's own takes the fewest slices. From there
// plan_copy() takes them to the engine's pages. Errors: kInvalidArgument (a bad layout, nothing in
// common), kUnsupported (more than kMaxSlices, or a slot beyond 4 GiB: then fetch whole blocks).
[[nodiscard]] Result<SlicePlan> plan_slices(const PagedLayout& slot, IndexRange layers,
                                            IndexRange heads, TokenOrder order);

}  // namespace baton::kv
