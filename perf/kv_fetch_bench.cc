// Time and rate of fetching a sealed lease from another process, over each transport:
// kv_fetch_bench [BLOCKSxKIB ...]. The first fetch, which also connects and touches fresh memory,
// is shown apart; then median and best of the others. Raw copying in the same run is the yardstick.
#include <fmt/format.h>
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

namespace baton::kv {
namespace {

constexpr int kFetches = 21;

struct Shape {
  int blocks = 0;
  std::uint32_t bytes = 0;
};

NodeOptions options_for(const std::string& transport, const std::string& engine) {
  NodeOptions options;
  options.engine_id = engine;
  options.transports = {transport};
  options.lease_ttl = std::chrono::minutes(5);
  return options;
}

std::unique_ptr<Node> start(const NodeOptions& options, const Shape& shape) {
  auto arena = BlockArena::create(Bytes(shape.bytes), shape.blocks);
  if (!arena) std::exit(1);
  auto node = Node::start(options, std::move(*arena));
  if (!node) std::exit(1);
  return std::move(*node);
}

// The producer's process: the same blocks under as many leases as there will be fetches.
[[noreturn]] void produce(const std::string& transport, const Shape& shape, int output) {
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
  for (std::uint64_t lease = 1; lease <= kFetches; ++lease) {
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

void measure(const std::string& transport, const Shape& shape) {
  int ends[2];
  if (::pipe(ends) != 0) std::exit(1);
  const pid_t child = ::fork();  // before this process has threads
  if (child == 0) produce(transport, shape, ends[1]);
  std::string address;
  for (char byte = 0; ::read(ends[0], &byte, 1) == 1 && byte != '\n';) address += byte;

  const pid_t reader = ::fork();
  if (reader == 0) {
    const auto node = start(options_for(transport, "consumer"), shape);
    const double first = fetch_seconds(*node, address, 1);
    std::vector<double> seconds;
    for (std::uint64_t lease = 2; lease <= kFetches; ++lease) {
      seconds.push_back(fetch_seconds(*node, address, lease));
    }
    std::ranges::sort(seconds);
    const double bytes = static_cast<double>(shape.blocks) * shape.bytes;
    const double median = seconds[seconds.size() / 2];
    fmt::print(
        "{:5} {:5} x {:4} KiB  first {:7.2f} ms  median {:7.2f} ms {:5.2f} GB/s  "
        "best {:7.2f} ms {:5.2f} GB/s\n",
        transport, shape.blocks, shape.bytes / 1024, first * 1e3, median * 1e3,
        bytes / median / 1e9, seconds[0] * 1e3, bytes / seconds[0] / 1e9);
    std::fflush(stdout);
    std::_Exit(0);
  }
  ::waitpid(reader, nullptr, 0);
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ends[0]);
  ::close(ends[1]);
}

// What memory allows: the same blocks copied and checked, in one process.
void measure_raw(const Shape& shape) {
  std::vector<std::byte> from(static_cast<std::size_t>(shape.blocks) * shape.bytes, std::byte{1});
  std::vector<std::byte> to(from.size());
  std::vector<double> copy;
  std::vector<double> checked;
  for (int i = 0; i < kFetches; ++i) {
    for (const bool with_checksum : {false, true}) {
      const auto begun = Clock::now();
      for (std::size_t at = 0; at < from.size(); at += shape.bytes) {
        std::memcpy(to.data() + at, from.data() + at, shape.bytes);
        if (with_checksum && checksum_of({to.data() + at, shape.bytes}) == 0) std::exit(1);
      }
      (with_checksum ? checked : copy).push_back(to_seconds(Clock::now() - begun));
    }
  }
  std::ranges::sort(copy);
  std::ranges::sort(checked);
  const double bytes = static_cast<double>(from.size());
  fmt::print("raw   {:5} x {:4} KiB  memcpy {:5.2f} GB/s, with XXH3-64 {:5.2f} GB/s (medians)\n",
             shape.blocks, shape.bytes / 1024, bytes / copy[kFetches / 2] / 1e9,
             bytes / checked[kFetches / 2] / 1e9);
  std::fflush(stdout);
}

}  // namespace
}  // namespace baton::kv

int main(int argc, char** argv) {
  using baton::kv::Shape;
  baton::init_log({.level = baton::LogLevel::kWarn, .prefix = {}});
  std::vector<Shape> shapes;
  for (int i = 1; i < argc; ++i) {
    int blocks = 0;
    unsigned kib = 0;
    if (std::sscanf(argv[i], "%dx%u", &blocks, &kib) != 2 || blocks <= 0 || kib == 0) {
      fmt::print(stderr, "\"{}\" is not BLOCKSxKIB, as 1024x64\n", argv[i]);
      return 2;
    }
    shapes.push_back({blocks, kib * 1024});
  }
  if (shapes.empty()) shapes = {{1024, 64 * 1024}, {64, 128 * 1024}, {1024, 16 * 1024}};
  for (const Shape& shape : shapes) {
    baton::kv::measure_raw(shape);
    for (const char* transport : {"shm", "tcp", "ucx"}) baton::kv::measure(transport, shape);
  }
  return 0;
}
