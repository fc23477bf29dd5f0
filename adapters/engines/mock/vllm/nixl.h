#pragma once

#include <boost/asio/steady_timer.hpp>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/engines/mock/side_channel.h"
#include "adapters/engines/mock/vllm/handoff.h"

namespace baton::adapters::mock::vllm {

// Blocks of a finished prefill that wait for their reader, on the pod that computed them.
struct Lease {
  std::string request_id;  // the engine's own: the client's with 8 hex digits behind it
  std::size_t rank = 0;
  engine_model::SequenceId sequence = 0;
  std::vector<engine_model::BlockId> blocks;
  std::vector<TokenId> tokens;
  std::uint64_t content = 0;
  TimePoint expires;
  bool being_read = false;
};

// vLLM's NixlConnector in pull mode, both sides, as 0.32.0 has it
// (distributed/kv_transfer/kv_connector/v1/nixl/pull_scheduler.py, base_worker.py), and its
// NixlPushConnector (nixl_push.cc). Its side channel speaks HTTP and JSON where the engine speaks
// ZMQ and RDMA:
//   GET  /nixl/metadata   the handshake: engine ids, compatibility hash
//   POST /nixl/read       begins the one read of a request's blocks, which are checked against what
//                         the reader was told: engine, request, blocks, lease, prompt, version
//   POST /nixl/done       read or not wanted: the blocks are free
//   POST /nixl/heartbeat  the reader still waits: leases go on
//   POST /nixl/register   push: where a request's blocks are to be written, held until they are
//   POST /nixl/unregister push: nobody waits any more (the engine has no such message)
// What is wrong is counted by name on the reader's side. Owned by the dress, on the pod's thread.
class Nixl final : public Handoff {
 public:
  Nixl(PodParts& parts, Metrics& metrics);

  [[nodiscard]] bool accept(const std::shared_ptr<Work>& work) override;
  void ended(Work& work) override;
  [[nodiscard]] Json state() const override;
  void keep(Work& work, std::size_t choice) override;
  http::Task<Answer> serve(const http::Request& request) override;
  void fetch(const std::shared_ptr<Work>& work, std::size_t choice) override;
  void reject(const Json& params, RequestRecord* record) override;

 private:
  // Of one decode leg, from its arrival until its blocks are fetched or given back.
  struct Pull {
    Json params;
    Peer peer;
    bool settled = false;  // the other side needs no further word
    bool begun = false;
    bool hangs = false;         // keys are missing: the engine waits for KV that nobody fetches
    std::string registered_as;  // push: the request's id, once the other side was told
  };
  // Push: where the blocks of a request are to be written.
  struct Registration {
    explicit Registration(http::asio::io_context& io) : ready(io) {}
    std::vector<TokenId> tokens;
    std::optional<Answer> answer;
    Signal ready;
  };
  static http::Task<void> run(Nixl* self, std::shared_ptr<Work> work, std::size_t choice);
  static http::Task<std::string> handshake(Nixl* self, Peer peer, std::string engine_id,
                                           RequestRecord* record);
  static http::Task<void> tell(Nixl* self, Peer peer, std::string target, Json body);
  static http::Task<void> beat(Nixl* self, std::weak_ptr<Work> work);
  void fail(const std::shared_ptr<Work>& work, std::size_t choice, const std::string& why,
            std::string_view violation);

  // nixl_push.cc
  [[nodiscard]] bool pushes() const;
  [[nodiscard]] bool accept_push(const std::shared_ptr<Work>& work);
  static http::Task<void> receive(Nixl* self, std::shared_ptr<Work> work, std::size_t choice);
  http::Task<Answer> register_reader(const Json& asked);
  // Writes the blocks of one of the two to where the other says, if both are there.
  void match(const std::string& request_id);

  // The engine's name of a choice's request, as kv_transfer_params tell it.
  [[nodiscard]] std::string engine_request_id(const Work& work, std::size_t choice);
  [[nodiscard]] Json leases() const;
  [[nodiscard]] std::int64_t pinned_blocks() const;
  [[nodiscard]] Answer read(const Json& asked);
  [[nodiscard]] std::string compatibility_hash() const;
  void release(const std::string& request_id, std::string_view why);
  void expire();
  void watch_leases();

  PodParts& parts_;
  Metrics& metrics_;
  std::map<std::string, Lease> leases_;
  std::map<std::string, std::string> gone_;  // why a request's blocks are no longer kept
  http::asio::steady_timer expiry_;
  std::map<const Work*, Pull> pulls_;
  std::map<std::string, std::shared_ptr<Registration>> registrations_;  // by request id
  std::map<std::string, std::string> known_engines_;  // engine id to its compatibility hash
};

}  // namespace baton::adapters::mock::vllm
