#include "kv_transfer/wire.h"

#include <fmt/format.h>

#include <cstring>
#include <utility>

#include "core/utf8.h"
#include "kv_transfer/wire_proto.h"

namespace baton::kv::wire {
namespace {

std::unexpected<Error> malformed(std::string_view what) {
  return fail(ErrorCode::kUpstream, Stage::kHandoff,
              fmt::format("the peer sent a malformed message: {}", what), true);
}

bool is_name(const std::string& text) { return !text.empty() && text.size() <= kMaxText; }

ErrorCode code_from_name(std::string_view name) {
  for (int i = 0; i <= static_cast<int>(ErrorCode::kUnsupported); ++i) {
    if (name_of(static_cast<ErrorCode>(i)) == name) return static_cast<ErrorCode>(i);
  }
  return ErrorCode::kUpstream;
}

Error decode(const v1::Failure& message) {
  return {code_from_name(message.code()), Stage::kHandoff,
          well_formed_utf8(message.message(), kMaxText), message.retryable()};
}

void encode(const Error& error, v1::Failure& message) {
  message.set_code(std::string(name_of(error.code)));
  message.set_message(well_formed_utf8(error.message, kMaxText));
  message.set_retryable(error.retryable);
}

TransferId decode(const v1::TransferKey& key) { return {key.high(), key.low()}; }

void encode(TransferId id, v1::TransferKey& key) {
  key.set_high(id.high());
  key.set_low(id.low());
}

// A gRPC message has no checksum but TCP's, and a wrong position in it would be somebody else's KV.
std::uint64_t checksum_of(const Published& published) {
  std::vector<std::uint64_t> fields{published.first_index};
  fields.reserve(1 + 7 * published.blocks.size());
  for (const BlockDescriptor& block : published.blocks) {
    fields.insert(fields.end(),
                  {static_cast<std::uint64_t>(block.first_token),
                   static_cast<std::uint64_t>(block.token_count), block.slot.slot,
                   block.slot.generation, block.bytes, block.checksum, block.content_hash});
  }
  return kv::checksum_of(std::as_bytes(std::span(fields)));
}

std::uint64_t checksum_of(const Sealed& sealed) {
  const std::uint64_t fields[] = {static_cast<std::uint64_t>(sealed.terms.prompt_tokens),
                                  static_cast<std::uint64_t>(sealed.terms.cached_tokens),
                                  sealed.total_blocks};
  return kv::checksum_of(std::as_bytes(std::span(fields)));
}

std::unexpected<Error> changed_on_its_way(std::string_view what) {
  return fail(ErrorCode::kCorrupt, Stage::kHandoff,
              fmt::format("the peer's {} does not have its checksum", what), true);
}

Result<Published> decode(const v1::Published& message) {
  const auto count = static_cast<std::size_t>(message.blocks_size());
  if (count == 0 || count > kMaxBlocksPerEvent) return malformed("number of blocks");
  if (message.first_index() > kMaxBlocksPerLease - count) return malformed("block index");
  Published published{.first_index = message.first_index(), .blocks = {}};
  published.blocks.reserve(count);
  for (const v1::Block& block : message.blocks()) {
    if (block.first_token() < 0 || block.first_token() > kMaxTokens || block.token_count() <= 0) {
      return malformed("token range of a block");
    }
    if (block.generation() == 0 || block.bytes() == 0) return malformed("slot of a block");
    published.blocks.push_back({.first_token = block.first_token(),
                                .token_count = block.token_count(),
                                .slot = {block.slot(), block.generation()},
                                .bytes = block.bytes(),
                                .checksum = block.checksum(),
                                .content_hash = block.content_hash()});
  }
  if (message.checksum() != 0 && message.checksum() != checksum_of(published)) {
    return changed_on_its_way("list of blocks");
  }
  return published;
}

Result<Sealed> decode(const v1::Sealed& message) {
  if (message.total_blocks() > kMaxBlocksPerLease) return malformed("number of blocks");
  if (message.prompt_tokens() < 0 || message.prompt_tokens() > kMaxTokens ||
      message.cached_tokens() < 0 || message.cached_tokens() > message.prompt_tokens()) {
    return malformed("token counts of a seal");
  }
  const Sealed sealed{.terms = {message.prompt_tokens(), message.cached_tokens()},
                      .total_blocks = message.total_blocks()};
  if (message.checksum() != 0 && message.checksum() != checksum_of(sealed)) {
    return changed_on_its_way("seal");
  }
  return sealed;
}

void encode(const BlockDescriptor& block, v1::Block& message) {
  message.set_first_token(block.first_token);
  message.set_token_count(block.token_count);
  message.set_slot(block.slot.slot);
  message.set_generation(block.slot.generation);
  message.set_bytes(block.bytes);
  message.set_checksum(block.checksum);
  message.set_content_hash(block.content_hash);
}

template <class Message>
Result<Message> parse(std::span<const std::byte> bytes) {
  Message message;
  if (bytes.size() > kMaxMessageBytes ||
      !message.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return malformed("not a message of this protocol");
  }
  return message;
}

template <class Value, class Message>
Result<Value> parse_as(std::span<const std::byte> bytes) {
  const auto message = parse<Message>(bytes);
  if (!message) return std::unexpected(message.error());
  return wire::decode(*message);
}

template <class Value>
Result<Event> as_event(Result<Value> value) {
  if (!value) return std::unexpected(std::move(value.error()));
  return Event(std::move(*value));
}

}  // namespace

Result<Hello> decode(const v1::HandshakeRequest& message) {
  if (!is_name(message.engine_id())) return malformed("engine_id");
  if (static_cast<std::size_t>(message.transports_size()) > kMaxOffers) {
    return malformed("number of transports");
  }
  Hello hello{.protocol = message.protocol(),
              .engine_id = message.engine_id(),
              .epoch = message.epoch(),
              .layout_hash = message.layout_hash(),
              .transports = {}};
  for (const std::string& name : message.transports()) {
    if (!is_name(name)) return malformed("name of a transport");
    hello.transports.push_back(name);
  }
  return hello;
}

Result<Welcome> decode(const v1::HandshakeReply& message) {
  if (message.has_failure()) return std::unexpected(decode(message.failure()));
  if (!is_name(message.engine_id())) return malformed("engine_id");
  if (static_cast<std::size_t>(message.offers_size()) > kMaxOffers) {
    return malformed("number of offers");
  }
  Welcome welcome{.protocol = message.protocol(),
                  .engine_id = message.engine_id(),
                  .epoch = message.epoch(),
                  .layout_hash = message.layout_hash(),
                  .offers = {}};
  for (const v1::TransportOffer& offer : message.offers()) {
    if (!is_name(offer.transport()) || !is_name(offer.address()) ||
        offer.token().size() > kMaxText) {
      return malformed("an offer");
    }
    welcome.offers.push_back({offer.transport(), offer.address(), offer.token()});
  }
  return welcome;
}

Result<Follow> decode(const v1::FollowRequest& message) {
  if (!message.has_transfer() || message.reader() == 0) return malformed("transfer or reader");
  return Follow{decode(message.transfer()), message.epoch(), message.reader()};
}

Result<Event> decode(const v1::FollowEvent& message) {
  switch (message.event_case()) {
    case v1::FollowEvent::kPublished: return as_event(decode(message.published()));
    case v1::FollowEvent::kSealed: return as_event(decode(message.sealed()));
    case v1::FollowEvent::kAborted: return Event(decode(message.aborted()));
    case v1::FollowEvent::kHeartbeat: return Event(Heartbeat{});
    case v1::FollowEvent::EVENT_NOT_SET: break;
  }
  return malformed("an event of no kind");
}

Result<Release> decode(const v1::ReleaseRequest& message) {
  if (!message.has_transfer() || message.reader() == 0) return malformed("transfer or reader");
  switch (message.outcome()) {
    case v1::ReleaseRequest::ACKNOWLEDGED:
    case v1::ReleaseRequest::CANCELLED: break;
    default: return malformed("outcome");
  }
  return Release{decode(message.transfer()), message.epoch(), message.reader(),
                 message.outcome() == v1::ReleaseRequest::ACKNOWLEDGED ? Outcome::kAcknowledged
                                                                       : Outcome::kCancelled};
}

void encode(const Hello& value, v1::HandshakeRequest& message) {
  message.set_protocol(value.protocol);
  message.set_engine_id(value.engine_id);
  message.set_epoch(value.epoch);
  message.set_layout_hash(value.layout_hash);
  for (const std::string& name : value.transports) message.add_transports(name);
}

void encode(const Result<Welcome>& value, v1::HandshakeReply& message) {
  if (!value) {
    encode(value.error(), *message.mutable_failure());
    return;
  }
  message.set_protocol(value->protocol);
  message.set_engine_id(value->engine_id);
  message.set_epoch(value->epoch);
  message.set_layout_hash(value->layout_hash);
  for (const TransportOffer& offer : value->offers) {
    v1::TransportOffer& out = *message.add_offers();
    out.set_transport(offer.transport);
    out.set_address(offer.address);
    out.set_token(offer.token);
  }
}

void encode(const Follow& value, v1::FollowRequest& message) {
  encode(value.transfer, *message.mutable_transfer());
  message.set_epoch(value.epoch);
  message.set_reader(value.reader);
}

void encode(const Event& value, v1::FollowEvent& message) {
  if (const auto* published = std::get_if<Published>(&value)) {
    v1::Published& out = *message.mutable_published();
    out.set_first_index(published->first_index);
    for (const BlockDescriptor& block : published->blocks) encode(block, *out.add_blocks());
    out.set_checksum(checksum_of(*published));
  } else if (const auto* sealed = std::get_if<Sealed>(&value)) {
    v1::Sealed& out = *message.mutable_sealed();
    out.set_prompt_tokens(sealed->terms.prompt_tokens);
    out.set_cached_tokens(sealed->terms.cached_tokens);
    out.set_total_blocks(sealed->total_blocks);
    out.set_checksum(checksum_of(*sealed));
  } else if (const auto* error = std::get_if<Error>(&value)) {
    encode(*error, *message.mutable_aborted());
  } else {
    message.mutable_heartbeat();
  }
}

void encode(const Release& value, v1::ReleaseRequest& message) {
  encode(value.transfer, *message.mutable_transfer());
  message.set_epoch(value.epoch);
  message.set_reader(value.reader);
  message.set_outcome(value.outcome == Outcome::kAcknowledged ? v1::ReleaseRequest::ACKNOWLEDGED
                                                              : v1::ReleaseRequest::CANCELLED);
}

Result<Hello> parse_hello(std::span<const std::byte> message) {
  return parse_as<Hello, v1::HandshakeRequest>(message);
}
Result<Welcome> parse_welcome(std::span<const std::byte> message) {
  return parse_as<Welcome, v1::HandshakeReply>(message);
}
Result<Follow> parse_follow(std::span<const std::byte> message) {
  return parse_as<Follow, v1::FollowRequest>(message);
}
Result<Event> parse_event(std::span<const std::byte> message) {
  return parse_as<Event, v1::FollowEvent>(message);
}
Result<Release> parse_release(std::span<const std::byte> message) {
  return parse_as<Release, v1::ReleaseRequest>(message);
}

Error other_protocol(std::uint32_t theirs, std::string_view us) {
  return {ErrorCode::kUnsupported, Stage::kHandoff,
          fmt::format("the peer speaks KV protocol {}, {} speaks {}: run releases of Baton that "
                      "speak the same one in both pools",
                      theirs, us, kProtocol)};
}

FetchHeader fetch_header(const FetchTerms& terms, std::size_t count) {
  return {.count = static_cast<std::uint32_t>(count),
          .slices = static_cast<std::uint32_t>(terms.slices == nullptr ? 0 : terms.slices->size()),
          .transfer_high = terms.transfer.high(),
          .transfer_low = terms.transfer.low()};
}

Wanted wanted(const BlockRead& read, std::uint64_t tag) {
  return {.tag = tag,
          .generation = read.remote.slot.generation,
          .slot = read.remote.slot.slot,
          .index = read.index,
          .bytes = read.remote.bytes};
}

void append(std::vector<std::byte>& message, std::span<const std::byte> bytes) {
  message.insert(message.end(), bytes.begin(), bytes.end());
}

std::size_t body_bytes(const FetchHeader& header) {
  return header.count * sizeof(Wanted) + header.slices * sizeof(Slice);
}

Result<Fetch> parse_fetch(std::span<const std::byte> header, std::span<const std::byte> body) {
  FetchHeader head;
  if (header.size() != sizeof(head)) return malformed("length of a fetch header");
  std::memcpy(&head, header.data(), sizeof(head));
  if (head.magic != FetchHeader::kMagic) return malformed("magic of a fetch header");
  if (head.count > kMaxWanted || head.slices > kMaxSlices || body.size() != body_bytes(head)) {
    return malformed("number of wanted blocks or slices");
  }
  Fetch fetch{.transfer = {head.transfer_high, head.transfer_low}, .wanted = {}, .slices = {}};
  fetch.wanted.resize(head.count);
  const auto wanted_bytes = head.count * sizeof(Wanted);
  if (head.count > 0) std::memcpy(fetch.wanted.data(), body.data(), wanted_bytes);
  if (head.slices > 0) {
    std::vector<Slice> slices(head.slices);
    std::memcpy(slices.data(), body.data() + wanted_bytes, head.slices * sizeof(Slice));
    if (!are_sound(slices)) return malformed("a slice");
    fetch.slices = std::make_shared<const std::vector<Slice>>(std::move(slices));
  }
  for (const Wanted& wanted : fetch.wanted) {
    if (wanted.index >= kMaxBlocksPerLease || wanted.generation == 0 || wanted.bytes == 0) {
      return malformed("a wanted block");
    }
  }
  return fetch;
}

Result<PieceHeader> parse_piece(std::span<const std::byte> header, std::size_t body_bytes) {
  PieceHeader piece;
  if (header.size() != sizeof(piece)) return malformed("length of a piece header");
  std::memcpy(&piece, header.data(), sizeof(piece));
  if (piece.magic != PieceHeader::kMagic) return malformed("magic of a piece header");
  switch (piece.status) {
    case PieceStatus::kOk:
      if (piece.bytes == 0 || piece.bytes != body_bytes) return malformed("length of a piece");
      return piece;
    case PieceStatus::kStale:
    case PieceStatus::kWelcome:
      if (body_bytes != 0) return malformed("a body where none belongs");
      return piece;
  }
  return malformed("status of a piece");
}

}  // namespace baton::kv::wire
