#include <fmt/format.h>

#include <chrono>
#include <random>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "kv_transfer/c_api/block.h"
#include "kv_transfer/c_api/handle.h"
#include "kv_transfer/c_api/names.h"
#include "kv_transfer/wire.h"

namespace baton::kv::c_api {
namespace {

constexpr std::uint32_t kDefaultTimeoutMs = 30'000;
constexpr std::size_t kMostBlocks = wire::kMaxBlocksPerLease;

Outcome<void> check_transfer(const baton_kv_transfer_id& id) {
  if (id.high != 0 || id.low != 0) return {};
  return wrong("the transfer id is all zero: draw one with baton_kv_draw_transfer_id()");
}

Outcome<void> check_extent(const BlockArena& arena, std::uint32_t bytes, std::int64_t first_token,
                           std::int32_t token_count) {
  if (bytes < 1 || bytes > static_cast<std::uint64_t>(arena.slot_bytes().count())) {
    return wrong(
        fmt::format("a block of {} bytes has no place in a slot of {}: at least 1, at "
                    "most all of it",
                    bytes, arena.slot_bytes().count()));
  }
  if (first_token >= 0 && token_count >= 1 && first_token <= wire::kMaxTokens) return {};
  return wrong(
      fmt::format("a block of {} tokens from token {} on cannot be: give the position of "
                  "its first token, from 0 on, and at least 1 token",
                  token_count, first_token));
}

Outcome<void> check_block(baton_kv_node& handle, const BlockArena& arena,
                          const baton_kv_block& block) {
  if (block.reserved[0] != 0 || block.reserved[1] != 0) {
    return wrong("baton_kv_block.reserved must be 0: set the struct to zero before filling it in");
  }
  if (auto good = check_extent(arena, block.bytes, block.first_token, block.token_count); !good) {
    return good;
  }
  return handle.book.check_owned(slot_of(block.slot));
}

Outcome<void> publish(baton_kv_node& handle, Node& node, TransferId transfer,
                      std::span<const baton_kv_block> given) {
  std::vector<BlockDescriptor> blocks;
  blocks.reserve(given.size());
  for (std::size_t i = 0; i < given.size(); ++i) {
    if (auto good = check_block(handle, node.arena(), given[i]); !good) {
      return failed(good.error().status, fmt::format("block {}: {}", i, good.error().message));
    }
    blocks.push_back(block_of(given[i]));
  }
  node.publish(transfer, std::move(blocks));
  return {};
}

// Turns what a receive brings into events.
class EventReceiver final : public Receiver {
 public:
  EventReceiver(baton_kv_node& handle, std::uint64_t number, std::uint64_t user_data,
                TransferId transfer)
      : handle_(handle), number_(number), user_data_(user_data), transfer_(transfer) {}

  void on_block(const BlockDescriptor& block) override {
    handle_.book.adopt(block.slot);
    Event event = of_kind(BATON_KV_EVENT_BLOCK);
    event.block = block;
    handle_.events.push(std::move(event));
  }

  void on_end(const Result<ReceiveSummary>& result) override {
    Event event = of_kind(BATON_KV_EVENT_RECEIVE_END);
    if (result) {
      event.summary = *result;
    } else {
      event.status = status_of(result.error().code);
      event.message = result.error().message;
      event.retryable = result.error().retryable;
    }
    handle_.receives.remove(number_);
    handle_.events.push(std::move(event));
  }

 private:
  [[nodiscard]] Event of_kind(std::int32_t kind) const {
    return {.kind = kind, .receive = number_, .user_data = user_data_, .transfer = transfer_};
  }

  baton_kv_node& handle_;
  const std::uint64_t number_;
  const std::uint64_t user_data_;
  const TransferId transfer_;
};

Outcome<Slices> slices_of(const baton_kv_receive_options& given, const BlockArena& arena) {
  if (given.slice_count == 0) return Slices();
  if (given.slices == nullptr) return null("baton_kv_receive_options.slices");
  if (given.slice_count > kMaxSlices) {
    return wrong(fmt::format("baton_kv_receive_options.slice_count is {}: at most {}",
                             given.slice_count, kMaxSlices));
  }
  std::vector<Slice> slices;
  for (const baton_kv_slice& slice : std::span(given.slices, given.slice_count)) {
    slices.push_back({slice.offset, slice.bytes, slice.stride, slice.count});
  }
  if (!are_sound(slices)) {
    return wrong(
        "baton_kv_receive_options.slices: none may be empty, and together they may be no "
        "more than a block that ends where they do");
  }
  if (bytes_of(slices) > static_cast<std::uint64_t>(arena.slot_bytes().count())) {
    return wrong(
        fmt::format("baton_kv_receive_options.slices are {} bytes of each block: a slot "
                    "has {}",
                    bytes_of(slices), arena.slot_bytes().count()));
  }
  return std::make_shared<const std::vector<Slice>>(std::move(slices));
}

Outcome<ReceiveRequest> request_of(const baton_kv_receive_options& given, const BlockArena& arena) {
  ReceiveRequest request;
  auto peer = checked_address(given.peer, "baton_kv_receive_options.peer");
  if (!peer) return std::unexpected(peer.error());
  auto engine = checked_name(given.engine_id, "baton_kv_receive_options.engine_id");
  if (!engine) return std::unexpected(engine.error());
  if (auto good = check_transfer(given.transfer); !good) return std::unexpected(good.error());
  if (given.from_token < 0) {
    return wrong(
        fmt::format("baton_kv_receive_options.from_token is {}: give the first token that "
                    "is not held here, 0 where nothing is",
                    given.from_token));
  }
  auto slices = slices_of(given, arena);
  if (!slices) return std::unexpected(slices.error());
  const std::uint32_t ms = given.timeout_ms != 0 ? given.timeout_ms : kDefaultTimeoutMs;
  request.peer = std::move(*peer);
  request.engine_id = std::move(*engine);
  request.epoch = given.epoch;
  request.transfer = transfer_of(given.transfer);
  request.from_token = given.from_token;
  request.priority = given.priority;
  request.slices = std::move(*slices);
  request.deadline = Clock::now() + std::chrono::milliseconds(ms);
  return request;
}

// What a producer's call does with a lease.
template <class Body>
baton_kv_status with_lease(baton_kv_node* node, const baton_kv_transfer_id& transfer,
                           Body body) noexcept {
  return with_node(node, [&](baton_kv_node& handle, Node& running) -> Outcome<void> {
    if (auto good = check_transfer(transfer); !good) return good;
    return body(handle, running, transfer_of(transfer));
  });
}

}  // namespace
}  // namespace baton::kv::c_api

using namespace baton;  // NOLINT: the C API lives outside the namespaces
using namespace baton::kv;
using namespace baton::kv::c_api;

extern "C" {

baton_kv_status baton_kv_draw_transfer_id(baton_kv_transfer_id* transfer) {
  return guarded([&]() -> Outcome<void> {
    if (transfer == nullptr) return null("transfer");
    std::random_device random;
    TransferId id;
    while (id.is_zero()) id = TransferId::draw(random);
    *transfer = {.high = id.high(), .low = id.low()};
    return {};
  });
}

baton_kv_status baton_kv_checksum(const void* bytes, size_t size, uint64_t* checksum) {
  return guarded([&]() -> Outcome<void> {
    if (checksum == nullptr) return null("checksum");
    if (bytes == nullptr && size != 0) return null("bytes");
    *checksum = checksum_of({static_cast<const std::byte*>(bytes), size});
    return {};
  });
}

baton_kv_status baton_kv_describe_block(baton_kv_node* node, baton_kv_slot slot, uint32_t bytes,
                                        int64_t first_token, int32_t token_count,
                                        baton_kv_block* block) {
  return with_node(node, [&](baton_kv_node& handle, Node& running) -> Outcome<void> {
    if (block == nullptr) return null("block");
    BlockArena& arena = running.arena();
    if (auto good = check_extent(arena, bytes, first_token, token_count); !good) return good;
    // Pinned, so that it stays this block while it is read.
    if (auto pinned = handle.book.pin(arena, slot_of(slot)); !pinned) return pinned;
    const std::uint64_t checksum = checksum_of(arena.bytes(slot_of(slot)).first(bytes));
    if (auto unpinned = handle.book.unpin(arena, slot_of(slot)); !unpinned) return unpinned;
    *block = block_to_c({.first_token = first_token,
                         .token_count = token_count,
                         .slot = slot_of(slot),
                         .bytes = bytes,
                         .checksum = checksum});
    return {};
  });
}

baton_kv_status baton_kv_lease_open(baton_kv_node* node, baton_kv_transfer_id transfer,
                                    const baton_kv_lease_options* options) {
  return with_lease(
      node, transfer, [&](baton_kv_node&, Node& running, TransferId id) -> Outcome<void> {
        baton_kv_lease_options terms{};
        if (options != nullptr) {
          const auto given = read(options, "baton_kv_lease_options");
          if (!given) return std::unexpected(given.error());
          terms = *given;
        }
        if (terms.prompt_tokens > wire::kMaxTokens) {
          return wrong(fmt::format("baton_kv_lease_options: {} prompt tokens; there can be {}",
                                   terms.prompt_tokens, wire::kMaxTokens));
        }
        if (terms.cached_tokens < 0 || terms.cached_tokens > terms.prompt_tokens) {
          return wrong(
              fmt::format("baton_kv_lease_options: {} of {} prompt tokens cannot be cached: "
                          "give 0 or more, at most all of them",
                          terms.cached_tokens, terms.prompt_tokens));
        }
        running.open_lease(id, terms.prompt_tokens, terms.cached_tokens);
        return {};
      });
}

baton_kv_status baton_kv_lease_publish(baton_kv_node* node, baton_kv_transfer_id transfer,
                                       const baton_kv_block* blocks, size_t count) {
  return with_lease(
      node, transfer, [&](baton_kv_node& handle, Node& running, TransferId id) -> Outcome<void> {
        if (blocks == nullptr && count != 0) return null("blocks");
        if (count > kMostBlocks) {
          return wrong(
              fmt::format("{} blocks at once: a lease has at most {}", count, kMostBlocks));
        }
        if (count == 0) return {};
        return publish(handle, running, id, {blocks, count});
      });
}

baton_kv_status baton_kv_lease_seal(baton_kv_node* node, baton_kv_transfer_id transfer) {
  return with_lease(node, transfer,
                    [&](baton_kv_node&, Node& running, TransferId id) -> Outcome<void> {
                      running.seal(id);
                      return {};
                    });
}

baton_kv_status baton_kv_lease_abort(baton_kv_node* node, baton_kv_transfer_id transfer,
                                     baton_kv_status reason, const char* message) {
  return with_lease(node, transfer,
                    [&](baton_kv_node&, Node& running, TransferId id) -> Outcome<void> {
                      if (reason < BATON_KV_UNSUPPORTED || reason > BATON_KV_INTERNAL) {
                        return wrong(
                            fmt::format("status {} ({}) is no reason to abort a lease: pass "
                                        "BATON_KV_UNSUPPORTED to BATON_KV_INTERNAL",
                                        reason, baton_kv_status_name(reason)));
                      }
                      running.abort(id, {code_of(reason), Stage::kPrefill,
                                         text_or(message, "the producer gave it up"), true});
                      return {};
                    });
}

baton_kv_status baton_kv_lease_release(baton_kv_node* node, baton_kv_transfer_id transfer) {
  return with_lease(node, transfer,
                    [&](baton_kv_node&, Node& running, TransferId id) -> Outcome<void> {
                      running.release(id);
                      return {};
                    });
}

baton_kv_status baton_kv_receive(baton_kv_node* node, const baton_kv_receive_options* options,
                                 uint64_t* receive) {
  return with_node(node, [&](baton_kv_node& handle, Node& running) -> Outcome<void> {
    if (receive == nullptr) return null("receive");
    const auto given = read(options, "baton_kv_receive_options");
    if (!given) return std::unexpected(given.error());
    auto request = request_of(*given, running.arena());
    if (!request) return std::unexpected(request.error());
    *receive = handle.receives.add([&](std::uint64_t number) {
      auto receiver =
          std::make_shared<EventReceiver>(handle, number, given->user_data, request->transfer);
      return running.receive(std::move(*request), std::move(receiver));
    });
    return {};
  });
}

baton_kv_status baton_kv_cancel(baton_kv_node* node, uint64_t receive) {
  return with_node(node, [&](baton_kv_node& handle, Node& running) -> Outcome<void> {
    ReceiveId id = 0;
    switch (handle.receives.find(receive, id)) {
      case Receives::Known::kRunning: running.cancel(id); break;
      case Receives::Known::kEnded: break;
      case Receives::Known::kNever:
        return wrong(
            fmt::format("no receive of this node has number {}: pass what "
                        "baton_kv_receive() gave",
                        receive));
    }
    return {};
  });
}
}
