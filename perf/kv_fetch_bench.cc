// Seconds of fetching a sealed lease from another process, over each transport, and what the system
// allows at best: kv_fetch_bench REPETITIONS BLOCKSxBYTES... prints one line of JSON for each. The
// first fetch, which also connects and touches fresh memory, is told apart. Blocks lie in random
// order on both sides.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "core/log.h"
#include "kv_transfer/measure/sample_hand_off.h"
#include "perf/kv_raw_limits.h"

namespace baton::kv {
namespace {

[[noreturn]] void give_up(const Error& error) {
  fmt::print(stderr, "kv_fetch_bench: {}\n", error.message);
  std::exit(1);
}

// The producer's process: the same blocks under as many leases as there will be fetches.
[[noreturn]] void produce(const std::string& transport, const BlockShape& shape, int leases,
                          int output) {
  auto producer = SampleProducer::start({.transport = transport}, shape);
  if (!producer) give_up(producer.error());
  for (int lease = 1; lease <= leases; ++lease) {
    producer->offer({0, static_cast<std::uint64_t>(lease)});
  }
  const std::string line = producer->address() + "\n";
  if (::write(output, line.data(), line.size()) < 0) std::exit(1);
  for (;;) ::pause();
}

double fetch_seconds(SampleConsumer& consumer, const std::string& address, int lease) {
  const auto result =
      consumer.fetch(address, 0, {0, static_cast<std::uint64_t>(lease)}, std::chrono::seconds(60));
  if (!result) give_up(result.error());
  return to_seconds(result->total);
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
    auto consumer = SampleConsumer::start({.transport = transport}, shape);
    if (!consumer) give_up(consumer.error());
    const double first = fetch_seconds(*consumer, address, 1);
    std::vector<double> seconds;
    for (int i = 0; i < repetitions; ++i) {
      seconds.push_back(fetch_seconds(*consumer, address, i + 2));
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
  using baton::kv::BlockShape;
  baton::init_log({.level = baton::LogLevel::kWarn, .prefix = {}});
  const int repetitions = argc > 2 ? std::atoi(argv[1]) : 0;
  if (repetitions < 1) {
    fmt::print(stderr, "usage: kv_fetch_bench REPETITIONS BLOCKSxBYTES...\n");
    return 2;
  }
  for (int i = 2; i < argc; ++i) {
    const auto shape = BlockShape::parse(argv[i]);
    if (!shape) {
      fmt::print(stderr, "\"{}\" is not BLOCKSxBYTES, as 1024x65536\n", argv[i]);
      return 2;
    }
    baton::kv::print("memcpy", *shape, baton::perf::raw_memcpy_seconds(*shape, repetitions));
    baton::kv::print("process_vm_readv", *shape,
                     baton::perf::raw_vm_readv_seconds(*shape, repetitions));
    baton::kv::print("sendmsg", *shape,
                     baton::perf::raw_tcp_seconds(*shape, repetitions, shape->blocks));
    for (const char* transport : {"shm", "tcp", "ucx"}) {
      baton::kv::measure(transport, *shape, repetitions);
    }
  }
  return 0;
}
