#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/engines/mock/generation.h"
#include "adapters/engines/mock/ledger.h"
#include "adapters/engines/mock/options.h"
#include "adapters/engines/mock/rank.h"
#include "adapters/engines/mock/tokenizer.h"
#include "adapters/http/client.h"
#include "adapters/http/server.h"

namespace baton::adapters::mock {

// A whole HTTP answer. JSON unless the fields say otherwise.
struct Answer {
  unsigned status = 200;
  std::string body;
  http::Fields fields = {{"content-type", "application/json"}};
};

// What a pod is made of, for its dress. Owned by the pod, on its thread.
struct PodParts {
  PodParts(http::asio::io_context& context, MockOptions what, const MockTokenizer& vocabulary,
           http::Client& caller)
      : io(context),
        options(std::move(what)),
        tokenizer(vocabulary),
        client(caller),
        faults(options.seed),
        rng(options.seed) {}

  http::asio::io_context& io;
  MockOptions options;  // ports are the real ones, once the pod listens
  const MockTokenizer& tokenizer;
  http::Client& client;  // to the side channels of other pods
  std::vector<std::shared_ptr<Rank>> ranks;
  Ledger ledger;
  Faults faults;
  std::mt19937_64 rng;  // ids and the like, from the seed
  engine_model::SequenceId last_sequence = 0;
  int open_requests = 0;
  TimePoint ready_at;
  double started_at = 0;           // Unix seconds
  int sleep_level = 0;             // 0: awake
  bool dead = false;               // the engine ended; the HTTP side still answers
  std::function<void()> on_death;  // the pod ends every open request

  [[nodiscard]] bool starting() const { return Clock::now() < ready_at; }
  // The engine ends as of a failed assertion: every answer that is open fails, and none begins.
  void die() {
    dead = true;
    if (on_death) on_death();
  }
};

// What one engine family says, checks and names, and how it hands over KV: a mock pod is the same
// for all of them but for its dress. Owned by its pod, on the pod's thread. The functions of one
// request are called in this order: read(); refused(), if it was; else begin(), tune() for each
// choice, before_answer(), the form of the answer, and ended() once.
class Dress {
 public:
  virtual ~Dress() = default;

  // Routes

  // Which API a POST to this path is; nothing: it is another route.
  [[nodiscard]] virtual std::optional<Api> api_of(std::string_view path) const;
  // Checks a request of the API as the engine would. What it refuses is answered as it says.
  [[nodiscard]] virtual std::expected<Generation, Answer> read(Api api,
                                                               const http::Request& request,
                                                               RequestRecord& record) = 0;
  // Every other request, but for /debug/. It answers unknown ones too.
  virtual http::Task<Answer> other(const http::Request& request) = 0;
  // A request of the side channel, where peers ask for KV.
  virtual http::Task<Answer> side_channel(const http::Request& request);
  // While the pod starts, or its engine is dead.
  [[nodiscard]] virtual Answer unavailable() const = 0;

  // The hand-off

  // A request that did not reach the engine.
  virtual void refused(const RequestRecord& /*record*/) {}
  // Sets the work's callbacks and `handoff`. What it refuses is answered so.
  [[nodiscard]] virtual std::optional<Failure> begin(const std::shared_ptr<Work>& /*work*/) {
    return std::nullopt;
  }
  virtual void tune(const Work& /*work*/, std::size_t /*choice*/,
                    engine_model::SequenceSpec& /*spec*/) {}
  // The answer is complete (or a stream's first piece is there) and is held until this is done. It
  // may set the work's failure.
  virtual http::Task<void> before_answer(const std::shared_ptr<Work>& /*work*/) { co_return; }
  // It was answered, it failed, or its client left.
  virtual void ended(Work& /*work*/) {}
  // Of GET /debug/ledger: at least "pinned_blocks", of hand-offs that nobody fetched yet.
  [[nodiscard]] virtual Json handoffs() const { return {{"pinned_blocks", 0}}; }

  // The form of answers

  [[nodiscard]] virtual Answer whole(const Work& work) = 0;
  [[nodiscard]] virtual http::Fields stream_fields() const {
    return {{"content-type", "text/event-stream; charset=utf-8"}};
  }
  [[nodiscard]] virtual std::string opening(const Work& work) = 0;
  [[nodiscard]] virtual std::string event(const Work& work, const Piece& piece) = 0;
  [[nodiscard]] virtual std::string closing(const Work& work) = 0;
  // Whether a stream in which the work failed is cut; else failure_events() end it.
  [[nodiscard]] virtual bool cuts_failed_streams() const { return false; }
  // The events that end a stream in which the work failed.
  [[nodiscard]] virtual std::string failure_events(const Failure& failure) = 0;
  // What the engine answers where a request fails within it.
  [[nodiscard]] virtual Failure internal_failure() const = 0;
};

// Makes the dress of `parts.options.engine`. Errors: kInvalidArgument with the list of known ones.
[[nodiscard]] Result<std::unique_ptr<Dress>> make_dress(PodParts& parts);
[[nodiscard]] std::vector<std::string> known_dresses();

}  // namespace baton::adapters::mock
