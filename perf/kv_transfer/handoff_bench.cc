// Seconds of whole hand-offs from another process, over each transport: kv_handoff_bench
// REPETITIONS BLOCKSxBYTES... fetches a sealed lease, control service and all; kv_handoff_bench
// REPETITIONS overlap BLOCKSxBYTES LOT PACE_MS follows one whose blocks come LOT at a time, as
// prefill makes them, and tells what is left to wait for at the end,
// beside what is left of a lease of one LOT after as long a pause. One line of JSON for each
// transport. The first fetch, which also connects and touches fresh memory, is told apart. Blocks
// lie in random order on both sides.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "core/log.h"
#include "kv_transfer/measure/sample_hand_off.h"
#include "perf/kv_transfer/processes.h"

namespace baton::kv {
namespace {

constexpr const char* kTransports[] = {"shm", "tcp", "ucx"};

[[noreturn]] void give_up(const Error& error) {
  fmt::print(stderr, "kv_handoff_bench: {}\n", error.message);
  std::_Exit(1);
}

TransferId lease(int number) { return {0, static_cast<std::uint64_t>(number)}; }

enum class When : std::uint8_t { kBefore, kMeanwhile };

// Leases 0 to `repetitions` that `offer` makes in another process, before they are fetched here or
// meanwhile.
std::vector<ReceiveSummary> fetch_all(const std::string& transport, const BlockShape& shape,
                                      int repetitions, When when,
                                      const std::function<void(SampleProducer&, int)>& offer) {
  int ends[2];
  if (::pipe(ends) != 0) std::exit(1);
  const pid_t child = perf::fork_with_me();  // before this process has threads
  if (child == 0) {
    ::close(ends[0]);
    auto producer = SampleProducer::start({.transport = transport}, shape);
    if (!producer) give_up(producer.error());
    const auto offer_all = [&] {
      for (int i = 0; i <= repetitions; ++i) offer(*producer, i);
    };
    if (when == When::kBefore) offer_all();
    const std::string line = producer->address() + "\n";
    if (::write(ends[1], line.data(), line.size()) < 0) std::_Exit(1);
    if (when == When::kMeanwhile) offer_all();
    for (;;) ::pause();
  }
  ::close(ends[1]);  // so that the producer's end is seen
  std::string address;
  for (char byte = 0; ::read(ends[0], &byte, 1) == 1 && byte != '\n';) address += byte;
  std::vector<ReceiveSummary> fetched;
  {
    auto consumer = SampleConsumer::start({.transport = transport}, shape);
    if (!consumer) give_up(consumer.error());
    for (int i = 0; i <= repetitions; ++i) {
      const auto result = consumer->fetch(address, 0, lease(i), std::chrono::seconds(60));
      if (!result) give_up(result.error());
      fetched.push_back(*result);
    }
  }
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(ends[0]);
  return fetched;
}

void print(const std::string& name, const BlockShape& shape, const std::vector<double>& seconds) {
  fmt::print(R"({{"name":"{}","blocks":{},"bytes":{},"first":{},"seconds":[{}]}})"
             "\n",
             name, shape.blocks, shape.bytes, seconds.front(),
             fmt::join(seconds.begin() + 1, seconds.end(), ","));
  std::fflush(stdout);
}

// In a process of its own, since fetch_all() forks and must have no threads before.
void in_child(const std::function<void()>& work) {
  const pid_t child = perf::fork_with_me();
  if (child == 0) {
    work();
    std::_Exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (status != 0) std::exit(1);
}

void measure(const std::string& transport, const BlockShape& shape, int repetitions) {
  std::vector<double> seconds;
  for (const ReceiveSummary& one :
       fetch_all(transport, shape, repetitions, When::kBefore,
                 [](SampleProducer& producer, int i) { producer.offer(lease(i)); })) {
    seconds.push_back(to_seconds(one.total));
  }
  print(transport, shape, seconds);
}

struct Overlap {
  int lot = 1;
  Duration pace{};
};

void measure_overlap(const std::string& transport, const BlockShape& shape, int repetitions,
                     const Overlap& overlap) {
  const auto exposed = [&](const char* what,
                           const std::function<void(SampleProducer&, int)>& offer) {
    std::vector<double> seconds;
    for (const ReceiveSummary& one :
         fetch_all(transport, shape, repetitions, When::kMeanwhile, offer)) {
      seconds.push_back(to_seconds(one.exposed));
    }
    print(transport + ", " + what, shape, seconds);
  };
  in_child([&] {
    exposed("exposed", [&](SampleProducer& producer, int i) {
      producer.offer(lease(i), {.end = shape.blocks, .lot = overlap.lot, .pace = overlap.pace});
    });
  });
  // Another lot each time, so that the memory is as cold.
  in_child([&] {
    exposed("a lot alone", [&](SampleProducer& producer, int i) {
      const int first = i * overlap.lot % (shape.blocks - overlap.lot + 1);
      producer.offer(
          lease(i),
          {.first = first, .end = first + overlap.lot, .lot = overlap.lot, .pace = overlap.pace});
    });
  });
}

int run(int argc, char** argv) {
  const int repetitions = argc > 2 ? std::atoi(argv[1]) : 0;
  const bool overlaps = repetitions > 0 && argc == 6 && std::string(argv[2]) == "overlap";
  if (repetitions < 1) {
    fmt::print(stderr,
               "usage: kv_handoff_bench REPETITIONS BLOCKSxBYTES...\n"
               "       kv_handoff_bench REPETITIONS overlap BLOCKSxBYTES LOT PACE_MS\n");
    return 2;
  }
  for (int i = overlaps ? 3 : 2; i < (overlaps ? 4 : argc); ++i) {
    const auto shape = BlockShape::parse(argv[i]);
    if (!shape) {
      fmt::print(stderr, "\"{}\" is not BLOCKSxBYTES, as 1024x65536\n", argv[i]);
      return 2;
    }
    for (const char* transport : kTransports) {
      if (overlaps) {
        measure_overlap(transport, *shape, repetitions,
                        {.lot = std::clamp(std::atoi(argv[4]), 1, shape->blocks),
                         .pace = std::chrono::milliseconds(std::atoi(argv[5]))});
      } else {
        in_child([&] { measure(transport, *shape, repetitions); });
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace baton::kv

int main(int argc, char** argv) {
  baton::init_log({.level = baton::LogLevel::kWarn, .prefix = {}});
  return baton::kv::run(argc, argv);
}
