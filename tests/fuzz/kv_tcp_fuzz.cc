// Either end of the tcp transport before a peer that says anything. The first byte of the input
// chooses the end, the second how the rest is cut into writes. An owner pins nothing afterwards; a
// link reports each piece once, and a good one has the bytes of its checksum.
#include <algorithm>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/write.hpp>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <span>
#include <vector>

#include "core/log.h"
#include "kv_transfer/arena.h"
#include "kv_transfer/one_time_tokens.h"
#include "kv_transfer/tcp_link.h"
#include "kv_transfer/tcp_transport.h"
#include "kv_transfer/wire.h"

namespace {

using namespace baton::kv;
using boost::asio::ip::tcp;
using boost::system::error_code;

constexpr std::size_t kBlockBytes = 16;
constexpr std::size_t kBlocks = 4;

void require(bool holds) {
  if (!holds) std::abort();
}

class Bench {
 public:
  const Loop loop = std::make_shared<boost::asio::io_context>(1);

  // Until nothing more happens; loopback is quick.
  void settle() {
    while (loop->poll() > 0 || loop->run_one_for(std::chrono::microseconds(200)) > 0) {
      loop->restart();
    }
    loop->restart();
  }
  template <class Condition>
  void wait_for(Condition condition) {
    const auto until = baton::Clock::now() + std::chrono::seconds(5);
    while (!condition() && baton::Clock::now() < until) {
      loop->run_one_for(std::chrono::milliseconds(10));
      loop->restart();
    }
    require(condition());
  }
  // The input, in pieces of `cut` bytes, each taken in before the next.
  void say(tcp::socket& socket, std::span<const std::uint8_t> input, std::size_t cut) {
    error_code error;
    while (!input.empty() && !error) {
      const auto now = input.first(std::min(cut, input.size()));
      boost::asio::write(socket, boost::asio::buffer(now.data(), now.size()), error);
      loop->poll();
      loop->restart();
      input = input.subspan(now.size());
    }
  }

 private:
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      loop->get_executor()};
};

BlockDescriptor make_block(BlockArena& arena, std::uint8_t fill) {
  const SlotRef slot = arena.allocate().value();
  const auto bytes = arena.bytes(slot);
  std::ranges::fill(bytes, std::byte{fill});
  require(arena.pin(slot));
  return {.first_token = fill,
          .token_count = 1,
          .slot = slot,
          .bytes = kBlockBytes,
          .checksum = checksum_of(bytes)};
}

void try_owner(std::span<const std::uint8_t> input, std::size_t cut) {
  Bench bench;
  const auto arena = std::move(*BlockArena::create(baton::Bytes(kBlockBytes), kBlocks));
  const auto owner = std::move(*make_tcp_transport(bench.loop, *arena, {}));
  std::vector<BlockDescriptor> blocks;
  for (std::uint8_t i = 0; i < kBlocks; ++i) blocks.push_back(make_block(*arena, i));
  owner->publish({1, 2}, blocks);
  const TransportOffer offer = owner->reserve(baton::Clock::now());
  {
    tcp::socket reader(*bench.loop);
    const auto port = std::stoi(offer.address.substr(offer.address.rfind(':') + 1));
    error_code error;
    reader.connect({boost::asio::ip::address_v4::loopback(), static_cast<std::uint16_t>(port)},
                   error);
    if (error) return;  // out of ports, say
    boost::asio::write(reader, boost::asio::buffer(offer.token, OneTimeTokens::kBytes), error);
    bench.say(reader, input, cut);
    bench.settle();
  }
  bool stopped = false;
  owner->stop([&stopped] { stopped = true; });
  while (!stopped) bench.settle();
  require(arena->counts().pinned == static_cast<int>(kBlocks));
  for (const BlockDescriptor& block : blocks) {
    arena->unpin(block.slot);  // the lease's
    arena->free(block.slot);
  }
  require(arena->counts().pinned == 0 && arena->counts().quarantined == 0);
}

void try_link(std::span<const std::uint8_t> input, std::size_t cut) {
  Bench bench;
  tcp::acceptor acceptor(*bench.loop, {boost::asio::ip::address_v4::loopback(), 0});
  tcp::socket owner(*bench.loop);
  acceptor.async_accept(owner, [](error_code) {});
  const auto link = std::make_shared<TcpLink>(bench.loop);
  bool connected = false;
  link->begin({"tcp", "127.0.0.1:" + std::to_string(acceptor.local_endpoint().port()), "token"}, 1,
              baton::Clock::now() + std::chrono::seconds(5),
              [&connected](const auto& result) { connected = result.has_value(); });
  bench.wait_for([&owner] { return owner.is_open(); });
  const wire::PieceHeader welcome{.status = wire::PieceStatus::kWelcome};
  error_code error;
  boost::asio::write(owner, boost::asio::buffer(&welcome, sizeof welcome), error);
  bench.wait_for([&connected] { return connected; });

  std::vector<std::vector<std::byte>> places(kBlocks, std::vector<std::byte>(kBlockBytes));
  std::vector<BlockRead> reads;
  for (std::uint32_t i = 0; i < kBlocks; ++i) {
    const std::vector<std::byte> zeros(kBlockBytes);
    reads.push_back({.index = i,
                     .remote = {.slot = {.slot = i, .generation = 1},
                                .bytes = kBlockBytes,
                                .checksum = checksum_of(zeros)},
                     .into = places[i]});
    std::ranges::fill(places[i], std::byte{0xff});
  }
  std::vector<int> reported(kBlocks);
  link->fetch({.transfer = {1, 2}}, reads,
              [&](std::uint32_t index, const baton::Result<void>& result) {
                require(++reported[index] == 1);
                require(!result || checksum_of(places[index]) == reads[index].remote.checksum);
              });
  bench.settle();
  bench.say(owner, input, cut);
  bench.settle();
  link->close();
  bench.settle();
  require(std::ranges::all_of(reported, [](int times) { return times == 1; }));
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  baton::init_log({.level = baton::LogLevel::kError, .prefix = {}});
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  const std::size_t cut = data[1] == 0 ? size : data[1];
  const std::span rest(data + 2, size - 2);
  if (data[0] % 2 == 0) {
    try_owner(rest, cut);
  } else {
    try_link(rest, cut);
  }
  return 0;
}
