#pragma once

#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "adapters/engines/mock/dress.h"

namespace baton::adapters::mock::trtllm {

// The hand-off of TensorRT-LLM's context and generation servers, context first, both sides
// (serve/openai_disagg_service.py, _torch/pyexecutor/py_executor.py): a context leg's blocks are
// kept until a generation server has fetched them or kv_transfer_timeout_ms is over. Its side
// channel speaks HTTP and JSON where the engine speaks UCX or NIXL:
//   POST /trtllm/read  fetches a context's KV, once; what the reader was told is checked against
//                      what was computed: ids, opaque state, first token, prompt
// What is wrong is counted by name on the reader's side. Owned by the dress, on the pod's thread.
class Contexts {
 public:
  explicit Contexts(PodParts& parts);

  // The context side: its one choice has finished and its blocks are kept. Sets the work's
  // `handoff`.
  void keep(Work& work, std::size_t choice);
  http::Task<Answer> serve(const http::Request& request);
  [[nodiscard]] Json waiting() const;
  [[nodiscard]] std::int64_t expired() const { return expired_; }

  // The generation side: blocks are ready for the KV, which is fetched.
  void fetch(const std::shared_ptr<Work>& work, std::size_t choice);
  [[nodiscard]] std::int64_t failed() const { return failed_; }

 private:
  struct Context {
    std::int64_t disagg_request_id = 0;
    std::size_t rank = 0;
    engine_model::SequenceId sequence = 0;
    std::vector<TokenId> tokens;  // of the prompt
    std::vector<TokenId> first_tokens;
    std::string opaque;
    std::uint64_t content = 0;
    std::size_t blocks = 0;
    TimePoint expires;
  };
  static http::Task<void> read(Contexts* self, std::shared_ptr<Work> work, std::size_t choice);
  [[nodiscard]] Answer answer_read(const Json& asked);
  void fail(Work& work, const std::string& why);
  void release(std::int64_t id, std::string_view why);
  void watch();

  PodParts& parts_;
  std::map<std::int64_t, Context> contexts_;  // by ctx_request_id
  std::map<std::int64_t, std::string> gone_;  // why a context is no longer kept
  http::asio::steady_timer expiry_;
  std::int64_t last_id_ = 0;
  std::int64_t expired_ = 0;
  std::int64_t failed_ = 0;
};

// base64 of what the generation server needs to find a context, as `encoded_opaque_state`.
struct OpaqueState {
  std::string host;
  std::uint16_t port = 0;
  std::int64_t ctx_request_id = 0;
  [[nodiscard]] std::string encode() const;
  // Nothing: it is no such text.
  [[nodiscard]] static std::optional<OpaqueState> decode(const std::string& text);
};

}  // namespace baton::adapters::mock::trtllm
