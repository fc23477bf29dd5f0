#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/error.h"
#include "kv_transfer/measure/block_shape.h"

namespace baton::orchestrator::kv_perf {

struct Plan {
  std::string server;  // HOST:PORT of a Server
  std::vector<kv::BlockShape> shapes;
  std::vector<std::string> transports;
  int repetitions = 5;
};

// One shape over one transport.
struct Row {
  kv::BlockShape shape;
  std::string transport;
  double first = 0;               // seconds of the first fetch, which also connects
  std::vector<double> seconds{};  // of the others, from the request to the last verified block
  std::optional<Error> error{};   // set: not measured

  [[nodiscard]] double best() const;
  [[nodiscard]] double median() const;
  [[nodiscard]] double gb_per_s(double the_seconds) const;  // 10^9 bytes
};

// Called before each fetch: the row that will be, how many rows there are, which fetch of how many.
using Progress = std::function<void(const Row& row, std::size_t number, std::size_t rows, int fetch,
                                    int fetches)>;

// Measures every shape over every transport, in turn; a row that cannot be measured says why.
// Blocks. Errors: kInvalidArgument (no HOST:PORT), kUnavailable (nobody answers there).
[[nodiscard]] Result<std::vector<Row>> measure(const Plan& plan, const Progress& progress);

}  // namespace baton::orchestrator::kv_perf
