#include "tests/unit/kv_transfer/pod.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <thread>
#include <utility>

#include "kv_transfer/kv_metrics.h"
#include "tests/unit/kv_transfer/node_fixture.h"

namespace baton::kv {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr int kBlockTokens = 64;
constexpr std::byte kScribble{0xee};

std::uint64_t mix(std::uint64_t x) {  // splitmix64
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// Calls `part` with each word of a block, and where it lies.
template <class Part>
bool each_word(std::size_t bytes, std::uint64_t number, std::int64_t index, Part part) {
  std::uint64_t word = mix(number ^ mix(static_cast<std::uint64_t>(index) ^ mix(bytes)));
  for (std::size_t at = 0; at < bytes; at += sizeof(word)) {
    if (!part(at, std::min(sizeof(word), bytes - at), word)) return false;
    word = word * 0xd1342543de82ef95 + 1;
  }
  return true;
}

int open_descriptors() {
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    count += entry.is_symlink() ? 1 : 0;
  }
  return count - 1;  // the listing's own
}

int private_kib() {
  std::ifstream file("/proc/self/statm");
  long size = 0;
  long resident = 0;
  long shared = 0;
  file >> size >> resident >> shared;
  return static_cast<int>((resident - shared) * ::sysconf(_SC_PAGESIZE) / 1024);
}

}  // namespace

std::string PodCounts::str() const {
  return fmt::format("{} {} {} {} {} {} {} {} {} {} {}", used, pinned, quarantined, leases,
                     receives, fds, rss_kib, committed, freed, received, failed);
}

PodCounts PodCounts::parse(const std::string& text) {
  std::istringstream in(text.substr(text.find(' ') + 1));
  PodCounts c;
  in >> c.used >> c.pinned >> c.quarantined >> c.leases >> c.receives >> c.fds >> c.rss_kib >>
      c.committed >> c.freed >> c.received >> c.failed;
  EXPECT_FALSE(in.fail()) << "counts: \"" << text << "\"";
  return c;
}

std::string own_address() {
  // Below the ports that are given out (ip_local_port_range), and other ones for other processes.
  static std::atomic<int> next = ::getpid() * 16;
  for (;;) {
    const int port = 16'000 + next++ % 16'000;
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int probe = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool is_free =
        ::bind(probe, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
    ::close(probe);
    if (is_free) return fmt::format("127.0.0.1:{}", port);
  }
}

TransferId transfer_of(std::uint64_t number) { return {0xba7011, number}; }

void fill(std::span<std::byte> block, std::uint64_t number, std::int64_t index) {
  each_word(block.size(), number, index, [&](std::size_t at, std::size_t size, std::uint64_t word) {
    std::memcpy(block.data() + at, &word, size);
    return true;
  });
}

bool is_block(std::span<const std::byte> block, std::uint64_t number, std::int64_t index) {
  return each_word(block.size(), number, index,
                   [&](std::size_t at, std::size_t size, std::uint64_t word) {
                     return std::memcmp(block.data() + at, &word, size) == 0;
                   });
}

Checker::Checker(BlockArena& arena, std::uint64_t number, Part part, Duration pause,
                 std::function<void(Checker&)> changed)
    : arena_(arena),
      number_(number),
      part_(std::move(part)),
      pause_(pause),
      changed_(std::move(changed)) {}

bool Checker::is_right(std::span<const std::byte> bytes, std::int64_t index) const {
  if (part_.slices == nullptr) return is_block(bytes, number_, index);
  std::vector<std::byte> whole(part_.block_bytes);
  std::vector<std::byte> packed(bytes_of(*part_.slices));
  fill(whole, number_, index);
  pack(*part_.slices, whole, packed);
  return std::ranges::equal(bytes, packed);
}

void Checker::on_block(const BlockDescriptor& block) {
  const auto bytes = arena_.bytes(block.slot);
  const std::int64_t index = block.first_token / kBlockTokens;
  const bool right = block.bytes <= bytes.size() && is_right(bytes.first(block.bytes), index);
  arena_.unpin(block.slot);
  arena_.free(block.slot);
  {
    std::lock_guard lock(mutex_);
    const bool is_new = came_.insert(index).second;
    if (!right || !is_new || end_) ++wrong_;
    event_.notify_all();
  }
  if (changed_) changed_(*this);
  std::this_thread::sleep_for(pause_);
}

void Checker::on_end(const Result<ReceiveSummary>& result) {
  {
    std::lock_guard lock(mutex_);
    if (end_) ++wrong_;
    end_ = result;
    event_.notify_all();
  }
  if (changed_) changed_(*this);
}

int Checker::blocks() const {
  std::lock_guard lock(mutex_);
  return static_cast<int>(came_.size());
}

int Checker::wrong() const {
  std::lock_guard lock(mutex_);
  return wrong_;
}

std::optional<Result<ReceiveSummary>> Checker::end() const {
  std::lock_guard lock(mutex_);
  return end_;
}

bool Checker::wait_for_block() {
  std::unique_lock lock(mutex_);
  return event_.wait_for(lock, seconds(20), [this] { return !came_.empty(); });
}

Result<ReceiveSummary> Checker::wait_for_end() {
  std::unique_lock lock(mutex_);
  if (event_.wait_for(lock, seconds(20), [this] { return end_.has_value(); })) return *end_;
  ADD_FAILURE() << "transfer " << number_ << " did not end";
  return fail(ErrorCode::kInternal, Stage::kRouter, "it did not end");
}

std::unique_ptr<Pod> Pod::start(NodeOptions options, int slots, std::int64_t slot_bytes) {
  std::unique_ptr<Pod> pod(new Pod);
  options.metrics = &pod->metrics_;
  auto arena = BlockArena::create(Bytes(slot_bytes), slots);
  EXPECT_TRUE(arena.has_value());
  if (!arena) return nullptr;
  auto node = Node::start(std::move(options), std::move(*arena));
  if (!node) ADD_FAILURE() << node.error().message;
  if (!node) return nullptr;
  pod->node_ = std::move(*node);
  return pod;
}

std::unique_ptr<Pod> Pod::start(const std::vector<std::string>& settings) {
  std::map<std::string, std::string> values{
      {"engine", "producer"},    {"epoch", "11"},     {"transports", "shm,tcp,ucx"},
      {"listen", "127.0.0.1:0"}, {"slots", "512"},    {"slot_bytes", std::to_string(kSlotBytes)},
      {"heartbeat_ms", "1000"},  {"ttl_ms", "10000"}, {"pause_us", "0"},
      {"tls_certificate", ""},   {"tls_key", ""},     {"tls_ca", ""}};
  for (const std::string& setting : settings) {
    const auto equals = setting.find('=');
    values.at(setting.substr(0, equals)) = setting.substr(equals + 1);
  }
  NodeOptions options = test_options(values["engine"], "");
  options.epoch = std::stoull(values["epoch"]);
  options.listen = values["listen"];
  options.heartbeat = milliseconds(std::stoi(values["heartbeat_ms"]));
  options.lease_ttl = milliseconds(std::stoi(values["ttl_ms"]));
  options.tls = {
      .certificate = values["tls_certificate"], .key = values["tls_key"], .ca = values["tls_ca"]};
  options.transports.clear();
  std::istringstream names(values["transports"]);
  for (std::string name; std::getline(names, name, ',');) options.transports.push_back(name);
  auto pod =
      start(std::move(options), std::stoi(values["slots"]), std::stoll(values["slot_bytes"]));
  if (pod != nullptr) pod->pause_ = microseconds(std::stoi(values["pause_us"]));
  return pod;
}

void Pod::open(std::uint64_t number) { node_->open_lease(transfer_of(number), kPromptTokens, 0); }

bool Pod::publish(std::uint64_t number, std::int64_t first, int count, std::uint32_t bytes) {
  BlockArena& arena = node_->arena();
  std::vector<BlockDescriptor> blocks;
  const auto give_out = [&] {
    if (blocks.empty()) return;
    node_->publish(transfer_of(number), blocks);
    for (const BlockDescriptor& block : blocks) arena.free(block.slot);
    blocks.clear();
  };
  for (std::int64_t index = first; index < first + count; ++index) {
    auto slot = arena.allocate();
    if (!slot) give_out();
    if (!slot && !eventually([&] { return (slot = arena.allocate()).has_value(); })) return false;
    const auto block = arena.bytes(*slot).first(bytes);
    fill(block, number, index);
    blocks.push_back({.first_token = index * kBlockTokens,
                      .token_count = kBlockTokens,
                      .slot = *slot,
                      .bytes = bytes,
                      .checksum = checksum_of(block)});
  }
  give_out();
  return true;
}

void Pod::seal(std::uint64_t number) { node_->seal(transfer_of(number)); }

void Pod::abort(std::uint64_t number) {
  node_->abort(transfer_of(number),
               {ErrorCode::kUpstream, Stage::kPrefill, "the engine broke", true});
}

void Pod::release(std::uint64_t number) { node_->release(transfer_of(number)); }

std::shared_ptr<Checker> Pod::receive(std::uint64_t number, const From& from, Duration limit,
                                      std::function<void(Checker&)> changed, const Part& part) {
  auto checker =
      std::make_shared<Checker>(node_->arena(), number, part, pause_, std::move(changed));
  node_->receive({.peer = from.address,
                  .engine_id = from.engine,
                  .epoch = from.epoch,
                  .transfer = transfer_of(number),
                  .deadline = Clock::now() + limit,
                  .slices = part.slices},
                 checker);
  return checker;
}

std::vector<SlotRef> Pod::scribble() {
  BlockArena& arena = node_->arena();
  std::vector<SlotRef> taken;
  while (const auto slot = arena.allocate()) {
    std::ranges::fill(arena.bytes(*slot), kScribble);
    taken.push_back(*slot);
  }
  return taken;
}

bool Pod::is_untouched(const std::vector<SlotRef>& scribbled) {
  BlockArena& arena = node_->arena();
  bool untouched = true;
  for (const SlotRef slot : scribbled) {
    untouched = untouched && std::ranges::all_of(arena.bytes(slot),
                                                 [](std::byte byte) { return byte == kScribble; });
    arena.free(slot);
  }
  return untouched;
}

PodCounts Pod::counts() {
  const auto count = [](double value) { return static_cast<int>(value); };
  const BlockArena::Counts arena = node_->arena().counts();
  PodCounts counts{.used = arena.used, .pinned = arena.pinned, .quarantined = arena.quarantined};
  counts.leases = count(metrics_.gauge(kLeasesOpen).Value());
  counts.receives = count(metrics_.gauge(kReceivesOpen).Value());
  counts.committed = count(metrics_.counter(kLeasesEnded, {"committed"}).Value());
  counts.freed = count(metrics_.counter(kLeasesEnded, {"freed"}).Value());
  counts.received = count(metrics_.counter(kOutcomes, {"ok"}).Value());
  for (int code = 0; code <= static_cast<int>(ErrorCode::kUnsupported); ++code) {
    const std::string name(name_of(static_cast<ErrorCode>(code)));
    counts.failed += count(metrics_.counter(kOutcomes, {name}).Value());
  }
  counts.fds = open_descriptors();
  counts.rss_kib = private_kib();
  return counts;
}

bool Pod::becomes_idle() {
  return eventually([this] { return counts().is_idle(); }) ||
         eventually([this] { return counts().is_idle(); });
}

namespace {

void say(const std::string& line) {
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  std::cout << line << std::endl;
}

void report(std::uint64_t number, const Checker& checker) {
  const auto end = checker.end();
  if (!end) {
    if (checker.blocks() == 1) say(fmt::format("first {}", number));
    return;
  }
  say(fmt::format("end {} {} {} {} {}", number, *end ? "ok" : name_of(end->error().code),
                  checker.blocks(), checker.wrong(), *end ? "" : end->error().message));
}

}  // namespace

void Pod::obey(const std::string& text) {
  std::istringstream line(text);
  std::string command;
  std::uint64_t number = 0;
  line >> command >> number;
  if (command == "open") {
    open(number);
  } else if (command == "publish" || command == "produce") {
    std::int64_t first = 0;
    int count = 0;
    std::uint32_t bytes = 0;
    if (command == "publish") line >> first;
    line >> count >> bytes;
    if (command == "produce") open(number);
    if (!publish(number, first, count, bytes)) say(fmt::format("no room for {}", number));
    if (command == "produce") seal(number);
  } else if (command == "seal") {
    seal(number);
  } else if (command == "abort") {
    abort(number);
  } else if (command == "release") {
    release(number);
  } else if (command == "receive") {
    From from;
    int limit_ms = 0;
    line >> from.address >> from.epoch >> limit_ms;
    receive(number, from, milliseconds(limit_ms),
            [number](Checker& checker) { report(number, checker); });
  } else if (command == "counts") {
    say("counts " + counts().str());
  }
}

int serve(const std::vector<std::string>& settings) {
  const auto pod = Pod::start(settings);
  if (pod == nullptr) return 1;
  say(pod->address());
  for (std::string text; std::getline(std::cin, text);) {
    pod->obey(text);
  }
  return 0;
}

}  // namespace baton::kv
