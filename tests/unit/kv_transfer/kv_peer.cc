// The other process of peer_test: `kv_peer produce TRANSPORT` or `kv_peer consume TRANSPORT
// ADDRESS`. Says on stdout what it has reached, then waits to be killed. And that of the fault
// tests: `kv_peer serve KEY=VALUE…`, which does what it is told (pod.h).
#include <unistd.h>

#include <iostream>
#include <random>
#include <string>

#include "core/log.h"
#include "tests/unit/kv_transfer/node_fixture.h"
#include "tests/unit/kv_transfer/pod.h"

namespace baton::kv {
namespace {

constexpr TransferId kTransfer{1, 2};

NodeOptions quick_options(const std::string& engine, const std::string& transport) {
  NodeOptions options = test_options(engine, transport);
  options.heartbeat = std::chrono::milliseconds(50);
  return options;
}

// Offers blocks that are never sealed.
void produce(const std::string& transport) {
  const auto node = start_node(quick_options("producer", transport), 512);
  std::mt19937_64 rng(1);
  node->open_lease(kTransfer, 64 * 512, 0);
  for (int i = 0; i < 512; ++i) {
    node->publish(kTransfer, {make_block(node->arena(), rng, i * 64, kTestSlotBytes)});
  }
  std::cout << node->address() << std::endl;
  ::pause();
}

// Reads until it is killed, and says so after the first block.
void consume(const std::string& transport, const std::string& address) {
  const auto node = start_node(quick_options("consumer", transport), 512);
  const auto collector = std::make_shared<Collector>(*node);
  node->receive(request_to(address, "producer", kTransfer, std::chrono::hours(1)), collector);
  if (collector->wait_for_blocks(1)) std::cout << "reading" << std::endl;
  ::pause();
}

}  // namespace
}  // namespace baton::kv

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const bool serves = !arguments.empty() && arguments[0] == "serve";
  // On stderr; what a pod that serves says of each of its hand-offs would be too much.
  baton::LogOptions options;
  if (serves) options.level = baton::LogLevel::kError;
  baton::init_log(options);
  if (arguments.size() == 2 && arguments[0] == "produce") {
    baton::kv::produce(arguments[1]);
  } else if (arguments.size() == 3 && arguments[0] == "consume") {
    baton::kv::consume(arguments[1], arguments[2]);
  } else if (serves) {
    return baton::kv::serve({arguments.begin() + 1, arguments.end()});
  }
  return 2;
}
