// The prefix index on a trace of prompts, for perf/prefix_index: one JSON object a line.
// usage: perf_prefix_index TRACE ROUNDS
// The trace is one of Mooncake's: each of its hash ids is eight blocks of 64 tokens here. Rates are
// per second of the measuring threads' own CPU time, so that what else runs does not count.
#include <time.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <functional>
#include <numeric>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "core/picking/prefix_index.h"

namespace baton::perf {
namespace {

using Chain = std::vector<std::uint64_t>;

constexpr std::uint32_t kPods = 1000;
constexpr std::size_t kChainBlocks = 256;
constexpr std::uint64_t kBlocksOfId = 512 / 64;
constexpr Bytes kMemory{256LL << 20};
constexpr TimePoint kNow = TimePoint{} + std::chrono::hours(1);

[[noreturn]] void give_up(std::string_view why) {
  std::fprintf(stderr, "perf_prefix_index: %.*s\n", static_cast<int>(why.size()), why.data());
  std::exit(1);
}

void say(std::string_view name, double value) {
  std::printf("{\"name\": \"%.*s\", \"value\": %.9g}\n", static_cast<int>(name.size()), name.data(),
              value);
}

// An element of a chain as good as XXH3 would make it (splitmix64).
std::uint64_t element_of(std::uint64_t number) {
  std::uint64_t mixed = (number + 1) * 0x9E3779B97F4A7C15;
  mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9;
  mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB;
  return mixed ^ (mixed >> 31);
}

Chain chain_of(std::uint64_t prompt, std::size_t length) {
  Chain chain(length);
  for (std::size_t i = 0; i < length; ++i) chain[i] = element_of((prompt << 32) + i);
  return chain;
}

std::uint64_t number_after(std::string_view line, std::string_view key) {
  const auto at = line.find(key);
  if (at == std::string_view::npos) give_up("a line of the trace has no " + std::string(key));
  std::uint64_t number = 0;
  const char* begin = line.data() + at + key.size();
  std::from_chars(begin, line.data() + line.size(), number);
  return number;
}

// The full blocks of a request. Mooncake's ids stand for all before them too, so ours may.
Chain read_request(std::string_view line) {
  const std::uint64_t blocks = number_after(line, "\"input_length\": ") / 64;
  const auto ids = line.find('[');
  if (ids == std::string_view::npos) give_up("a line of the trace has no hash_ids");
  Chain chain;
  const char* next = line.data() + ids + 1;
  const char* end = line.data() + line.size();
  while (chain.size() < blocks && next < end && *next != ']') {
    std::uint64_t id = 0;
    next = std::from_chars(next, end, id).ptr;
    for (std::uint64_t i = 0; i < kBlocksOfId && chain.size() < blocks; ++i) {
      chain.push_back(element_of(id * kBlocksOfId + i));
    }
    while (next < end && (*next == ',' || *next == ' ')) ++next;
  }
  return chain;
}

std::vector<Chain> read_trace(const char* path) {
  std::ifstream file(path);
  std::vector<Chain> chains;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty()) chains.push_back(read_request(line));
  }
  if (chains.empty()) give_up("the trace is empty or cannot be read");
  return chains;
}

double cpu_seconds_of_thread() {
  timespec time{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double cpu_seconds_of(const std::function<void()>& work) {
  const double before = cpu_seconds_of_thread();
  work();
  return cpu_seconds_of_thread() - before;
}

std::vector<std::uint32_t> all_pods() {
  std::vector<std::uint32_t> pods(kPods);
  std::iota(pods.begin(), pods.end(), 0U);
  return pods;
}

// Requests go round the pods: the worst for what they share, which all pods come to hold.
std::size_t confirm_trace(PrefixIndex& index, const std::vector<Chain>& trace, std::uint32_t first,
                          std::uint32_t step) {
  std::size_t blocks = 0;
  std::uint32_t pod = first;
  TimePoint now = kNow;
  for (const Chain& chain : trace) {
    index.confirm(chain, pod % kPods, now);
    blocks += chain.size();
    pod += step;
    now += std::chrono::milliseconds(1);
  }
  return blocks;
}

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values[values.size() / 2];
}

void insert_alone(const std::vector<Chain>& trace, int rounds) {
  std::vector<double> fresh;
  std::vector<double> further;
  std::vector<double> evicting;
  for (int round = 0; round < rounds; ++round) {
    PrefixIndex index(kMemory);
    PrefixIndex small(Bytes(8 << 20));
    std::size_t blocks = 0;
    double seconds = cpu_seconds_of([&] { blocks = confirm_trace(index, trace, 0, 1); });
    fresh.push_back(static_cast<double>(blocks) / seconds);
    seconds = cpu_seconds_of([&] { confirm_trace(index, trace, 500, 1); });
    further.push_back(static_cast<double>(blocks) / seconds);
    confirm_trace(small, trace, 0, 1);
    seconds = cpu_seconds_of([&] { confirm_trace(small, trace, 0, 1); });
    evicting.push_back(static_cast<double>(blocks) / seconds);
  }
  say("insertions, one thread", median(fresh));
  say("insertions, of a further pod", median(further));
  say("insertions, that evict", median(evicting));
}

void insert_together(const std::vector<Chain>& trace, int rounds) {
  std::vector<double> rates;
  for (int round = 0; round < rounds; ++round) {
    PrefixIndex index(kMemory);
    std::atomic<std::size_t> blocks{0};
    double seconds[2] = {};
    {
      std::vector<std::jthread> threads;
      for (std::uint32_t i = 0; i < 2; ++i) {
        threads.emplace_back([&, i] {
          seconds[i] = cpu_seconds_of([&] { blocks += confirm_trace(index, trace, i, 2); });
        });
      }
    }
    rates.push_back(static_cast<double>(blocks) / (seconds[0] + seconds[1]));
  }
  say("insertions, two threads", median(rates));
}

struct Lookups {
  double per_second;  // of CPU time
  double p50_us;
  double p99_us;
};

// What each of the pods holds of the chain.
void match(const PrefixIndex& index, const Chain& chain, std::span<const std::uint32_t> pods,
           TimePoint now, PrefixMatch& room, std::vector<std::uint32_t>& depths) {
  index.follow(chain, now, room);
  for (std::size_t i = 0; i < pods.size(); ++i) depths[i] = index.depth(pods[i], room);
  asm volatile("" : : "r"(depths.data()) : "memory");
}

Lookups look_up(const PrefixIndex& index, const std::vector<Chain>& chains, int rounds) {
  const auto pods = all_pods();
  PrefixMatch room;
  std::vector<std::uint32_t> depths(pods.size());
  std::vector<double> times;
  times.reserve(chains.size() * static_cast<std::size_t>(rounds));
  const double cpu = cpu_seconds_of([&] {
    for (int round = 0; round < rounds; ++round) {
      for (const Chain& chain : chains) {
        const auto begin = std::chrono::steady_clock::now();
        match(index, chain, pods, kNow, room, depths);
        const auto time = std::chrono::steady_clock::now() - begin;
        times.push_back(std::chrono::duration<double, std::micro>(time).count());
      }
    }
  });
  std::ranges::sort(times);
  const std::size_t count = times.size();
  return {static_cast<double>(count) / cpu, times[count / 2], times[count * 99 / 100]};
}

void say(const std::string& name, const Lookups& lookups) {
  say(name + ": lookups", lookups.per_second);
  say(name + ": p50", lookups.p50_us);
  say(name + ": p99", lookups.p99_us);
}

void look_trace_up(const std::vector<Chain>& trace, int rounds) {
  PrefixIndex index(kMemory);
  confirm_trace(index, trace, 0, 1);
  say("trace", look_up(index, trace, rounds));
  {
    std::jthread reader([&] { look_up(index, trace, rounds); });
    say("trace beside a reader", look_up(index, trace, rounds));
  }
  std::atomic<bool> done{false};
  std::atomic<std::size_t> written{0};
  std::jthread writer([&] {
    while (!done) {
      for (std::size_t i = 0; i < trace.size() && !done; ++i) {
        const auto pod = static_cast<std::uint32_t>(i % kPods);
        index.retract(trace[i], pod);
        index.confirm(trace[i], pod, kNow);
        written += trace[i].size();
      }
    }
  });
  while (written == 0) std::this_thread::yield();
  say("trace beside a writer", look_up(index, trace, rounds));
  done = true;
}

// What a router does for a request of the trace, once each: look it up, then insert it.
void serve_trace(const std::vector<Chain>& trace, int rounds) {
  const auto pods = all_pods();
  std::vector<double> rates;
  for (int round = 0; round < rounds; ++round) {
    PrefixIndex index(kMemory);
    PrefixMatch room;
    std::vector<std::uint32_t> depths(pods.size());
    const double seconds = cpu_seconds_of([&] {
      for (std::size_t i = 0; i < trace.size(); ++i) {
        const TimePoint now = kNow + std::chrono::milliseconds(i);
        match(index, trace[i], pods, now, room, depths);
        index.confirm(trace[i], static_cast<std::uint32_t>(i % kPods), now);
      }
    });
    rates.push_back(static_cast<double>(trace.size()) / seconds);
  }
  say("trace: requests", median(rates));
}

// Prompts of 256 blocks, in an index that holds the trace too. The first 8 blocks are the same and
// on all pods, the others on some.
void look_prompts_up(const std::vector<Chain>& trace, int rounds) {
  struct Shape {
    const char* name;
    std::uint64_t prompts;
    std::uint32_t holders;
  };
  for (const Shape& shape : {Shape{"on one pod", 200, 1}, Shape{"on 8 pods", 200, 8},
                             Shape{"one prompt, on all pods", 1, kPods},
                             Shape{"200 prompts, each on all pods", 200, kPods}}) {
    PrefixIndex index(kMemory);
    confirm_trace(index, trace, 0, 1);
    std::vector<Chain> chains;
    for (std::uint64_t i = 0; i < shape.prompts; ++i) {
      Chain chain = chain_of(1, 8);
      const Chain own = chain_of(1000 + i, kChainBlocks - chain.size());
      chain.insert(chain.end(), own.begin(), own.end());
      for (std::uint32_t holder = 0; holder < shape.holders; ++holder) {
        index.confirm(chain, static_cast<std::uint32_t>((i + holder * 17) % kPods), kNow);
      }
      chains.push_back(std::move(chain));
    }
    const auto repeats = 200 / static_cast<int>(shape.prompts);
    say(shape.name, look_up(index, chains, 20 * rounds * repeats));
  }
}

// Memory of a block by how many pods hold it, neighbours or far apart.
void weigh() {
  constexpr std::size_t kBlocks = 10'000;
  for (const bool apart : {false, true}) {
    PrefixIndex index(kMemory);
    for (std::uint32_t pod = 0; pod < kPods; ++pod) {  // in order, as pods come to be known
      index.confirm(chain_of(1, 1), pod, kNow);
    }
    const Bytes before = index.memory_used();
    const Chain chain = chain_of(2, kBlocks);
    double first = 0.0;
    double most = 0.0;
    double bytes = 0.0;
    const std::uint32_t holders = apart ? 20 : kPods;
    for (std::uint32_t holder = 0; holder < holders; ++holder) {
      index.confirm(chain, apart ? holder * 49 : holder, kNow);
      bytes = static_cast<double>((index.memory_used() - before).count()) / kBlocks;
      if (holder == 0) first = bytes;
      if (holder > 0) most = std::max(most, (bytes - first) / holder);
    }
    if (!apart) say("bytes of a block on one pod", first);
    say(apart ? "bytes of each further pod, far apart" : "bytes of each further pod, neighbours",
        most);
    if (!apart) say("bytes of a block on 1,000 pods", bytes);
  }
}

}  // namespace
}  // namespace baton::perf

int main(int argc, char** argv) {
  using namespace baton::perf;
  int rounds = 0;
  if (argc == 3) std::from_chars(argv[2], argv[2] + std::strlen(argv[2]), rounds);
  if (rounds < 1) {
    std::fprintf(stderr, "usage: perf_prefix_index TRACE ROUNDS\n");
    return 2;
  }
  const auto trace = read_trace(argv[1]);
  insert_alone(trace, rounds);
  insert_together(trace, rounds);
  look_trace_up(trace, rounds);
  serve_trace(trace, rounds);
  look_prompts_up(trace, rounds);
  weigh();
  return 0;
}
