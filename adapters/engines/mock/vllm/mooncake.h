#pragma once

#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "adapters/engines/mock/side_channel.h"
#include "adapters/engines/mock/vllm/handoff.h"
#include "adapters/engines/mock/vllm/mooncake_bootstrap.h"

namespace baton::adapters::mock::vllm {

// vLLM 0.32.0's MooncakeConnector, both sides (kv_connector/v1/mooncake/mooncake_connector.py):
// both legs come at once, in any order, and name one transfer; the decode server learns from the
// bootstrap server who the prefill server's engines are, and asks the worker of the one that it was
// told, which writes the blocks when they are there. Who waits in vain learns of it by a timeout.
// Roles are the engine's: a prefill pod is a kv_producer, a decode pod a kv_consumer.
//
// The side channel is the bootstrap server (`/query`, `/register`), and stands in for the workers'
// ZeroMQ sockets and for RDMA as well:
//   POST /mooncake/transfer  an engine is asked for the blocks of a transfer, or to free them
// What is wrong is counted by name on the side that sees it. Owned by the dress, on the pod's
// thread.
class Mooncake final : public Handoff {
 public:
  explicit Mooncake(PodParts& parts);

  [[nodiscard]] bool accept(const std::shared_ptr<Work>& work) override;
  void ended(Work& work) override;
  [[nodiscard]] Json state() const override;
  void keep(Work& work, std::size_t choice) override;
  http::Task<Answer> serve(const http::Request& request) override;
  [[nodiscard]] bool answer_tells_parameters() const override { return false; }
  void fetch(const std::shared_ptr<Work>& work, std::size_t choice) override;
  void reject(const Json& params, RequestRecord* record) override;
  // v1/core/sched/scheduler.py:2702.
  [[nodiscard]] bool fetch_outlives_request() const override { return true; }

 private:
  using Key = std::pair<std::size_t, std::string>;  // rank and transfer id
  // Blocks of a finished prefill that wait for their reader.
  struct Kept {
    engine_model::SequenceId sequence = 0;
    std::size_t blocks = 0;
    std::vector<TokenId> tokens;
    std::uint64_t content = 0;
    TimePoint expires;
    bool sending = false;
  };
  // One decode leg, from its arrival to its end.
  struct Pull {
    Json params;
    bool hangs = false;  // keys are missing: the engine waits for KV that nobody fetches
    bool begun = false;
  };
  // What a decode leg's question came to.
  struct Outcome {
    std::optional<std::uint64_t> content;
    std::string why;        // there is none
    std::string violation;  // empty: no rule was broken
  };

  [[nodiscard]] bool accept_prefill(Work& work);
  [[nodiscard]] bool accept_decode(const std::shared_ptr<Work>& work);
  http::Task<Answer> transfer(Json asked);
  http::Task<bool> until_ready(Key key);
  [[nodiscard]] bool is_ready(const Key& key) const;
  [[nodiscard]] std::string why_none(const Key& key) const;
  [[nodiscard]] std::optional<std::size_t> rank_named(std::string_view engine_id) const;
  void release(const Key& key, std::string_view later_readers_violation);
  void expire();
  void watch_leases();

  static http::Task<void> receive(Mooncake* self, std::shared_ptr<Work> work, std::size_t choice,
                                  Json params);
  static http::Task<void> give_back(Mooncake* self, Json params);
  http::Task<Outcome> pull(Json params, Json tokens);
  http::Task<bool> learn_engines(std::string bootstrap);
  http::Task<std::optional<PeerAnswer>> ask_worker(Peer worker, Json question);

  PodParts& parts_;
  MooncakeBootstrap bootstrap_;
  std::set<std::string> used_;  // transfer ids that prefill legs named
  std::map<Key, Kept> kept_;
  std::map<Key, std::string> gone_;  // what a later reader breaks
  std::size_t lost_blocks_ = 0;      // that nothing will free
  std::multimap<Key, std::shared_ptr<http::asio::steady_timer>> askers_;
  http::asio::steady_timer expiry_;
  std::map<const Work*, Pull> pulls_;
  std::size_t fetching_ = 0;
  std::map<std::string, Peer> known_engines_;  // for good, as in the engine
};

}  // namespace baton::adapters::mock::vllm
