#include "kv_transfer/cma_transport.h"

#include <fmt/format.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "core/ids.h"
#include "kv_transfer/arena_format.h"
#include "kv_transfer/copying_link.h"
#include "kv_transfer/one_time_tokens.h"

namespace baton::kv {
namespace {

namespace asio = boost::asio;

// Of one call, which takes 1,024 places: the mark's, and for each piece its generation's and its
// own.
constexpr std::size_t kTurnPieces = 500;
constexpr std::size_t kMarkBytes = 32;
using Mark = std::array<char, kMarkBytes>;

Error no_longer_there(const char* why) {
  return {ErrorCode::kUnavailable, Stage::kHandoff,
          fmt::format("cma: the producer's memory cannot be read: {}", why), true};
}

// What an offer says of the owner. Numbers, so that nothing has to be believed of them but what
// process_vm_readv() confirms.
struct Place {
  pid_t pid = 0;
  std::uint64_t mark = 0;
  std::uint64_t arena = 0;

  [[nodiscard]] std::string str() const { return fmt::format("{}:{:x}:{:x}", pid, mark, arena); }
  [[nodiscard]] static std::optional<Place> parse(const std::string& text) {
    Place place;
    unsigned long long mark_at = 0;
    unsigned long long arena_at = 0;
    char after = 0;
    if (std::sscanf(text.c_str(), "%d:%llx:%llx%c", &place.pid, &mark_at, &arena_at, &after) != 3 ||
        place.pid <= 0) {
      return std::nullopt;
    }
    place.mark = mark_at;
    place.arena = arena_at;
    return place;
  }
};

// Reads of another process, gathered for one call.
class RemoteRead {
 public:
  void add(std::uint64_t from, void* into, std::size_t bytes) {
    remote_.push_back({std::bit_cast<void*>(from), bytes});
    local_.push_back({into, bytes});
    bytes_ += bytes;
  }
  [[nodiscard]] bool run(pid_t pid) const {
    return ::process_vm_readv(pid, local_.data(), local_.size(), remote_.data(), remote_.size(),
                              0) == static_cast<ssize_t>(bytes_);
  }

 private:
  std::vector<iovec> remote_;
  std::vector<iovec> local_;
  std::size_t bytes_ = 0;
};

class CmaLink final : public CopyingLink {
 public:
  CmaLink(Loop loop, const Place& owner, const Mark& mark)
      : CopyingLink(std::move(loop), kTurnPieces), owner_(owner), mark_(mark) {}

  // Reads the arena's header. Errors: kUnsupported where it is another process, or not to be read.
  Result<void> begin() {
    Mark found{};
    RemoteRead read;
    read.add(owner_.mark, found.data(), found.size());
    read.add(owner_.arena, &header_, sizeof(header_));
    if (!read.run(owner_.pid)) {
      return fail(
          ErrorCode::kUnsupported, Stage::kHandoff,
          fmt::format("cma: process {} cannot be read ({}); both must run as one user in one "
                      "pid namespace",
                      owner_.pid, std::strerror(errno)));
    }
    if (found != mark_ || header_.slots == 0 ||
        header_ != ArenaHeader::describe(header_.slot_bytes, header_.slots)) {
      return fail(ErrorCode::kUnsupported, Stage::kHandoff,
                  fmt::format("cma: process {} is not the producer: is its pid namespace another?",
                              owner_.pid));
    }
    return {};
  }

 private:
  void copy(std::span<const Piece> pieces) override {
    // Of sliced blocks all is read, since their checksum is of all.
    std::vector<std::vector<std::byte>> whole(pieces.size());
    std::vector<std::uint64_t> before(pieces.size());
    std::vector<std::uint64_t> after(pieces.size());
    Mark found{};
    RemoteRead first;
    RemoteRead second;
    first.add(owner_.mark, found.data(), found.size());
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      const BlockDescriptor& block = pieces[i].read->remote;
      if (!fits(pieces[i])) continue;
      const std::uint64_t generation =
          owner_.arena + sizeof(ArenaHeader) + block.slot.slot * sizeof(std::uint64_t);
      first.add(generation, &before[i], sizeof(before[i]));
      second.add(generation, &after[i], sizeof(after[i]));
      if (pieces[i].slices() != nullptr) whole[i].resize(block.bytes);
      first.add(owner_.arena + header_.first_slot + block.slot.slot * header_.slot_stride,
                whole[i].empty() ? pieces[i].read->into.data() : whole[i].data(), block.bytes);
    }
    // The second call begins when the first one's bytes are here, so generations that are still the
    // same were so all the while.
    const bool is_read = first.run(owner_.pid) && second.run(owner_.pid) && found == mark_;
    if (!is_read) fail_from_now_on();
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      pieces[i].report(is_read ? judge(pieces[i], before[i], after[i], whole[i])
                               : std::unexpected(no_longer_there("it is gone")));
    }
  }

  [[nodiscard]] bool fits(const Piece& piece) const {
    const BlockRead& read = *piece.read;
    const auto* slices = piece.slices();
    return read.remote.slot.slot < header_.slots && read.remote.bytes <= header_.slot_bytes &&
           (slices == nullptr
                ? read.into.size() == read.remote.bytes
                : end_of(*slices) <= read.remote.bytes && bytes_of(*slices) == read.into.size());
  }

  Result<void> judge(const Piece& piece, std::uint64_t before, std::uint64_t after,
                     std::span<const std::byte> whole) const {
    const BlockRead& read = *piece.read;
    if (!fits(piece)) {
      return fail(ErrorCode::kUpstream, Stage::kHandoff,
                  fmt::format("block {} lies outside the producer's arena", read.index));
    }
    if (before != read.remote.slot.generation || after != before) {
      return std::unexpected(stale(read));
    }
    if (piece.slices() == nullptr) return verify(piece, 0);
    if (read.remote.checksum != 0 && checksum_of(whole) != read.remote.checksum) {
      return std::unexpected(corrupt(read));
    }
    pack(*piece.slices(), whole, read.into);
    return {};
  }

  const Place owner_;
  const Mark mark_;
  ArenaHeader header_{};
};

class CmaTransport final : public Transport {
 public:
  CmaTransport(Loop loop, BlockArena& arena) : loop_(std::move(loop)), arena_(arena) {
    std::memcpy(mark_.data(), OneTimeTokens::draw().data(), mark_.size());
    // Where Yama asks for it; elsewhere there is no such option.
    (void)::prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
  }

  Capabilities capabilities() const override { return {.name = "cma", .same_host = true}; }
  TransportOffer reserve(TimePoint) override {
    const Place place{.pid = ::getpid(),
                      .mark = reinterpret_cast<std::uint64_t>(mark_.data()),
                      .arena = reinterpret_cast<std::uint64_t>(arena_.memory())};
    return {"cma", place.str(), {mark_.data(), mark_.size()}};
  }
  // What a reader sees is the arena; the generations in it say what is current.
  void publish(TransferId, std::span<const BlockDescriptor>) override {}
  void abort(TransferId) override {}

  void connect(const TransportOffer& offer, TimePoint, Connected done) override {
    const auto place = Place::parse(offer.address);
    asio::post(*loop_, [loop = loop_, offer, place, done = std::move(done)] {
      if (!place || offer.token.size() != kMarkBytes) {
        done(fail(ErrorCode::kUnsupported, Stage::kHandoff, "malformed cma offer"));
        return;
      }
      Mark mark{};
      std::memcpy(mark.data(), offer.token.data(), mark.size());
      const auto link = std::make_shared<CmaLink>(loop, *place, mark);
      if (auto begun = link->begin(); !begun) {
        done(std::unexpected(begun.error()));
      } else {
        done(link);
      }
    });
  }

  void stop(std::function<void()> done) override { asio::post(*loop_, std::move(done)); }

 private:
  const Loop loop_;
  BlockArena& arena_;
  Mark mark_{};
};

}  // namespace

std::unique_ptr<Transport> make_cma_transport(Loop loop, BlockArena& arena) {
  return std::make_unique<CmaTransport>(std::move(loop), arena);
}

}  // namespace baton::kv
