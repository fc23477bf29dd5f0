#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "adapters/engines/mock/dress.h"
#include "adapters/engines/mock/prometheus_text.h"
#include "adapters/engines/mock/trtllm/answers.h"
#include "adapters/engines/mock/trtllm/contexts.h"

namespace baton::adapters::mock::trtllm {

inline constexpr std::string_view kVersion = "1.3.0";

// A pod of TensorRT-LLM 1.3's trtllm-serve (2026; tensorrt_llm/serve), which is a context server, a
// generation server or both request by request, as disaggregated_params say. Owned by the pod.
class TrtllmDress final : public Dress {
 public:
  explicit TrtllmDress(PodParts& parts);

  std::expected<Generation, Answer> read(Api api, const http::Request& request,
                                         RequestRecord& record) override;
  http::Task<Answer> other(const http::Request& request) override;
  http::Task<Answer> side_channel(const http::Request& request) override {
    co_return co_await contexts_.serve(request);
  }
  [[nodiscard]] Answer unavailable() const override;

  std::optional<Failure> begin(const std::shared_ptr<Work>& work) override;
  void tune(const Work& work, std::size_t choice, engine_model::SequenceSpec& spec) override;
  void ended(Work& work) override;
  [[nodiscard]] Json handoffs() const override { return contexts_.waiting(); }

  Answer whole(const Work& work) override { return {200, dump(whole_answer(work))}; }
  std::string opening(const Work& work) override { return opening_events(work); }
  std::string event(const Work& work, const Piece& piece) override {
    return piece_event(work, piece);
  }
  std::string closing(const Work& work) override { return closing_events(work); }
  // openai_server.py: the generator raises, and the server closes the connection.
  [[nodiscard]] bool cuts_failed_streams() const override { return true; }
  std::string failure_events(const Failure& failure) override {
    return "data: " + failure.body + "\n\n";
  }
  [[nodiscard]] Failure internal_failure() const override {
    return {400, error_answer("Internal error").body};
  }

 private:
  // read.cc
  [[nodiscard]] std::optional<Answer> read_leg(const Json& body, Generation& into,
                                               RequestRecord& record);
  [[nodiscard]] std::optional<Answer> read_prompts(const Json& body, Generation& into) const;
  [[nodiscard]] std::optional<Answer> fit_prompt(const Json& body, Generation& into,
                                                 Prompt prompt) const;

  // routes.cc
  [[nodiscard]] Answer iteration_stats() const;
  [[nodiscard]] std::string prometheus() const;

  PodParts& parts_;
  Contexts contexts_;
  Histogram first_token_, latency_;
  std::int64_t succeeded_ = 0;
  std::int64_t failed_ = 0;
};

// A request's JSON object, or FastAPI's refusal of it.
[[nodiscard]] std::expected<Json, Answer> parse_body(const http::Request& request);
// serve/openai_protocol.py: the types of fields, and none that is not in the schema
// (extra="forbid").
[[nodiscard]] std::optional<Answer> check_body(Api api, const Json& body);

}  // namespace baton::adapters::mock::trtllm
