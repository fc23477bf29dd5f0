#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace baton::orchestrator {

struct UpOptions {
  std::string model;  // GGUF; empty: a made one
  int prefill = 2;
  int decode = 2;
  std::uint16_t port = 8080;
  std::uint16_t admin_port = 9090;
  std::vector<std::string> loras;  // NAME=FILE
  std::string transport = "auto";
  bool verbose = false;
  bool demo = false;
};

// Runs a whole system on this machine until it is told to stop, or until the demo's end: pods as
// child processes, the router in this one. Returns the exit code. Call it before the process has
// threads.
[[nodiscard]] int run_up(const UpOptions& options);

}  // namespace baton::orchestrator
