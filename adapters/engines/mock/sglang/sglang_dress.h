#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "adapters/engines/mock/dress.h"
#include "adapters/engines/mock/sglang/answers.h"
#include "adapters/engines/mock/sglang/metrics.h"
#include "adapters/engines/mock/sglang/rooms.h"

namespace baton::adapters::mock::sglang {

inline constexpr std::string_view kVersion = "0.5.12";

// A pod of SGLang as of August 2026 (sources: d315eb7, python/sglang/srt): with --role prefill or
// decode it runs in that --disaggregation-mode, with both in none. Its side channel is the
// bootstrap server. Owned by the pod.
class SglangDress final : public Dress {
 public:
  explicit SglangDress(PodParts& parts);

  std::expected<Generation, Answer> read(Api api, const http::Request& request,
                                         RequestRecord& record) override;
  http::Task<Answer> other(const http::Request& request) override;
  http::Task<Answer> side_channel(const http::Request& request) override;
  [[nodiscard]] Answer unavailable() const override;

  std::optional<Failure> begin(const std::shared_ptr<Work>& work) override;
  void tune(const Work& work, std::size_t choice, engine_model::SequenceSpec& spec) override;
  http::Task<void> before_answer(const std::shared_ptr<Work>& work) override;
  void ended(Work& work) override;
  [[nodiscard]] Json handoffs() const override { return rooms_.waiting(); }

  Answer whole(const Work& work) override { return {200, dump(form_.whole(work))}; }
  std::string opening(const Work& work) override { return form_.opening(work); }
  std::string event(const Work& work, const Piece& piece) override {
    return form_.event(work, piece);
  }
  std::string closing(const Work& work) override { return form_.closing(work); }
  std::string failure_events(const Failure& failure) override {
    return error_event(failure) + "data: [DONE]\n\n";
  }
  [[nodiscard]] Failure internal_failure() const override {
    return engine_failure(500, "Internal server error");
  }

 private:
  // read.cc
  [[nodiscard]] std::optional<Answer> read_prompts(const Json& body, Generation& into) const;
  [[nodiscard]] std::optional<Answer> fit_prompt(const Json& body, Generation& into,
                                                 Prompt prompt) const;
  [[nodiscard]] std::optional<Answer> find_lora(const Json& body, Generation& into) const;
  [[nodiscard]] std::optional<std::string> check_rooms(const Generation& wanted,
                                                       RequestRecord& record);
  [[nodiscard]] int choose_rank(const Generation& wanted) const;

  // routes.cc
  [[nodiscard]] Answer models() const;
  [[nodiscard]] Answer model_info() const;
  [[nodiscard]] Answer server_info() const;
  [[nodiscard]] Answer loads() const;
  [[nodiscard]] Answer flush_cache();
  [[nodiscard]] Answer abort_request(const Json& body);
  [[nodiscard]] Answer tokenize(const Json& body) const;

  PodParts& parts_;
  Metrics metrics_;
  Rooms rooms_;
  AnswerForm form_;
  std::set<Work*> works_;  // for /abort_request
};

// A request's JSON object, or FastAPI's refusal of it.
[[nodiscard]] std::expected<Json, Answer> parse_body(const http::Request& request);
// The types of a request's fields (entrypoints/openai/protocol.py), then what the servers and
// SamplingParams.verify() say of their values.
[[nodiscard]] std::optional<Answer> check_types(Api api, const Json& body);
[[nodiscard]] std::optional<std::string> check_values(Api api, const Json& body,
                                                      TokenId vocabulary);

}  // namespace baton::adapters::mock::sglang
