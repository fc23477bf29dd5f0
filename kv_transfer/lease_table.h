#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <unordered_map>
#include <vector>

#include "core/error.h"
#include "core/ids.h"
#include "core/units.h"
#include "kv_transfer/lease.h"

namespace baton::kv {

// Names one reader of a lease: random, drawn by the reader for each Follow.
using ReaderKey = std::uint64_t;

// What the producer says of a transfer when it opens the lease.
struct LeaseTerms {
  std::int64_t prompt_tokens = 0;
  std::int64_t cached_tokens = 0;
  bool operator==(const LeaseTerms&) const = default;
};

// Something that the owner of the table has to do after a call, in order.
struct LeaseAction {
  enum class Kind : std::uint8_t {
    kOffer,     // `blocks` may be read from now on, indices from `first_index`
    kWithdraw,  // nothing of the lease may be read any more
    kPublish,   // tell `reader` of `blocks`
    kSeal,      // tell `reader` that there are `total_blocks`, with `terms`
    kAbort,     // tell `reader` why it gets no more; then call told()
    kClose,     // end `reader`'s stream
    kUnpin,     // give back one pin of each of `blocks`
    kEnd,       // the lease has ended, in `state`
  };
  Kind kind = Kind::kEnd;
  TransferId id;
  ReaderKey reader = 0;
  std::uint32_t first_index = 0;
  std::uint32_t total_blocks = 0;
  std::vector<BlockDescriptor> blocks{};
  LeaseTerms terms{};
  Error reason{};
  LeaseState state = LeaseState::kFreed;
  Duration held{};    // kEnd: since the lease was opened
  Duration margin{};  // kEnd: of the time to live when the last reader came
};

// The producer's leases as a state machine:
//   RESERVED → STREAMING → SEALED → COMMITTED, or from any of them ABORTING → QUARANTINED → FREED.
// Pure: no I/O, no clock, no threads; time comes in and actions go out. Owned by the Node on its kv
// thread. Promises: each transition is idempotent; each lease that was opened ends once; each block
// handed to publish() is unpinned once; a lease without a reader is kept for at most the time to
// live after it was sealed; an ended lease is remembered, so that a reader
// that comes late is told why.
class LeaseTable {
 public:
  struct Options {
    Duration ttl = std::chrono::seconds(10);
    Duration wait_for_open = std::chrono::seconds(30);
    Duration quarantine = std::chrono::seconds(3);
    std::size_t max_leases = 16384;
    std::size_t max_blocks = 65536;  // of one lease
    std::size_t remembered = 4096;   // ended leases
  };
  using Actions = std::vector<LeaseAction>;

  explicit LeaseTable(const Options& options) : options_(options) {}

  // Producer.
  [[nodiscard]] Actions open(TransferId id, LeaseTerms terms, TimePoint now);
  [[nodiscard]] Actions publish(TransferId id, std::vector<BlockDescriptor> blocks);
  [[nodiscard]] Actions seal(TransferId id, TimePoint now);
  [[nodiscard]] Actions abort(TransferId id, Error reason, TimePoint now);
  // Router: nobody will fetch it.
  [[nodiscard]] Actions release(TransferId id, TimePoint now);

  // Reader. A second reader takes the place of the first.
  [[nodiscard]] Actions follow(TransferId id, ReaderKey reader, TimePoint now);
  [[nodiscard]] Actions told(TransferId id, ReaderKey reader);                 // of kAbort
  [[nodiscard]] Actions lost(TransferId id, ReaderKey reader, TimePoint now);  // its stream ended
  [[nodiscard]] Actions acknowledge(TransferId id, ReaderKey reader, TimePoint now);  // it has all
  [[nodiscard]] Actions cancel(TransferId id, ReaderKey reader, TimePoint now);       // not wanted

  // Ends what has run out of time.
  [[nodiscard]] Actions expire(TimePoint now);

  [[nodiscard]] std::optional<LeaseState> state(TransferId id) const;  // none: never heard of
  [[nodiscard]] std::size_t open_leases() const { return leases_.size(); }
  [[nodiscard]] std::vector<TransferId> ids() const;  // of leases that have not ended

 private:
  struct Lease {
    LeaseState state = LeaseState::kReserved;
    LeaseTerms terms;
    std::vector<BlockDescriptor> blocks;
    ReaderKey reader = 0;       // 0: none now
    ReaderKey last_reader = 0;  // whose acknowledgement still counts
    std::optional<TimePoint> expires;
    TimePoint opened{};  // the epoch: it was not
    Duration margin{};
    Error reason;
  };
  struct Ended {
    LeaseState state = LeaseState::kFreed;
    Error reason;  // what a reader that comes late is told
  };
  using Leases = std::unordered_map<TransferId, Lease>;

  void begin_abort(Leases::iterator it, Error reason, TimePoint now, Actions& out);
  void end(Leases::iterator it, LeaseState state, Error reason, TimePoint now, Actions& out);
  void remember(TransferId id, LeaseState state, Error reason);
  void refuse_reader(TransferId id, ReaderKey reader, Error reason, Actions& out) const;

  const Options options_;
  Leases leases_;
  std::unordered_map<TransferId, Ended> ended_;
  std::deque<TransferId> ended_order_;
};

}  // namespace baton::kv
