#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kv_transfer/measure/block_shape.h"

namespace baton::perf {

using kv::BlockShape;

// Blocks are taken from and put to places in random order, as everywhere in this benchmark. Each
// gives the seconds of its repetitions, of which the first, which warms up, is left out.

// A process that sends with gathering sendmsg() to one that receives with scattering recvmsg(), on
// one connection over loopback. The receiver asks for `turn` blocks at a time, and for the next
// ones while those come; for all of them, and the sender streams.
[[nodiscard]] std::vector<double> raw_tcp_seconds(const BlockShape& shape, int repetitions,
                                                  int turn);
// A question of 64 bytes and an answer of `bytes` over TCP, both ends waiting in epoll_wait().
[[nodiscard]] std::vector<double> raw_ping_pong_seconds(std::uint32_t bytes, int repetitions);
// process_vm_readv() of another process's blocks.
[[nodiscard]] std::vector<double> raw_vm_readv_seconds(const BlockShape& shape, int repetitions);
// memcpy() within one process.
[[nodiscard]] std::vector<double> raw_memcpy_seconds(const BlockShape& shape, int repetitions);

}  // namespace baton::perf
