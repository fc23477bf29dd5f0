#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/error.h"
#include "core/units.h"

namespace baton::orchestrator::bench {

// When the tokens of one answer go out. A prompt can say its own, by holding somewhere
// "reference id=7 ttft_us=20000 gap_us=5000 tokens=8 " (any of them; times of ours otherwise).
struct ReferenceTiming {
  Duration ttft{};          // from the request, read whole, to the first token
  Duration gap{};           // between tokens; 0: all in one write
  int tokens = 0;           // 0: as many as max_tokens asks for, or 16
  bool role_first = false;  // a chunk with a role and no token, at once
  bool usage = true;        // said at the end, in a chunk of its own
};

// How an answer goes wrong.
enum class ReferenceFault : std::uint8_t {
  kNone,
  kStatus,       // fault_status, with an OpenAI error
  kHtml,         // 200 and a page
  kOtherJson,    // 200 and JSON that is no completion; in a stream, such an event
  kEmptyStream,  // 200 and nothing
  kNoDone,       // all but [DONE]
  kUsageTwice,
  kErrorEvent,  // after half of the tokens
  kCut,         // the connection closes after half of the tokens
  kReset,       // the connection is reset before the answer
  kHang,        // no answer until the client leaves
  kStall,       // half of the tokens, then nothing until the client leaves
  kOpenEnd,     // [DONE], and the body does not end
};

struct ReferenceOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 0;
  std::string model = "reference";
  ReferenceTiming timing{};
  ReferenceFault fault = ReferenceFault::kNone;
  int fault_every = 1;  // each so-manieth completion
  unsigned fault_status = 429;
  bool keep_truth = true;
  // Header fields of each 200 answer, beside x-request-id.
  std::vector<std::pair<std::string, std::string>> fields{};
};

// What one completion request really got, and when: read just before each write to its socket.
struct ServedTruth {
  std::int64_t id = -1;           // as the prompt says
  TimePoint received;             // by the kernel, to its last byte
  std::vector<TimePoint> tokens;  // of an answer that is no stream: its one write
  TimePoint ended;                // [DONE]
  bool whole = false;             // it went out to its end, and the client was there
};

// An OpenAI server with exactly known timing, on a thread of its own: chat and completions, models,
// /tokenize (one token a byte), /health. With ReferenceTiming{} it is a sink that answers at once.
class ReferenceServer {
 public:
  [[nodiscard]] static Result<std::unique_ptr<ReferenceServer>> start(ReferenceOptions options);
  virtual ~ReferenceServer() = default;
  [[nodiscard]] virtual std::uint16_t port() const = 0;
  [[nodiscard]] virtual int requests() const = 0;  // completions that came so far; any thread
  // Closes everything and returns what it knows, in the order in which requests came.
  virtual std::vector<ServedTruth> stop() = 0;
};

// The same on the calling thread, until SIGTERM or SIGINT. `on_ready` gets the port.
[[nodiscard]] Result<void> run_reference_server(const ReferenceOptions& options,
                                                const std::function<void(std::uint16_t)>& on_ready);

// One in a process of its own, for more connections than one process may have open. Started by
// fork(), without exec(); killed with this object, and with this process.
class ReferenceChild {
 public:
  [[nodiscard]] static Result<std::unique_ptr<ReferenceChild>> start(
      const ReferenceOptions& options);
  ReferenceChild(int pid, std::uint16_t port) : pid_(pid), port_(port) {}
  ~ReferenceChild();
  ReferenceChild(const ReferenceChild&) = delete;
  ReferenceChild& operator=(const ReferenceChild&) = delete;
  [[nodiscard]] std::uint16_t port() const { return port_; }

 private:
  int pid_;
  std::uint16_t port_;
};

}  // namespace baton::orchestrator::bench
