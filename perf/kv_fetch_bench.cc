// Seconds of fetching a sealed lease from another process, over each transport, and what the system
// allows at best: kv_fetch_bench REPETITIONS BLOCKSxBYTES... prints one line of JSON for each. The
// first fetch, which also connects and touches fresh memory, is told apart. Blocks lie in random
// order on both sides.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <random>
#include <string>
#include <vector>

#include "core/log.h"
#include "kv_transfer/node.h"
#include "perf/kv_raw_limits.h"

namespace baton::kv {
namespace {

using perf::BlockShape;

NodeOptions options_for(const std::string& transport, const std::string& engine) {
  NodeOptions options;
  options.engine_id = engine;
  options.transports = {transport};
  options.lease_ttl = std::chrono::minutes(5);
  return options;
}

std::unique_ptr<Node> start(const NodeOptions& options, const BlockShape& shape) {
  auto arena = BlockArena::create(Bytes(shape.bytes), shape.blocks);
  if (!arena) std::exit(1);
  auto node = Node::start(options, std::move(*arena));
  if (!node) std::exit(1);
  return std::move(*node);
}

// The producer's process: the same blocks under as many leases as there will be fetches.
[[noreturn]] void produce(const std::string& transport, const BlockShape& shape, int leases,
                          int output) {
  const auto node = start(options_for(transport, "producer"), shape);
  std::mt19937_64 rng(1);
  std::vector<BlockDescriptor> blocks;
  for (int i = 0; i < shape.blocks; ++i) {
    const SlotRef slot = node->arena().allocate().value();
    const auto bytes = node->arena().bytes(slot);
    for (std::size_t at = 0; at + 8 <= bytes.size(); at += 8) {
      const std::uint64_t word = rng();
      std::memcpy(bytes.data() + at, &word, 8);
    }
    blocks.push_back({.first_token = i * 64,
                      .token_count = 64,
                      .slot = slot,
                      .bytes = shape.bytes,
                      .checksum = checksum_of(bytes)});
  }
  std::ranges::shuffle(blocks, rng);
  for (int i = 0; i < shape.blocks; ++i) blocks[static_cast<std::size_t>(i)].first_token = i * 64;
  for (std::uint64_t lease = 1; lease <= static_cast<std::uint64_t>(leases); ++lease) {
    node->open_lease({0, lease}, shape.blocks * 64, 0);
    node->publish({0, lease}, blocks);
    node->seal({0, lease});
  }
  const std::string line = node->address() + "\n";
  if (::write(output, line.data(), line.size()) < 0) std::exit(1);
  for (;;) ::pause();
}

class Sink final : public Receiver {
 public:
  explicit Sink(BlockArena& arena) : arena_(arena) {}
  void on_block(const BlockDescriptor& block) override {
    arena_.unpin(block.slot);
    arena_.free(block.slot);
  }
  void on_end(const Result<ReceiveSummary>& result) override { end_.set_value(result); }
  Result<ReceiveSummary> wait() { return end_.get_future().get(); }

 private:
  BlockArena& arena_;
  std::promise<Result<ReceiveSummary>> end_;
};

double fetch_seconds(Node& node, const std::string& address, std::uint64_t lease) {
  const auto sink = std::make_shared<Sink>(node.arena());
  node.receive({.peer = address,
                .engine_id = "producer",
                .transfer = {0, lease},
                .deadline = Clock::now() + std::chrono::seconds(60)},
               sink);
  const auto result = sink->wait();
  if (!result) {
    fmt::print(stderr, "fetch failed: {}\n", result.error().message);
    std::exit(1);
  }
  return to_seconds(result->total);
}

// Gives slots out in random order from now on.
void shuffle(BlockArena& arena) {
  std::vector<SlotRef> slots;
  while (const auto slot = arena.allocate()) slots.push_back(*slot);
  std::ranges::shuffle(slots, std::mt19937(2));
  for (const SlotRef slot : slots) arena.free(slot);
}

void print(const std::string& name, const BlockShape& shape, const std::vector<double>& seconds,
           double first = 0) {
  fmt::print(R"({{"name":"{}","blocks":{},"bytes":{},"first":{},"seconds":[{}]}})"
             "\n",
             name, shape.blocks, shape.bytes, first, fmt::join(seconds, ","));
  std::fflush(stdout);
}

void measure(const std::string& transport, const BlockShape& shape, int repetitions) {
  int ends[2];
  if (::pipe(ends) != 0) std::exit(1);
  const pid_t child = ::fork();  // before this process has threads
  if (child == 0) produce(transport, shape, repetitions + 1, ends[1]);
  std::string address;
  for (char byte = 0; ::read(ends[0], &byte, 1) == 1 && byte != '\n';) address += byte;

  const pid_t reader = ::fork();
  if (reader == 0) {
    const auto node = start(options_for(transport, "consumer"), shape);
    shuffle(node->arena());
    const double first = fetch_seconds(*node, address, 1);
    std::vector<double> seconds;
    for (int i = 0; i < repetitions; ++i) {
      seconds.push_back(fetch_seconds(*node, address, static_cast<std::uint64_t>(i) + 2));
    }
    print(transport, shape, seconds, first);
    std::_Exit(0);
  }
  ::waitpid(reader, nullptr, 0);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ends[0]);
  ::close(ends[1]);
}

}  // namespace
}  // namespace baton::kv

int main(int argc, char** argv) {
  using baton::perf::BlockShape;
  baton::init_log({.level = baton::LogLevel::kWarn, .prefix = {}});
  const int repetitions = argc > 2 ? std::atoi(argv[1]) : 0;
  if (repetitions < 1) {
    fmt::print(stderr, "usage: kv_fetch_bench REPETITIONS BLOCKSxBYTES...\n");
    return 2;
  }
  for (int i = 2; i < argc; ++i) {
    BlockShape shape;
    if (std::sscanf(argv[i], "%dx%u", &shape.blocks, &shape.bytes) != 2 || shape.blocks <= 0 ||
        shape.bytes == 0) {
      fmt::print(stderr, "\"{}\" is not BLOCKSxBYTES, as 1024x65536\n", argv[i]);
      return 2;
    }
    baton::kv::print("memcpy", shape, baton::perf::raw_memcpy_seconds(shape, repetitions));
    baton::kv::print("process_vm_readv", shape,
                     baton::perf::raw_vm_readv_seconds(shape, repetitions));
    baton::kv::print("sendmsg", shape,
                     baton::perf::raw_tcp_seconds(shape, repetitions, shape.blocks));
    for (const char* transport : {"shm", "tcp", "ucx"}) {
      baton::kv::measure(transport, shape, repetitions);
    }
  }
  return 0;
}
