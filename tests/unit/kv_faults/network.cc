#include "tests/unit/kv_faults/network.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

namespace baton::kv {
namespace {

bool run(const std::string& command) {
  return std::system((command + " > /dev/null 2>&1").c_str()) == 0;
}

std::string new_name() {
  static std::atomic<int> count = 0;
  return fmt::format("baton-{}-{}", ::getpid(), ++count);
}

}  // namespace

Network::Network() : here_(new_name()), there_(new_name()) {
  if (!run("ip netns add " + here_) || !run("ip netns add " + there_)) {
    missing_ = "network namespaces cannot be made here (root, and iproute2)";
    return;
  }
  const bool stands =
      run(fmt::format("ip -n {} link add name wire type veth peer name wire netns {}", here_,
                      there_)) &&
      run(fmt::format("ip -n {} addr add {}/24 dev wire", here_, kHere)) &&
      run(fmt::format("ip -n {} addr add {}/24 dev wire", there_, kThere)) &&
      run(fmt::format("ip -n {} link set lo up", here_)) &&
      run(fmt::format("ip -n {} link set lo up", there_)) &&
      run(fmt::format("ip -n {} link set wire up", here_)) &&
      run(fmt::format("ip -n {} link set wire up", there_));
  if (stands) await_link();
  if (!stands) missing_ = "no veth pair can be made between network namespaces here";
}

Network::~Network() {
  (void)run("ip netns del " + here_);
  (void)run("ip netns del " + there_);
}

// The kernel takes up to a second to say that a link is up, and UCX uses none before. A neighbour
// that was not found while it was down counts as unreachable for a while longer.
void Network::await_link() const {
  for (const std::string& end : {here_, there_}) {
    EXPECT_TRUE(
        run(fmt::format("for i in $(seq 100); do ip -n {} link show wire | grep -q 'state "
                        "UP' && exit 0; sleep 0.1; done; exit 1",
                        end)));
  }
  for (const std::string& end : {here_, there_}) {
    EXPECT_TRUE(run(fmt::format("ip -n {} neigh flush dev wire", end)));
  }
}

void Network::take_down() const {
  EXPECT_TRUE(run(fmt::format("ip -n {} link set wire down", there_)));
}

void Network::bring_up() const {
  EXPECT_TRUE(run(fmt::format("ip -n {} link set wire up", there_)));
  await_link();
}

bool Network::lose_some() const {
  return run(
      fmt::format("ip netns exec {} nft 'add table ip loss; "
                  "add chain ip loss in {{ type filter hook input priority 0; }}; "
                  "add rule ip loss in numgen random mod 100 < 10 drop'",
                  here_));
}

void Network::lose_none() const {
  EXPECT_TRUE(run(fmt::format("ip netns exec {} nft delete table ip loss", here_)));
}

}  // namespace baton::kv
