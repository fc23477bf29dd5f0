#pragma once

#include <memory>
#include <string>

#include "adapters/engines/mock/dress.h"
#include "adapters/engines/mock/vllm/answers.h"
#include "adapters/engines/mock/vllm/handoff.h"
#include "adapters/engines/mock/vllm/metrics.h"

namespace baton::adapters::mock::vllm {

inline constexpr std::string_view kVersion = "0.32.0";

// A pod of vLLM 0.32.0 with one of its KV connectors: routes, words and hand-off as the engine's
// Python frontend has them. Owned by the pod.
class VllmDress final : public Dress {
 public:
  explicit VllmDress(PodParts& parts);

  std::expected<Generation, Answer> read(Api api, const http::Request& request,
                                         RequestRecord& record) override;
  http::Task<Answer> other(const http::Request& request) override;
  http::Task<Answer> side_channel(const http::Request& request) override;
  [[nodiscard]] Answer unavailable() const override;

  std::optional<Failure> begin(const std::shared_ptr<Work>& work) override;
  void tune(const Work& work, std::size_t choice, engine_model::SequenceSpec& spec) override;
  void ended(Work& work) override;
  [[nodiscard]] Json handoffs() const override;

  Answer whole(const Work& work) override;
  std::string opening(const Work& work) override { return form_.opening(work); }
  std::string event(const Work& work, const Piece& piece) override;
  std::string closing(const Work& work) override { return form_.closing(work); }
  std::string failure_events(const Failure& failure) override;
  [[nodiscard]] Failure internal_failure() const override;

 private:
  // read.cc
  [[nodiscard]] std::optional<Answer> find_model(const Json& body, Generation& into) const;
  [[nodiscard]] std::optional<Answer> read_prompts(const Json& body, Generation& into) const;
  [[nodiscard]] std::optional<Answer> fit_prompt(const Json& body, Generation& into, Prompt prompt,
                                                 bool from_text) const;
  [[nodiscard]] std::optional<Answer> check_tool_choice(const Json& body) const;
  [[nodiscard]] int choose_rank(std::optional<int> wanted) const;
  void note_leg(const Generation& wanted, RequestRecord& record);

  // routes.cc
  [[nodiscard]] Answer models() const;
  [[nodiscard]] Answer tokenize(const Json& body) const;
  [[nodiscard]] Answer detokenize(const Json& body) const;
  [[nodiscard]] Answer load_lora(const Json& body);
  [[nodiscard]] Answer unload_lora(const Json& body);
  [[nodiscard]] Answer sleep(const http::Request& request);

  PodParts& parts_;
  Metrics metrics_;
  std::unique_ptr<Handoff> handoff_;
  AnswerForm form_;
};

// entrypoints/serve/engine/serving.py:60, _check_model.
[[nodiscard]] Answer unknown_model(std::string_view model, std::string_view served);

// A request's JSON object, or FastAPI's refusal of it.
[[nodiscard]] std::expected<Json, Answer> parse_body(const http::Request& request);

}  // namespace baton::adapters::mock::vllm
