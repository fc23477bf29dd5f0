#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "core/error.h"
#include "core/ids.h"
#include "kv_transfer/lease.h"
#include "kv_transfer/lease_table.h"
#include "kv_transfer/transport.h"

// What peers say to each other, as checked values. Everything here comes from another process and
// is checked before use: lengths, counts, ranges and names.
namespace baton::kv::wire {

inline constexpr std::size_t kMaxMessageBytes = 1 << 20;
inline constexpr std::size_t kMaxBlocksPerEvent = 4096;
inline constexpr std::uint32_t kMaxBlocksPerLease = 65536;
inline constexpr std::int64_t kMaxTokens = std::int64_t{1} << 40;
inline constexpr std::size_t kMaxOffers = 8;
inline constexpr std::size_t kMaxText = 512;

// Changes with every change that the other end would misunderstand.
inline constexpr std::uint32_t kProtocol = 2;
// `theirs` is not kProtocol, which `us` (an engine id) speaks. kUnsupported.
[[nodiscard]] Error other_protocol(std::uint32_t theirs, std::string_view us);

struct Hello {
  std::uint32_t protocol = kProtocol;
  std::string engine_id;
  std::uint64_t epoch = 0;
  std::uint64_t layout_hash = 0;
  std::vector<std::string> transports;
};

struct Welcome {
  std::uint32_t protocol = kProtocol;
  std::string engine_id;
  std::uint64_t epoch = 0;
  std::uint64_t layout_hash = 0;
  std::vector<TransportOffer> offers;
};

struct Follow {
  TransferId transfer;
  std::uint64_t epoch = 0;
  ReaderKey reader = 0;
};

struct Published {
  std::uint32_t first_index = 0;
  std::vector<BlockDescriptor> blocks;
};
struct Sealed {
  LeaseTerms terms;
  std::uint32_t total_blocks = 0;
};
struct Heartbeat {};
using Event = std::variant<Published, Sealed, Error, Heartbeat>;

enum class Outcome : std::uint8_t { kAcknowledged, kCancelled };
struct Release {
  TransferId transfer;
  std::uint64_t epoch = 0;
  ReaderKey reader = 0;
  Outcome outcome = Outcome::kCancelled;
};

// Errors: kUpstream, or kCorrupt where a message changed on its way, naming what is wrong; never
// with the peer's own text in full.
[[nodiscard]] Result<Hello> parse_hello(std::span<const std::byte> message);
[[nodiscard]] Result<Welcome> parse_welcome(std::span<const std::byte> message);
[[nodiscard]] Result<Follow> parse_follow(std::span<const std::byte> message);
[[nodiscard]] Result<Event> parse_event(std::span<const std::byte> message);
[[nodiscard]] Result<Release> parse_release(std::span<const std::byte> message);

// What the ucx and tcp transports ask and answer: little-endian structs, as both ends are x86-64 or
// AArch64; another byte order shows as a wrong magic.
struct Wanted {
  std::uint64_t tag = 0;  // the reader's own name for the piece, sent back with it
  std::uint64_t generation = 0;
  std::uint32_t slot = 0;
  std::uint32_t index = 0;
  std::uint32_t bytes = 0;  // of the whole block, as it was published
  std::uint32_t reserved = 0;
};
struct FetchHeader {
  static constexpr std::uint32_t kMagic = 0x32544642;  // "BFT2"
  std::uint32_t magic = kMagic;
  std::uint32_t count = 0;   // of Wanted in the message's body
  std::uint32_t slices = 0;  // of Slice behind them; none: whole blocks
  std::uint32_t reserved = 0;
  std::uint64_t transfer_high = 0;
  std::uint64_t transfer_low = 0;
};
enum class PieceStatus : std::uint32_t { kOk = 0, kStale = 1, kWelcome = 2 };
struct PieceHeader {
  static constexpr std::uint32_t kMagic = 0x32504642;  // "BFP2"
  std::uint32_t magic = kMagic;
  PieceStatus status = PieceStatus::kOk;
  std::uint64_t tag = 0;
  std::uint64_t generation = 0;
  std::uint32_t index = 0;
  std::uint32_t bytes = 0;     // of the body
  std::uint64_t checksum = 0;  // of slices as they were sent; 0: the published one holds
};
static_assert(sizeof(Wanted) == 32 && sizeof(FetchHeader) == 32 && sizeof(PieceHeader) == 40);

// Of a question for `count` blocks.
[[nodiscard]] FetchHeader fetch_header(const FetchTerms& terms, std::size_t count);
[[nodiscard]] Wanted wanted(const BlockRead& read, std::uint64_t tag);
void append(std::vector<std::byte>& message, std::span<const std::byte> bytes);
template <class Frame>
void append(std::vector<std::byte>& message, const Frame& frame)
  requires std::is_trivially_copyable_v<Frame>
{
  append(message, std::as_bytes(std::span(&frame, 1)));
}

struct Fetch {
  TransferId transfer;
  std::vector<Wanted> wanted;  // empty: a greeting, answered with kWelcome
  Slices slices;               // null: whole blocks
};
inline constexpr std::size_t kMaxWanted = 64;
inline constexpr std::size_t kMaxFetchBytes =
    sizeof(FetchHeader) + kMaxWanted * sizeof(Wanted) + kMaxSlices * sizeof(Slice);

// Bytes of the body that follows this header; more than kMaxFetchBytes, and it is none.
[[nodiscard]] std::size_t body_bytes(const FetchHeader& header);
[[nodiscard]] Result<Fetch> parse_fetch(std::span<const std::byte> header,
                                        std::span<const std::byte> body);
[[nodiscard]] Result<PieceHeader> parse_piece(std::span<const std::byte> header,
                                              std::size_t body_bytes);

}  // namespace baton::kv::wire
