#pragma once

#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/engines/mock/dress.h"
#include "adapters/engines/mock/sglang/metrics.h"

namespace baton::adapters::mock::sglang {

// disaggregation/utils.py:47: requests to this host meet nobody; health probes use it.
inline constexpr std::string_view kFakeHost = "2.2.2.2";
// Of the bootstrap server, where a request names none (--disaggregation-bootstrap-port).
inline constexpr std::uint16_t kDefaultPort = 8998;

// Where one choice of a request meets its other half.
struct Meeting {
  std::int64_t room = 0;
  std::string host;
  std::uint16_t port = 0;
  [[nodiscard]] bool fake() const { return host == kFakeHost; }
};

// The rendezvous of SGLang's prefill and decode servers, both sides, after
// disaggregation/{prefill,decode}.py and common/conn.py of August 2026 (d315eb7). Both legs come at
// once and name the same room of the prefill server, which computes nothing until the decode leg
// has asked for the room, and answers once the KV has gone. Who waits in vain learns of it by its
// own timeout only. The bootstrap server speaks HTTP and JSON where the engine speaks ZMQ and RDMA:
//   GET  /sglang/route  is it there: asked once
//   POST /sglang/kv     a decode leg's question for a room's KV, held until it is there
//   POST /sglang/abort  it is not wanted any more
// Broken rules are counted by name on the side that sees them. Owned by the dress, on the pod's
// thread.
class Rooms {
 public:
  Rooms(PodParts& parts, Metrics& metrics);

  // The prefill side

  // A prefill leg came, its choices held: each is released when its room has been asked for.
  [[nodiscard]] std::optional<Failure> expect(const std::shared_ptr<Work>& work);
  // One of its choices was computed, and its KV goes to the asker.
  void computed(Work& work, std::size_t choice);
  // Until all of its KV has gone, or it failed.
  static http::Task<void> delivered(Rooms* self, std::shared_ptr<Work> work);
  http::Task<Answer> serve(const http::Request& request);

  // The decode side

  void accept(const std::shared_ptr<Work>& work);
  // Blocks are ready for a choice's KV: asks for it.
  void fetch(const std::shared_ptr<Work>& work, std::size_t choice);

  // Either leg is over.
  void ended(Work& work);
  [[nodiscard]] Json waiting() const;

  // Of each choice of a request; empty: it names no room.
  [[nodiscard]] static std::vector<Meeting> meetings_of(const Json& body, std::size_t prompts,
                                                        std::size_t choices,
                                                        std::uint16_t default_port);

 private:
  // One prefill leg.
  struct Sender {
    std::weak_ptr<Work> work;
    std::vector<Meeting> meetings;
    std::set<std::size_t> bootstrapped;  // choices whose room was asked for
    std::set<std::size_t> sent;
    std::shared_ptr<http::asio::steady_timer> deadline;
  };
  // A decode leg's question that is held.
  struct Asker {
    explicit Asker(http::asio::io_context& io) : ready(io) {}
    std::vector<TokenId> tokens;
    std::optional<Answer> answer;
    Signal ready;
  };
  // One decode leg.
  struct Receiver {
    std::vector<Meeting> meetings;
    std::set<std::size_t> asked;    // choices
    std::set<std::size_t> settled;  // the other side needs no further word of them
    std::shared_ptr<http::asio::steady_timer> deadline;
  };

  static http::Task<bool> is_there(Rooms* self, Meeting meeting);
  static http::Task<void> ask(Rooms* self, std::shared_ptr<Work> work, std::size_t choice);
  static http::Task<void> tell_abort(Rooms* self, Meeting meeting);
  static http::Task<void> send(Rooms* self, std::shared_ptr<Work> work, std::size_t choice,
                               std::uint64_t content);
  static http::Task<void> watch(Rooms* self, std::weak_ptr<Work> work, bool prefill,
                                std::shared_ptr<http::asio::steady_timer> deadline);
  void answer(std::int64_t room, Answer with);
  void meet(std::int64_t room);
  void fail_sender(Work& work, const Meeting& meeting, const std::string& why);
  void fail_receiver(Work& work, std::size_t choice, std::string_view stage,
                     const std::string& why);
  void time_out(Work& work, bool prefill);
  void sent(Work& work, std::size_t choice);
  [[nodiscard]] Work* sender_of(std::int64_t room, std::size_t* choice);
  [[nodiscard]] http::Task<Answer> kv(const Json& asked);
  [[nodiscard]] Answer abort(const Json& asked);

  PodParts& parts_;
  Metrics& metrics_;
  std::map<const Work*, Sender> senders_;
  std::map<std::int64_t, const Work*> rooms_;  // of senders
  std::map<std::int64_t, std::shared_ptr<Asker>> askers_;
  std::map<const Work*, Receiver> receivers_;
  std::set<std::string> known_servers_;  // bootstrap addresses that have answered
  std::set<std::int64_t> used_;          // rooms that were ever named here
};

}  // namespace baton::adapters::mock::sglang
