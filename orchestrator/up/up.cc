#include "orchestrator/up/up.h"

#include <unistd.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <utility>

#include "core/log.h"
#include "orchestrator/serve/process.h"
#include "orchestrator/serve/router.h"
#include "orchestrator/up/demo.h"
#include "orchestrator/up/model_files.h"
#include "orchestrator/up/supervisor.h"

namespace baton::orchestrator {
namespace {

constexpr const char* kHost = "127.0.0.1";
constexpr const char* kSingle = "single";

// One run of `baton up`, on the main thread.
class Up {
 public:
  explicit Up(const UpOptions& options) : options_(options) {}

  int run() {
    ::setenv("GGML_NO_BACKTRACE", "1", 0);  // a failed assertion would start a debugger on a pod
    ::signal(SIGPIPE, SIG_IGN);
    auto files = find_model_files(options_.model, options_.loras);
    if (!files) return refuse(files.error().message);
    files_ = std::move(*files);
    for (const std::uint16_t port : {options_.port, options_.admin_port}) {
      const auto free = http::Server::check_port_free(kHost, port);
      if (!free) return refuse(free.error().message);
    }
    if (auto started = supervisor_.start(pod_plans()); !started) {
      return refuse(started.error().message);
    }
    init_log({.level = log_level(), .format = LogFormat::kText, .prefix = "[router] "});
    wait_for_stop_signal();
    io_.run();
    router_.reset();
    return exit_code_;
  }

 private:
  static int refuse(const std::string& message) {
    std::fprintf(stderr, "baton up: %s\n", message.c_str());
    return 2;
  }

  // A demo is to be read; its log is shown where something is wrong.
  [[nodiscard]] LogLevel log_level() const {
    if (options_.demo) return options_.verbose ? LogLevel::kInfo : LogLevel::kWarn;
    return options_.verbose ? LogLevel::kDebug : LogLevel::kInfo;
  }
  [[nodiscard]] const char* pod_log_level() const {
    switch (log_level()) {
      case LogLevel::kDebug: return "debug";
      case LogLevel::kInfo: return "info";
      default: return "warn";
    }
  }

  [[nodiscard]] std::vector<PodPlan> pod_plans() const {
    std::vector<std::string> arguments = {"--model",          files_.path,    "--served-model-name",
                                          files_.served_name, "--transport",  options_.transport,
                                          "--log-level",      pod_log_level()};
    for (const LoraConfig& lora : files_.loras) {
      arguments.insert(arguments.end(), {"--lora", lora.name + "=" + lora.path});
    }
    std::vector<PodPlan> plans;
    for (int i = 0; i < options_.prefill; ++i) {
      plans.push_back({"prefill-" + std::to_string(i), Role::kPrefill, arguments});
    }
    for (int i = 0; i < options_.decode; ++i) {
      plans.push_back({"decode-" + std::to_string(i), Role::kDecode, arguments});
    }
    if (options_.demo) plans.push_back({kSingle, Role::kBoth, arguments});
    return plans;
  }

  [[nodiscard]] std::shared_ptr<const Config> make_config() const {
    auto config = std::make_shared<Config>();
    config->listen = {kHost, options_.port};
    config->admin = {kHost, options_.admin_port};
    config->expose_plan = true;
    config->drain_timeout = std::chrono::seconds(5);
    PoolConfig pool;
    pool.name = "up";
    pool.model = files_.served_name;
    pool.split = Split::kAlways;
    pool.loras = files_.loras;
    pool.health.interval = std::chrono::milliseconds(500);
    for (const PodPlan& plan : pod_plans()) {
      if (plan.name == kSingle) continue;
      Pod pod;
      pod.name = plan.name;
      pod.role = plan.role;
      pod.host = kHost;
      pod.port = supervisor_.port_of(plan.name);
      pod.url = "http://" + to_string(Endpoint{pod.host, pod.port});
      (pod.role == Role::kPrefill ? pool.prefill : pool.decode).push_back(std::move(pod));
    }
    config->pools.push_back(std::move(pool));
    return config;
  }

  void start_router() {
    raise_file_limit();
    auto router = Router::start(io_, make_config());
    if (!router) {
      stop(refuse(router.error().message));
      return;
    }
    router_ = std::move(*router);
    router_->on_drained([this] { supervisor_.stop(); });
    router_->registry().subscribe([this](const std::shared_ptr<const Snapshot>&) {
      if (announced_ || !router_->registry().ready()) return;
      announced_ = true;
      boost::asio::post(io_, [this] { on_ready(); });
    });
  }

  void on_ready() {
    const std::string address = to_string(router_->data_endpoint());
    if (!options_.demo) {
      std::printf("\nReady: http://%s/v1   model %s", address.c_str(), files_.served_name.c_str());
      for (const LoraConfig& lora : files_.loras) std::printf(", adapter %s", lora.name.c_str());
      std::printf("\n\n%s", how_to_talk(address, files_.served_name).c_str());
      std::printf("Admin port: http://%s   Ctrl-C stops everything.\n\n",
                  to_string(router_->admin_endpoint()).c_str());
      std::fflush(stdout);
      return;
    }
    DemoPlan plan;
    plan.router = router_->data_endpoint();
    plan.single = {kHost, supervisor_.port_of(kSingle)};
    plan.model = files_.served_name;
    plan.lora = files_.loras.empty() ? "" : files_.loras.front().name;
    plan.prefill_pods = options_.prefill;
    plan.decode_pods = options_.decode;
    plan.user_model = options_.model;
    boost::asio::co_spawn(
        io_, run_demo(io_, std::move(plan)),
        [this](const std::exception_ptr& failure, bool good) { stop(failure || !good ? 1 : 0); });
  }

  void wait_for_stop_signal() {
    stop_signals_.async_wait([this](boost::system::error_code cancelled, int) {
      if (cancelled) return;
      wait_for_stop_signal();
      stop(0);
    });
  }

  // The router first, so that its streams end; then the pods. Asked again: at once.
  void stop(int exit_code) {
    if (exit_code != 0) exit_code_ = exit_code;
    if (router_) {
      router_->drain();
      if (stopping_) supervisor_.stop();
    } else {
      supervisor_.stop();
    }
    stopping_ = true;
  }

  UpOptions options_;
  ModelFiles files_;
  boost::asio::io_context io_{1};
  boost::asio::signal_set stop_signals_{io_, SIGTERM, SIGINT};
  Supervisor supervisor_{
      io_,
      {.all_ready = [this] { boost::asio::post(io_, [this] { start_router(); }); },
       .refused = [this](const std::string& words) { stop(refuse(words)); },
       .all_stopped = [this] { io_.stop(); }}};
  std::unique_ptr<Router> router_;
  int exit_code_ = 0;
  bool announced_ = false;
  bool stopping_ = false;
};

}  // namespace

int run_up(const UpOptions& options) { return Up(options).run(); }

}  // namespace baton::orchestrator
