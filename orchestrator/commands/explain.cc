#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "core/json_fields.h"
#include "orchestrator/admin/plan_answer.h"
#include "orchestrator/commands/commands.h"
#include "orchestrator/explain/ask_router.h"
#include "orchestrator/explain/plan_table.h"
#include "orchestrator/explain/saved_router.h"
#include "orchestrator/http/slo_fields.h"

namespace baton::orchestrator {
namespace {

struct ExplainOptions {
  std::string file;
  std::optional<std::string> prompt;
  std::int64_t tokens = 0;
  std::string model;
  double slo_ttft_ms = 0;  // 0: as the pool has it
  double slo_tpot_ms = 0;
  std::string admin = "http://127.0.0.1:9090";
  std::string snapshot;
  std::string save;
  bool json = false;

  [[nodiscard]] bool has_request() const { return !file.empty() || prompt || tokens > 0; }
};

struct Stop {
  int exit_code = kFailed;
  std::string message;
};
template <class T>
using Step = std::expected<T, Stop>;

std::unexpected<Stop> stop(int exit_code, std::string message) {
  return std::unexpected(Stop{exit_code, std::move(message)});
}

Step<std::string> read_file(const std::string& path) {
  if (path == "-") return std::string(std::istreambuf_iterator<char>(std::cin), {});
  std::ifstream file(path, std::ios::binary);
  std::string text(std::istreambuf_iterator<char>(file), {});
  if (!file.is_open() || file.bad()) return stop(kBadInput, "cannot read " + path);
  return text;
}

// The message of an error in OpenAI's shape.
std::string message_of(const RouterAnswer& answer) {
  const auto json = nlohmann::json::parse(answer.body, nullptr, false);
  if (json.is_object() && json.contains("error") && json["error"].is_object() &&
      json["error"].contains("message") && json["error"]["message"].is_string()) {
    return json["error"]["message"].get<std::string>();
  }
  return fmt::format("the router answered with status {}", answer.status);
}

Step<std::string> good_body(RouterAnswer answer) {
  if (answer.status == 200) return std::move(answer.body);
  return stop(answer.status / 100 == 4 ? kBadInput : kFailed, message_of(answer));
}

// Whoever is asked: a running router, or one that was saved.
class Router {
 public:
  static Step<Router> of(const ExplainOptions& options) {
    Router router;
    for (const auto& [field, ms] :
         {std::pair(kSloTtftField, options.slo_ttft_ms), {kSloTpotField, options.slo_tpot_ms}}) {
      if (ms > 0) router.slo_.emplace_back(field, fmt::format("{}", ms));
    }
    if (options.snapshot.empty()) {
      router.admin_ = parse_pod_url(options.admin);
      if (!router.admin_) return stop(kBadInput, "--admin must be http://HOST:PORT");
      return router;
    }
    auto text = read_file(options.snapshot);
    if (!text) return std::unexpected(std::move(text.error()));
    auto saved = SavedRouter::read(*text);
    if (!saved) return stop(kBadInput, options.snapshot + ": " + saved.error().message);
    router.saved_ = std::move(*saved);
    return router;
  }

  [[nodiscard]] Step<std::string> get(std::string target) const {
    return ask("GET", std::move(target), {}, {});
  }
  [[nodiscard]] Step<std::string> plan(std::string body) const {
    if (saved_ == nullptr) return ask("POST", "/plan", std::move(body), slo_);
    return planned(plan_for_body(saved_->context(), std::move(body), slo_));
  }
  [[nodiscard]] Step<std::string> plan(const std::string& model, std::int64_t tokens) const {
    if (saved_ != nullptr) {
      return planned(plan_for_size(saved_->context(), model, Tokens(tokens), slo_));
    }
    std::string name;
    for (const char c : model) name += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    return ask("GET", fmt::format("/plan?model={}&tokens={}", name, tokens), {}, slo_);
  }
  // The model of the first pool.
  [[nodiscard]] Step<std::string> first_model() const {
    if (saved_ != nullptr) return saved_->context().config().pools.front().model;
    const auto config = get("/config");
    if (!config) return config;
    const auto json = nlohmann::json::parse(*config, nullptr, false);
    if (!json.is_object()) return stop(kFailed, "the answer to GET /config is no configuration");
    return json.value("/pools/0/model"_json_pointer, std::string());
  }

 private:
  [[nodiscard]] Step<std::string> ask(std::string method, std::string target, std::string body,
                                      adapters::http::Fields fields) const {
    auto answer = ask_router(*admin_, std::move(method), std::move(target), std::move(body),
                             std::move(fields));
    if (!answer) return stop(kFailed, answer.error().message);
    return good_body(std::move(*answer));
  }
  static Step<std::string> planned(AdminResponse response) {
    return good_body({response.status, std::move(response.body)});
  }

  std::optional<PodUrl> admin_;
  std::unique_ptr<SavedRouter> saved_;
  adapters::http::Fields slo_;  // of the request
};

Step<void> save(const Router& router, const std::string& path) {
  const auto config = router.get("/config");
  if (!config) return std::unexpected(config.error());
  const auto pods = router.get("/pods");
  if (!pods) return std::unexpected(pods.error());
  std::ofstream file(path, std::ios::binary);
  file << saved_router_json(*config, *pods);
  file.close();
  if (!file) return stop(kFailed, "cannot write " + path);
  return {};
}

Step<std::string> ask_for_plan(const Router& router, const ExplainOptions& options) {
  if (!options.file.empty()) {
    auto body = read_file(options.file);
    if (!body) return body;
    return router.plan(std::move(*body));
  }
  std::string model = options.model;
  if (model.empty()) {
    auto first = router.first_model();
    if (!first) return first;
    model = std::move(*first);
  }
  if (!options.prompt) return router.plan(model, options.tokens);
  return router.plan(R"({"model":)" + json_quote(model) + R"(,"prompt":)" +
                     json_quote(*options.prompt) + "}");
}

Step<void> explain(const ExplainOptions& options) {
  const auto router = Router::of(options);
  if (!router) return std::unexpected(router.error());
  if (!options.save.empty()) {
    if (auto saved = save(*router, options.save); !saved) return saved;
    if (!options.has_request()) return {};
  }
  auto plan = ask_for_plan(*router, options);
  if (!plan) return std::unexpected(std::move(plan.error()));
  std::string text = std::move(*plan);
  if (!options.json) {
    auto table = plan_table(text);
    if (!table) return stop(kFailed, table.error().message);
    text = std::move(*table);
    if (!options.snapshot.empty()) {
      text += "\nof a saved router, which knows no prefixes that pods hold\n";
    }
  }
  if (std::fputs(text.c_str(), stdout) < 0) return stop(kFailed, "cannot write");
  return {};
}

int run_explain(const ExplainOptions& options) {
  if (!options.has_request() && options.save.empty()) {
    return complain("explain", "give a request's FILE, --prompt or --tokens");
  }
  const auto done = explain(options);
  if (done) return 0;
  return complain("explain", done.error().message, done.error().exit_code);
}

}  // namespace

void add_explain_command(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<ExplainOptions>();
  CLI::App* command = app.add_subcommand(
      "explain", "Say which pods a request would get now, why, and what would change that");
  CLI::Option* file =
      command->add_option("request", options->file, "An OpenAI request as JSON; -: standard input")
          ->type_name("FILE");
  CLI::Option* prompt =
      command->add_option("--prompt", options->prompt, "The prompt of a completion")
          ->type_name("TEXT")
          ->excludes(file);
  command->add_option("--tokens", options->tokens, "A prompt of that length that no pod holds")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 40))
      ->excludes(file)
      ->excludes(prompt);
  command
      ->add_option("--model", options->model,
                   "Of --prompt and --tokens; by default that of the first pool")
      ->type_name("NAME")
      ->excludes(file);
  command
      ->add_option("--slo-ttft-ms", options->slo_ttft_ms,
                   "As a request with the header x-slo-ttft-ms; 0: as the pool has it")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--slo-tpot-ms", options->slo_tpot_ms,
                   "As a request with the header x-slo-tpot-ms; 0: as the pool has it")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--admin", options->admin, "Admin port of a running router")
      ->envname("BATON_ADMIN")
      ->type_name("URL")
      ->capture_default_str();
  CLI::Option* snapshot =
      command->add_option("--snapshot", options->snapshot, "Ask a router that --save saved instead")
          ->type_name("FILE");
  command
      ->add_option("--save", options->save,
                   "Save what the router knows of its pods, to be asked later")
      ->type_name("FILE")
      ->excludes(snapshot);
  command->add_flag("--json", options->json, "Print the router's answer as it is");
  command->callback([options, &exit_code] { exit_code = run_explain(*options); });
}

}  // namespace baton::orchestrator
