#include "orchestrator/bench/prepare.h"

#include <boost/asio/co_spawn.hpp>
#include <exception>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "adapters/http/client.h"

namespace baton::orchestrator::bench {
namespace {

namespace http = adapters::http;

constexpr Duration kProbeTime = std::chrono::seconds(60);
constexpr int kProbeTokens = 64;
constexpr Bytes kLongestModelList{4LL << 20};

std::string name_of(const Target& target) {
  return target.host + ":" + std::to_string(target.port);
}

std::unexpected<Error> strange_models(const Target& target, const std::string& what) {
  return fail(ErrorCode::kUpstream, Stage::kConfig,
              name_of(target) + target.base_path + "/models: " + what +
                  "; is it an OpenAI server? Else name the model with --model");
}

http::Task<Result<std::string>> ask_for_models(http::Client& client, const Target& target) {
  http::ClientRequest request;
  request.method = "GET";
  request.target = target.base_path + "/models";
  request.fields = target.fields;
  auto exchange = co_await client.send(target.host, target.port, std::move(request));
  if (!exchange) co_return std::unexpected(std::move(exchange.error()));
  const auto body = co_await (*exchange)->read_all(kLongestModelList);
  if (!body) co_return std::unexpected(body.error());
  if ((*exchange)->status() != 200) {
    co_return strange_models(target, "status " + std::to_string((*exchange)->status()));
  }
  co_return *body;
}

// The first model that the server lists.
Result<std::string> first_model(boost::asio::io_context& io, const Target& target) {
  http::ClientLimits limits;
  limits.header_time = limits.idle_time = kProbeTime;
  const auto client = http::Client::create(io, limits);
  std::optional<Result<std::string>> answer;
  boost::asio::co_spawn(io, ask_for_models(*client, target),
                        [&](const std::exception_ptr& thrown, Result<std::string> body) {
                          answer = thrown ? fail(ErrorCode::kInternal, Stage::kConfig,
                                                 "an exception while asking for the models")
                                          : std::move(body);
                        });
  io.restart();
  while (!answer && io.run_one() > 0) {
  }
  if (!answer) return fail(ErrorCode::kCancelled, Stage::kConfig, "stopped");
  if (!*answer) return std::unexpected((*answer).error());
  const auto json = nlohmann::json::parse(**answer, nullptr, false);
  if (!json.is_object() || !json.contains("data") || !json["data"].is_array()) {
    return strange_models(target, "no JSON list of models");
  }
  for (const auto& model : json["data"]) {
    if (model.is_object() && model.contains("id") && model["id"].is_string()) {
      return model["id"].get<std::string>();
    }
  }
  return strange_models(target, "it lists no model");
}

// Some given requests, one after the other.
class FixedWorkload final : public Workload {
 public:
  explicit FixedWorkload(std::vector<WorkloadRequest> requests) : requests_(std::move(requests)) {}
  [[nodiscard]] std::optional<std::size_t> size() const override { return requests_.size(); }
  [[nodiscard]] Result<WorkloadRequest> request(std::size_t index) override {
    return requests_[index];
  }
  [[nodiscard]] std::string describe() const override { return "probes"; }

 private:
  std::vector<WorkloadRequest> requests_;
};

// Prompt tokens of each request, as the server's usage says. Asks for one token of answer.
Result<std::vector<int>> reported_tokens(boost::asio::io_context& io, const Target& target,
                                         std::vector<WorkloadRequest> requests) {
  for (WorkloadRequest& request : requests) request.max_tokens = 1;
  RunOptions options;
  options.stream = false;
  options.requests = requests.size();
  options.concurrency = 1;
  options.request_timeout = kProbeTime;
  FixedWorkload workload(std::move(requests));
  Runner runner(io, target, options);
  const auto result = runner.run(workload);
  if (!result) return std::unexpected(result.error());
  std::vector<int> tokens;
  for (const RequestRecord& record : result->records) {
    if (!record.completed()) {
      return fail(ErrorCode::kUpstream, Stage::kConfig,
                  name_of(target) + ": a first request for one token failed: " + record.reason);
    }
    tokens.push_back(record.usage_reported ? record.prompt_tokens : 0);
  }
  return tokens;
}

WorkloadRequest plain(std::string text) {
  WorkloadRequest request;
  request.turns = {{"user", std::move(text)}};
  return request;
}

Result<PromptBuilder> by_characters(boost::asio::io_context& io, const Target& target,
                                    std::uint64_t seed) {
  std::vector<WorkloadRequest> probes;
  std::vector<CalibrationPoint> points;
  for (const std::size_t characters : {200, 800, 2400}) {
    probes.push_back(plain(calibration_text(characters)));
    points.push_back({characters, 0});
  }
  const auto tokens = reported_tokens(io, target, std::move(probes));
  if (!tokens) return std::unexpected(tokens.error());
  for (std::size_t i = 0; i < points.size(); ++i) points[i].prompt_tokens = (*tokens)[i];
  const auto calibration = calibrate(points);
  if (!calibration) {
    return fail(ErrorCode::kUpstream, Stage::kConfig,
                name_of(target) +
                    ": its usage.prompt_tokens is missing or does not grow with the "
                    "prompt, so prompts cannot be built by characters; use "
                    "--vocabulary FILE.gguf");
  }
  return PromptBuilder::from_characters(*calibration, seed);
}

Result<PromptBuilder> by_server(boost::asio::io_context& io, const Target& target,
                                std::uint64_t seed) {
  return PromptBuilder::from_server(io, {target.host, target.port}, target.model, seed);
}

Result<PromptBuilder> builder_of(boost::asio::io_context& io, const Target& target,
                                 const PromptOptions& options) {
  switch (options.source) {
    case PromptSource::kServer: return by_server(io, target, options.seed);
    case PromptSource::kVocabulary:
      return PromptBuilder::from_vocabulary(options.vocabulary, options.vocabulary_file,
                                            options.seed);
    case PromptSource::kCharacters: return by_characters(io, target, options.seed);
    case PromptSource::kTokenIds:
      return PromptBuilder::from_token_ids({0, options.token_ids - 1}, options.seed);
    case PromptSource::kAuto: break;
  }
  auto builder = by_server(io, target, options.seed);
  if (builder || builder.error().code == ErrorCode::kCancelled) return builder;
  return by_characters(io, target, options.seed);
}

// What the chat template adds; it also shows that the target answers at all.
Result<void> measure_overhead(boost::asio::io_context& io, const Target& target,
                              PromptBuilder& builder) {
  builder.set_overhead(target.chat ? 0 : builder.overhead());
  WorkloadRequest probe;
  const std::vector<Piece> pieces = {{0, kProbeTokens}};
  builder.build(pieces, probe);
  const int built = probe.prompt_tokens;
  const auto tokens = reported_tokens(io, target, {std::move(probe)});
  if (!tokens) return std::unexpected(tokens.error());
  if (target.chat && tokens->front() > 0) {
    builder.set_overhead(measured_overhead(tokens->front(), built));
  }
  return {};
}

}  // namespace

Result<PromptBuilder> prepare(boost::asio::io_context& io, Target& target,
                              const PromptOptions& options) {
  if (target.model.empty()) {
    auto model = first_model(io, target);
    if (!model) return std::unexpected(std::move(model.error()));
    target.model = *std::move(model);
  }
  auto builder = builder_of(io, target, options);
  if (!builder) return builder;
  if (auto measured = measure_overhead(io, target, *builder); !measured) {
    return std::unexpected(std::move(measured.error()));
  }
  return builder;
}

}  // namespace baton::orchestrator::bench
