#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "core/log.h"
#include "orchestrator/build_info.h"
#include "orchestrator/commands/commands.h"
#include "orchestrator/config/config.h"
#include "orchestrator/serve/process.h"
#include "orchestrator/serve/router.h"

namespace baton::orchestrator {
namespace {

struct ServeOptions {
  std::string config;
  std::optional<std::string> listen;
  std::optional<std::string> admin_listen;
  std::optional<int> threads;
  std::optional<std::string> log_level;
  std::optional<std::string> log_format;
  std::optional<bool> expose_plan;
};

std::optional<std::string> apply(const ServeOptions& options, Config& config) {
  if (options.listen) {
    const auto endpoint = parse_endpoint(*options.listen);
    if (!endpoint) return "--listen must be HOST:PORT, not " + *options.listen;
    config.listen = *endpoint;
  }
  if (options.admin_listen) {
    const auto endpoint = parse_endpoint(*options.admin_listen);
    if (!endpoint) return "--admin-listen must be HOST:PORT, not " + *options.admin_listen;
    config.admin = *endpoint;
  }
  if (options.threads) config.threads = *options.threads;
  if (options.log_level) config.log_level = *options.log_level;
  if (options.log_format) config.log_format = *options.log_format;
  if (options.expose_plan) config.expose_plan = *options.expose_plan;
  return std::nullopt;
}

// `baton serve` from its start to its end, on the control thread.
class Serving {
 public:
  explicit Serving(ServeOptions options) : options_(std::move(options)) {}

  int run() {
    auto config = load_config(options_.config);
    if (!config) {
      for (const ConfigIssue& issue : config.error()) {
        std::fprintf(stderr, "%s\n", format_issue(options_.config, issue).c_str());
      }
      return 2;
    }
    if (const auto wrong = apply(options_, *config)) {
      return complain("serve", *wrong);
    }
    init_log(log_options(*config));
    raise_file_limit();
    auto router = Router::start(control_, std::make_shared<const Config>(std::move(*config)));
    if (!router) {
      return complain("serve", router.error().message);
    }
    router_ = std::move(*router);
    router_->on_drained([this] { control_.stop(); });
    log(LogLevel::kInfo, "serving",
        {{"listen", to_string(router_->data_endpoint())},
         {"admin", to_string(router_->admin_endpoint())},
         {"version", build_info().version}});
    wait_for_stop_signal();
    wait_for_reload_signal();
    control_.run();
    router_.reset();
    ignore_more_stop_signals();
    return 0;
  }

 private:
  // The router is drained and its threads are gone: a signal that comes while the process ends must
  // not make a failure of it. Blocked rather than ignored, as the signal set resets its handlers.
  static void ignore_more_stop_signals() {
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    (void)::pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  }

  void wait_for_stop_signal() {
    stop_signals_.async_wait([this](boost::system::error_code cancelled, int) {
      if (cancelled) return;
      router_->drain();  // the second signal hurries
      wait_for_stop_signal();
    });
  }

  void wait_for_reload_signal() {
    reload_signal_.async_wait([this](boost::system::error_code cancelled, int) {
      if (cancelled) return;
      reload();
      wait_for_reload_signal();
    });
  }

  void reload() {
    auto config = load_config(options_.config);
    if (!config) {
      for (const ConfigIssue& issue : config.error()) {
        log(LogLevel::kError, "configuration refused",
            {{"issue", format_issue(options_.config, issue)}});
      }
      router_->count_refused_reload();
      return;
    }
    (void)apply(options_, *config);  // was good at the start
    router_->reload(std::make_shared<const Config>(std::move(*config)));
    log(LogLevel::kInfo, "configuration read again", {{"file", options_.config}});
  }

  ServeOptions options_;
  boost::asio::io_context control_{1};
  boost::asio::signal_set stop_signals_{control_, SIGTERM, SIGINT};
  boost::asio::signal_set reload_signal_{control_, SIGHUP};
  std::unique_ptr<Router> router_;
};

}  // namespace

void add_serve_command(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<ServeOptions>();
  CLI::App* command = app.add_subcommand("serve", "Serve the OpenAI API before pools of pods");
  command->add_option("--config", options->config, "Configuration file (docs/configuration.md)")
      ->envname("BATON_CONFIG")
      ->type_name("FILE")
      ->required();
  command->add_option("--listen", options->listen, "Data port, instead of the file's `listen`")
      ->envname("BATON_LISTEN")
      ->type_name("HOST:PORT");
  command
      ->add_option("--admin-listen", options->admin_listen,
                   "Admin port, instead of the file's `admin.listen`")
      ->envname("BATON_ADMIN_LISTEN")
      ->type_name("HOST:PORT");
  command->add_option("--threads", options->threads, "Instead of the file's `threads`")
      ->envname("BATON_THREADS")
      ->check(CLI::Range(0, 1024));
  command->add_option("--log-level", options->log_level, "Instead of the file's `log.level`")
      ->envname("BATON_LOG_LEVEL")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}));
  command->add_option("--log-format", options->log_format, "Instead of the file's `log.format`")
      ->envname("BATON_LOG_FORMAT")
      ->check(CLI::IsMember({"text", "json"}));
  command->add_option("--expose-plan", options->expose_plan, "Instead of the file's `expose_plan`")
      ->envname("BATON_EXPOSE_PLAN")
      ->type_name("true|false");
  command->callback([options, &exit_code] { exit_code = Serving(*options).run(); });
}

}  // namespace baton::orchestrator
