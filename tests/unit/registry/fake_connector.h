#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "adapters/engines/connector.h"

namespace baton::orchestrator {

// A protocol whose pods tell their version at /fake and, on probing, the engine id with which they
// hand over: `{"id":"..."}`. Other answers to a probe: 503 is retryable, anything else is not.
class FakeConnector final : public adapters::Connector {
 public:
  explicit FakeConnector(bool probes = true) : probes_(probes) {}

  [[nodiscard]] std::string_view name() const override { return "fake"; }
  [[nodiscard]] adapters::Dispatch dispatch() const override {
    return adapters::Dispatch::kConcurrent;
  }
  [[nodiscard]] std::string refuses_split(const OpenAiRequest&) const override { return {}; }
  [[nodiscard]] Result<adapters::LegRequest> prefill_leg(
      const OpenAiRequest&, const Plan&, const adapters::HandoffKey&) const override {
    return adapters::LegRequest();
  }
  [[nodiscard]] Result<adapters::LegRequest> decode_leg(
      const OpenAiRequest&, const Plan&, const adapters::HandoffKey&,
      const adapters::PrefillResponse*) const override {
    return adapters::LegRequest();
  }
  [[nodiscard]] adapters::LegAction on_leg_failure(const Error&) const override {
    return adapters::LegAction::kFail;
  }
  // Through the decode pod, with the prefill pod's answer.
  [[nodiscard]] std::optional<adapters::Release> release(
      const Plan&, const adapters::HandoffKey&,
      const adapters::PrefillResponse* prefill) const override {
    adapters::Release release;
    release.pod = Stage::kDecode;
    release.request.target = "/give-back";
    release.request.body = prefill->body;
    return release;
  }
  [[nodiscard]] Error read_error(unsigned, std::string_view, Stage) const override { return {}; }

  [[nodiscard]] std::vector<adapters::FactsTarget> facts_targets(const Pod&) const override {
    return {{"/fake"}};
  }
  [[nodiscard]] Result<EngineFacts> read_facts(const Pod&,
                                               std::span<const std::string> bodies) const override {
    const auto told = nlohmann::json::parse(bodies[0], nullptr, false);
    if (!told.is_object() || !told.contains("version")) {
      return fail(ErrorCode::kUpstream, Stage::kRouter, "is no fake engine", false);
    }
    EngineFacts facts;
    facts.engine_version = "fake " + told["version"].get<std::string>();
    return facts;
  }

  [[nodiscard]] std::optional<adapters::LegRequest> probe(const Pod& pod,
                                                          std::string_view model) const override {
    if (!probes_ || !can_prefill(pod.role)) return std::nullopt;
    adapters::LegRequest request;
    request.target = "/probe";
    request.body = std::string(model);
    return request;
  }
  [[nodiscard]] Result<void> read_probe(const Pod&, unsigned status, std::string_view body,
                                        EngineFacts& facts) const override {
    if (status == 503) return fail(ErrorCode::kUnavailable, Stage::kRouter, "is busy", true);
    const auto told = nlohmann::json::parse(body, nullptr, false);
    if (status != 200 || !told.is_object() || !told.contains("id")) {
      return fail(ErrorCode::kUpstream, Stage::kRouter, "hands nothing over", false);
    }
    facts.engine_id = told["id"].get<std::string>();
    return {};
  }

 private:
  bool probes_;
};

}  // namespace baton::orchestrator
