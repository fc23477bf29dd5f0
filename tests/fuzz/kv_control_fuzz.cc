// Whatever a peer sends is either refused or within the bounds that the rest relies on. The first
// byte chooses the message; for active messages the second one is the length of the header.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <variant>

#include "kv_transfer/wire.h"

namespace {

using namespace baton::kv;

void require(bool holds) {
  if (!holds) std::abort();
}

void check(const wire::Event& event) {
  if (const auto* published = std::get_if<wire::Published>(&event)) {
    require(!published->blocks.empty());
    require(published->blocks.size() <= wire::kMaxBlocksPerEvent);
    require(published->first_index + published->blocks.size() <= wire::kMaxBlocksPerLease);
    for (const BlockDescriptor& block : published->blocks) {
      require(block.first_token >= 0 && block.token_count > 0);
      require(block.first_token + block.token_count > block.first_token);
      require(block.slot.generation > 0 && block.bytes > 0);
    }
  } else if (const auto* sealed = std::get_if<wire::Sealed>(&event)) {
    require(sealed->total_blocks <= wire::kMaxBlocksPerLease);
    require(sealed->terms.cached_tokens <= sealed->terms.prompt_tokens);
  } else if (const auto* error = std::get_if<baton::Error>(&event)) {
    require(error->message.size() <= wire::kMaxText);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::span<const std::byte> rest(reinterpret_cast<const std::byte*>(data) + 1, size - 1);
  const std::size_t header_bytes = std::min<std::size_t>(data[1], rest.size() - 1);
  const auto header = rest.subspan(1, header_bytes);
  const auto body = rest.subspan(1 + header_bytes);
  switch (data[0] % 7) {
    case 0:
      if (const auto event = wire::parse_event(rest)) check(*event);
      break;
    case 1:
      if (const auto hello = wire::parse_hello(rest)) {
        require(hello->transports.size() <= wire::kMaxOffers);
      }
      break;
    case 2:
      if (const auto welcome = wire::parse_welcome(rest)) {
        require(welcome->offers.size() <= wire::kMaxOffers);
      }
      break;
    case 3:
      if (const auto follow = wire::parse_follow(rest)) require(follow->reader != 0);
      break;
    case 4:
      if (const auto release = wire::parse_release(rest)) require(release->reader != 0);
      break;
    case 5:
      if (const auto fetch = wire::parse_fetch(header, body)) {
        const std::size_t slices = fetch->slices == nullptr ? 0 : fetch->slices->size();
        require(fetch->wanted.size() * sizeof(wire::Wanted) + slices * sizeof(Slice) ==
                body.size());
        require(fetch->wanted.size() <= wire::kMaxWanted && slices <= kMaxSlices);
        if (slices > 0) {
          require(are_sound(*fetch->slices) && bytes_of(*fetch->slices) <= end_of(*fetch->slices));
        }
      }
      break;
    default:
      if (const auto piece = wire::parse_piece(header, body.size())) {
        require(piece->status != wire::PieceStatus::kOk || piece->bytes == body.size());
      }
      break;
  }
  return 0;
}
