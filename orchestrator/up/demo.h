#pragma once

#include <boost/asio/io_context.hpp>
#include <string>

#include "adapters/http/server.h"
#include "orchestrator/config/config.h"

namespace baton::orchestrator {

struct DemoPlan {
  Endpoint router;
  Endpoint single;  // one pod of role both, which the router does not know
  std::string model;
  std::string lora;        // empty: none
  std::string user_model;  // as the user named it; empty: the made one
  int prefill_pods = 0;
  int decode_pods = 0;
};

// Sends a few requests through the router and to the single pod, and prints for each where it ran,
// where its time went, and whether the answers are the same. True: all are.
[[nodiscard]] adapters::http::Task<bool> run_demo(boost::asio::io_context& io, DemoPlan plan);

// The lines that a user types to talk to a system at `address` (HOST:PORT).
[[nodiscard]] std::string how_to_talk(const std::string& address, const std::string& model);

}  // namespace baton::orchestrator
