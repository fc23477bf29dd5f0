// Seconds of pulling blocks over a connection that stands, of blocks that both ends know: what a
// transport does, without the control service. kv_link_bench REPETITIONS BLOCKSxBYTES... prints one
// line of JSON for each transport, with the blocks' checksums verified and without, and for what
// the system allows at best. A shape of one block is fetched a thousand times for each repetition.
// Blocks lie in random order on both sides.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "core/log.h"
#include "kv_transfer/arena.h"
#include "kv_transfer/cma_transport.h"
#include "kv_transfer/measure/sample_hand_off.h"
#include "kv_transfer/shm_transport.h"
#include "kv_transfer/tcp_transport.h"
#include "kv_transfer/ucx_transport.h"
#include "perf/kv_transfer/processes.h"
#include "perf/kv_transfer/raw_limits.h"

namespace baton::kv {
namespace {

constexpr TransferId kTransfer{0, 1};

[[noreturn]] void die(const std::string& why) {
  fmt::print(stderr, "kv_link_bench: {}\n", why);
  std::_Exit(1);
}

// One end: a loop of its own, an arena and a transport.
class End {
 public:
  End(const std::string& name, const BlockShape& shape, int connections) {
    auto arena = BlockArena::create(Bytes(shape.bytes), shape.blocks);
    if (!arena) die(arena.error().message);
    arena_ = std::move(*arena);
    transport_ = make(name, connections);
  }
  BlockArena& arena() { return *arena_; }
  Transport& transport() { return *transport_; }
  template <class Condition>
  void run_until(Condition condition) {
    while (!condition()) loop_->run_one();
  }

 private:
  std::unique_ptr<Transport> make(const std::string& name, int connections) {
    if (name == "cma") return make_cma_transport(loop_, *arena_);
    auto made = name == "shm"   ? make_shm_transport(loop_, *arena_)
                : name == "tcp" ? make_tcp_transport(loop_, *arena_, {.connections = connections})
                                : make_ucx_transport(loop_, *arena_, {});
    if (!made) die(made.error().message);
    return std::move(*made);
  }

  const Loop loop_ = std::make_shared<boost::asio::io_context>(1);
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      loop_->get_executor()};
  std::unique_ptr<BlockArena> arena_;
  std::unique_ptr<Transport> transport_;
};

void write_all(int to, const void* data, std::size_t bytes) {
  if (::write(to, data, bytes) != static_cast<ssize_t>(bytes)) die("write");
}
void read_all(int from, void* data, std::size_t bytes) {
  for (auto* at = static_cast<std::byte*>(data); bytes > 0;) {
    const ssize_t got = ::read(from, at, bytes);
    if (got <= 0) die("the owner is gone");
    at += got;
    bytes -= static_cast<std::size_t>(got);
  }
}
void write_text(int to, const std::string& text) {
  const std::size_t bytes = text.size();
  write_all(to, &bytes, sizeof bytes);
  write_all(to, text.data(), bytes);
}
std::string read_text(int from) {
  std::size_t bytes = 0;
  read_all(from, &bytes, sizeof bytes);
  std::string text(bytes, 0);
  read_all(from, text.data(), bytes);
  return text;
}

// The owner's process: says how to connect and which blocks there are, then serves.
[[noreturn]] void own(const std::string& name, const BlockShape& shape, int output) {
  End end(name, shape, 1);
  std::mt19937_64 rng(1);
  std::vector<BlockDescriptor> blocks;
  for (const SlotRef slot : slots_in_random_order(end.arena(), 1)) {
    (void)end.arena().pin(slot);
    blocks.push_back(sample_block(end.arena(), slot, rng));
  }
  end.transport().publish(kTransfer, blocks);
  const TransportOffer offer = end.transport().reserve(Clock::now());
  write_text(output, offer.address);
  write_text(output, offer.token);
  for (const BlockDescriptor& block : blocks) write_all(output, &block, sizeof block);
  end.run_until([] { return false; });
  std::_Exit(0);
}

struct Timing {
  std::vector<double> seconds;
  std::vector<double> posting;  // of the same fetches, until fetch() came back
};

class Reader {
 public:
  Reader(const std::string& name, const BlockShape& shape, int connections, int input)
      : end_(name, shape, connections) {
    TransportOffer offer{name, read_text(input), read_text(input)};
    blocks_.resize(static_cast<std::size_t>(shape.blocks));
    for (BlockDescriptor& block : blocks_) read_all(input, &block, sizeof block);
    for (const SlotRef slot : slots_in_random_order(end_.arena(), 2))
      places_.push_back(end_.arena().bytes(slot));
    std::optional<Result<std::shared_ptr<Link>>> link;
    end_.transport().connect(offer, Clock::now() + std::chrono::seconds(5),
                             [&](auto result) { link = std::move(result); });
    end_.run_until([&] { return link.has_value(); });
    if (!*link) die(link->error().message);
    link_ = **link;
  }

  void fetch(bool verified, Timing& timing) {
    std::vector<BlockRead> reads;
    for (std::uint32_t i = 0; i < blocks_.size(); ++i) {
      reads.push_back({.index = i, .remote = blocks_[i], .into = places_[i]});
      if (!verified) reads.back().remote.checksum = 0;
    }
    std::size_t left = reads.size();
    const TimePoint begun = Clock::now();
    link_->fetch({.transfer = kTransfer}, std::move(reads),
                 [&left](std::uint32_t, const Result<void>& result) {
                   if (!result) die(result.error().message);
                   --left;
                 });
    const TimePoint posted = Clock::now();
    end_.run_until([&left] { return left == 0; });
    timing.seconds.push_back(to_seconds(Clock::now() - begun));
    timing.posting.push_back(to_seconds(posted - begun));
  }
  // After a fetch that verified nothing.
  void check() const {
    for (std::size_t i = 0; i < blocks_.size(); ++i) {
      if (checksum_of(places_[i]) != blocks_[i].checksum) die("wrong bytes");
    }
  }

 private:
  End end_;
  std::vector<BlockDescriptor> blocks_;
  std::vector<std::span<std::byte>> places_;
  std::shared_ptr<Link> link_;
};

void print(const std::string& name, const BlockShape& shape, const std::vector<double>& seconds,
           const std::vector<double>& posting = {}) {
  fmt::print(R"({{"name":"{}","blocks":{},"bytes":{},"seconds":[{}],"posting":[{}]}})"
             "\n",
             name, shape.blocks, shape.bytes, fmt::join(seconds, ","), fmt::join(posting, ","));
  std::fflush(stdout);
}

void measure(const std::string& name, const BlockShape& shape, int repetitions, int connections) {
  int ends[2];
  if (::pipe(ends) != 0) die("pipe");
  const pid_t owner = perf::fork_with_me();  // before this process has threads
  if (owner == 0) {
    perf::run_on(perf::Core::kOwner);
    own(name, shape, ends[1]);
  }
  ::close(ends[1]);  // so that the owner's end is seen
  const pid_t reader = perf::fork_with_me();
  if (reader == 0) {
    Reader pulls(name, shape, connections, ends[0]);
    const std::string words =
        connections == 1 ? name : fmt::format("{} with {} connections", name, connections);
    for (const bool verified : {true, false}) {
      Timing timing;
      Timing warm_up;
      pulls.fetch(verified, warm_up);
      const int fetches = shape.blocks == 1 ? 1000 * repetitions : repetitions;
      for (int i = 0; i < fetches; ++i) pulls.fetch(verified, timing);
      pulls.check();
      print(verified ? words : words + ", unverified", shape, timing.seconds, timing.posting);
    }
    std::_Exit(0);
  }
  int status = 0;
  ::waitpid(reader, &status, 0);
  ::kill(owner, SIGKILL);
  ::waitpid(owner, nullptr, 0);
  ::close(ends[0]);
  if (status != 0) die(name + " failed");
}

void measure_all(const BlockShape& shape, int repetitions) {
  const int samples = shape.blocks == 1 ? 1000 * repetitions : repetitions;
  print("memcpy", shape, perf::raw_memcpy_seconds(shape, samples));
  print("process_vm_readv", shape, perf::raw_vm_readv_seconds(shape, samples));
  if (shape.blocks == 1) {
    print("ping-pong", shape, perf::raw_ping_pong_seconds(shape.bytes, samples));
  } else {
    print("sendmsg", shape, perf::raw_tcp_seconds(shape, repetitions, shape.blocks));
    print("sendmsg by turns", shape, perf::raw_tcp_seconds(shape, repetitions, 64));
  }
  for (const char* name : {"shm", "cma", "tcp", "ucx"}) measure(name, shape, repetitions, 1);
  if (shape.blocks > 1) measure("tcp", shape, repetitions, 4);
}

}  // namespace
}  // namespace baton::kv

int main(int argc, char** argv) {
  baton::init_log({.level = baton::LogLevel::kWarn, .prefix = {}});
  const int repetitions = argc > 2 ? std::atoi(argv[1]) : 0;
  if (repetitions < 1) {
    fmt::print(stderr, "usage: kv_link_bench REPETITIONS BLOCKSxBYTES...\n");
    return 2;
  }
  for (int i = 2; i < argc; ++i) {
    const auto shape = baton::kv::BlockShape::parse(argv[i]);
    if (!shape) {
      fmt::print(stderr, "\"{}\" is not BLOCKSxBYTES, as 1024x65536\n", argv[i]);
      return 2;
    }
    baton::perf::run_on(baton::perf::Core::kReader);
    baton::kv::measure_all(*shape, repetitions);
  }
  return 0;
}
