#pragma once

#include <array>
#include <string_view>

namespace baton::kv {

// Every transport, as in configuration, logs and metrics. Node::start() makes them.
inline constexpr std::array<std::string_view, 5> kTransportNames = {"shm", "cma", "tcp", "ucx",
                                                                    "nccl"};
// Those that are used without being asked for, the preferred one first.
inline constexpr std::array<std::string_view, 3> kDefaultTransports = {"shm", "tcp", "ucx"};

}  // namespace baton::kv
