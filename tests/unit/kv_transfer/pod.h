#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/ids.h"
#include "core/metrics.h"
#include "kv_transfer/node.h"

// A pod as the fault tests have them, in the test's own process or behind a pipe (kv_peer serve).
// Transfers are numbered, and what is in their blocks follows from the number, so that whoever
// receives one can tell whether it is right.
namespace baton::kv {

// Sanitizers make processes slow to start and slow to run: fewer repetitions then.
constexpr bool is_sanitized() {
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
  return true;
#else
  return false;
#endif
}

// What a pod holds and has counted. All of it is back where it was when nothing is under way.
struct PodCounts {
  int used = 0;
  int pinned = 0;
  int quarantined = 0;
  int leases = 0;
  int receives = 0;
  int fds = 0;
  int rss_kib = 0;  // without what is shared, as the arena
  int committed = 0;
  int freed = 0;
  int received = 0;  // receive() that ended well
  int failed = 0;
  [[nodiscard]] bool is_idle() const {
    return used == 0 && pinned == 0 && quarantined == 0 && leases == 0 && receives == 0;
  }
  [[nodiscard]] std::string str() const;
  [[nodiscard]] static PodCounts parse(const std::string& text);
};

// An address with a port that the system gives nobody by itself, so that it stays free while a pod
// that will come back there is away.
[[nodiscard]] std::string own_address();

[[nodiscard]] TransferId transfer_of(std::uint64_t number);
// Block `index` of a transfer; its size is in its contents too.
void fill(std::span<std::byte> block, std::uint64_t number, std::int64_t index);
[[nodiscard]] bool is_block(std::span<const std::byte> block, std::uint64_t number,
                            std::int64_t index);

// Slices of every block, and how large the blocks are of which they are slices.
struct Part {
  Slices slices;
  std::uint32_t block_bytes = 0;
};

// Compares what a receive() brings with what it should, and gives the slots back.
class Checker final : public Receiver {
 public:
  // `changed` runs on the kv thread, which waits for `pause` at each block as no receiver should:
  // so a transfer is still under way when its peer dies.
  Checker(BlockArena& arena, std::uint64_t number, Part part, Duration pause,
          std::function<void(Checker&)> changed);

  void on_block(const BlockDescriptor& block) override;
  void on_end(const Result<ReceiveSummary>& result) override;

  // Blocks that came: all of them, and those that are not what they should be or came twice.
  [[nodiscard]] int blocks() const;
  [[nodiscard]] int wrong() const;
  [[nodiscard]] std::optional<Result<ReceiveSummary>> end() const;
  [[nodiscard]] bool wait_for_block();
  // Fails the test if none comes within 20 s.
  [[nodiscard]] Result<ReceiveSummary> wait_for_end();

 private:
  [[nodiscard]] bool is_right(std::span<const std::byte> bytes, std::int64_t index) const;

  BlockArena& arena_;
  const std::uint64_t number_;
  const Part part_;
  const Duration pause_;
  const std::function<void(Checker&)> changed_;
  mutable std::mutex mutex_;
  std::condition_variable event_;
  std::set<std::int64_t> came_;
  int wrong_ = 0;
  std::optional<Result<ReceiveSummary>> end_;
};

// Where a transfer is to be had.
struct From {
  std::string address;
  std::uint64_t epoch = 0;
  std::string engine = "producer";
};

class Pod {
 public:
  static constexpr std::int64_t kSlotBytes = 64 * 1024;
  static constexpr std::int64_t kPromptTokens = 1 << 20;  // of every transfer

  // Null, and the test has failed: it does not start.
  [[nodiscard]] static std::unique_ptr<Pod> start(NodeOptions options, int slots,
                                                  std::int64_t slot_bytes = kSlotBytes);
  // KEY=VALUE: engine, epoch, transports (with commas), listen, slots, slot_bytes, heartbeat_ms,
  // ttl_ms, pause_us (of a Checker), tls_certificate, tls_key, tls_ca.
  [[nodiscard]] static std::unique_ptr<Pod> start(const std::vector<std::string>& settings);

  [[nodiscard]] Node& node() { return *node_; }
  [[nodiscard]] std::string address() const { return node_->address(); }

  void open(std::uint64_t number);
  // Blocks from index `first` on, each of `bytes`; waits for slots up to 10 s. Their slots are
  // freed at once, so that only the lease keeps them.
  bool publish(std::uint64_t number, std::int64_t first, int count, std::uint32_t bytes);
  void seal(std::uint64_t number);
  void abort(std::uint64_t number);
  void release(std::uint64_t number);

  std::shared_ptr<Checker> receive(std::uint64_t number, const From& from, Duration limit,
                                   std::function<void(Checker&)> changed = {},
                                   const Part& part = {});
  // Takes every slot that is free and writes over it; they are the caller's.
  [[nodiscard]] std::vector<SlotRef> scribble();
  // Whether nobody else has written to them since; frees them.
  [[nodiscard]] bool is_untouched(const std::vector<SlotRef>& scribbled);
  // One of the commands below.
  void obey(const std::string& command);
  [[nodiscard]] PodCounts counts();
  // Whether all is given back within 20 s.
  [[nodiscard]] bool becomes_idle();

 private:
  Pod() = default;

  Metrics metrics_;
  std::unique_ptr<Node> node_;
  Duration pause_{};
};

// The commands of `kv_peer serve`, a line each, until the input ends:
//   open N | publish N FIRST COUNT BYTES | seal N | abort N | release N | produce N COUNT BYTES
//   receive N ADDRESS EPOCH LIMIT_MS   → "first N", then "end N CODE BLOCKS WRONG MESSAGE"
//   counts → "counts …"
// The first line that it writes is its address.
int serve(const std::vector<std::string>& settings);

}  // namespace baton::kv
