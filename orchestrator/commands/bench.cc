#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "core/log.h"
#include "orchestrator/bench/generator/reference_server.h"
#include "orchestrator/bench/report/html_report.h"
#include "orchestrator/bench/report/live_view.h"
#include "orchestrator/bench/results/compare.h"
#include "orchestrator/bench/results/sweep.h"
#include "orchestrator/bench/session.h"
#include "orchestrator/commands/bench_options.h"
#include "orchestrator/commands/bench_self_check.h"
#include "orchestrator/commands/commands.h"

namespace baton::orchestrator {
namespace {

constexpr int kTargetMissed = 3;

// Every connection is a file; the soft limit is often below what is allowed.
void allow_many_connections() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = limit.rlim_max;
  (void)::setrlimit(RLIMIT_NOFILE, &limit);
}

// Waits for Ctrl-C on a thread of its own. The first one ends the run that goes on, whose results
// are kept; before the first run there is nothing to keep, and the second one does not wait.
class Interrupts {
 public:
  explicit Interrupts(bench::Session& session) : session_(session) {
    wait();
    thread_ = std::thread([this] { io_.run(); });
  }
  ~Interrupts() {
    io_.stop();
    thread_.join();
  }
  Interrupts(const Interrupts&) = delete;
  Interrupts& operator=(const Interrupts&) = delete;
  void run_began() { running_ = true; }

 private:
  void wait() {
    signals_.async_wait([this](const boost::system::error_code& error, int) {
      if (error) return;
      if (!running_ || session_.stopped()) {
        std::fprintf(stderr, "\nbaton bench: stopped\n");
        std::_Exit(kFailed);
      }
      session_.stop();
      wait();
    });
  }

  bench::Session& session_;
  std::atomic<bool> running_ = false;
  boost::asio::io_context io_{1};
  boost::asio::signal_set signals_{io_, SIGINT, SIGTERM};
  std::thread thread_;
};

// The live view of each run, on stderr.
class Watch {
 public:
  explicit Watch(bool quiet) : quiet_(quiet) {}
  void begin(const std::string& what, const bench::RunPlan& plan) {
    if (quiet_) return;
    if (!what.empty()) std::fprintf(stderr, "%s\n", what.c_str());
    bench::LiveLook look;
    const bool terminal = bench::is_live_terminal(stderr);
    look.color = terminal && bench::color_allowed();
    if (!plan.schedule.empty()) look.planned = plan.schedule.back();
    if (plan.stop_sending_after) look.planned = plan.stop_sending_after;
    view_.emplace(stderr, terminal, bench::terminal_columns(stderr), look);
  }
  void update(const bench::RunProgress& progress) {
    if (view_) view_->update(progress);
  }
  void end() {
    if (view_) view_->finish();
    view_.reset();
  }

 private:
  bool quiet_;
  std::optional<bench::LiveView> view_;
};

std::string rendered(const bench::Json& result, bool color) {
  const std::string kind = result.value("kind", std::string());
  if (kind == "sweep") return bench::render_sweep(result, color);
  if (kind == "compare") return bench::render_compare(result, color);
  return bench::render_table(result, color);
}

int write_results(const BenchOptions& options, const bench::Session& session,
                  const bench::Json& result) {
  const bool color = ::isatty(STDOUT_FILENO) == 1 && bench::color_allowed();
  if (options.json != "-" && options.csv != "-" && options.html != "-") {
    std::fputs(rendered(result, color).c_str(), stdout);
  }
  bool written = true;
  if (!options.json.empty()) written &= write_result("bench", options.json, result.dump(1) + "\n");
  if (!options.csv.empty())
    written &= write_result("bench", options.csv, records_csv(session.records()));
  if (!options.html.empty())
    written &= write_result("bench", options.html, bench::html_report(result));
  return written ? 0 : kFailed;
}

// What came of it all, for the exit status; says in a line what went wrong.
int verdict(const BenchOptions& options, const bench::Session& session, const bench::Json& result) {
  std::size_t completed = 0;
  std::string reason;
  for (const bench::RequestRecord& record : session.records()) {
    completed += record.completed() ? 1 : 0;
    if (reason.empty() && !record.completed()) reason = record.reason;
  }
  if (session.stopped()) {
    return complain("bench", "stopped; what was measured is marked partial", kFailed);
  }
  if (completed == 0) {
    return complain("bench",
                    "not one of " + std::to_string(session.records().size()) +
                        " requests was completed" + (reason.empty() ? "" : ": " + reason),
                    kFailed);
  }
  if (result.contains("completed") && result.at("completed") == 0) {
    return complain("bench", "nothing was completed after the warm-up", kFailed);
  }
  if (!options.require_good) return 0;
  const double share = session.good_share();
  if (share >= *options.require_good) return 0;
  std::fprintf(stderr, "baton bench: %.1f %% of the requests were good; %.1f %% were asked for\n",
               share * 100, *options.require_good * 100);
  return kTargetMissed;
}

// As it was typed, but for the values of --header, which may be keys.
std::string command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::string command;
  bool secret = false;
  for (std::string word; std::getline(file, word, '\0');) {
    if (command.empty()) word = "baton";
    if (word.starts_with("--header=")) word = "--header=...";
    command += (command.empty() ? "" : " ") + (secret ? "..." : word);
    secret = word == "--header";
  }
  return command;
}

bool sends_the_same_again(const bench::SessionOptions& options) {
  const bench::WorkloadKind kind = options.workload.kind;
  const bool fixed = kind == bench::WorkloadKind::kCustom || kind == bench::WorkloadKind::kShareGpt;
  return fixed && (options.load.repeats > 1 || options.kind == bench::SessionKind::kSweep);
}

int run_session(const BenchOptions& options) {
  auto session_options = session_options_of(options);
  if (!session_options) return complain("bench", session_options.error().message);
  session_options->summary.command = command_line();
  if (sends_the_same_again(*session_options)) {
    std::fputs(
        "note: the prompts of this file are the same in every run, so that a prefix cache knows "
        "them from the second on\n",
        stderr);
  }
  Watch watch(options.quiet);
  Interrupts* interrupts = nullptr;
  bench::Session session(
      std::move(*session_options),
      {.begins =
           [&](const std::string& what, const bench::RunPlan& plan) {
             interrupts->run_began();
             watch.begin(what, plan);
           },
       .progress = [&](const bench::RunProgress& progress) { watch.update(progress); },
       .ends = [&] { watch.end(); }});
  Interrupts stop_by_signal(session);
  interrupts = &stop_by_signal;
  const auto result = session.run();
  if (!result) {
    if (!options.csv.empty() && !session.records().empty()) {
      (void)write_result("bench", options.csv, records_csv(session.records()));
    }
    return complain("bench", result.error());
  }
  if (const int failed = write_results(options, session, *result); failed != 0) return failed;
  return verdict(options, session, *result);
}

int serve_reference(const BenchOptions& options) {
  bench::ReferenceOptions reference;
  reference.port = options.reference_port;
  reference.timing.ttft = from_ms(options.reference_ttft_ms);
  reference.timing.gap = from_ms(options.reference_itl_ms);
  reference.fault = options.reference_fault;
  reference.fault_every = options.reference_fault_every;
  reference.keep_truth = false;
  allow_many_connections();
  const auto served = bench::run_reference_server(reference, [](std::uint16_t port) {
    std::printf("ready %u\n", unsigned{port});
    std::fflush(stdout);
  });
  return served ? 0 : complain("bench", served.error().message);
}

int run_bench(const BenchOptions& options) {
  init_log({.level = LogLevel::kError, .format = LogFormat::kText, .prefix = {}});
  if (options.self_check) return run_self_check(options.json, options.quick);
  if (options.reference_server) return serve_reference(options);
  return run_session(options);
}

}  // namespace

void add_bench_command(CLI::App& app, int& exit_code) {
  const auto options = std::make_shared<BenchOptions>();
  CLI::App* command =
      app.add_subcommand("bench", "Measure an OpenAI endpoint under load: TTFT, TPOT, goodput");
  add_bench_options(*command, *options);
  command->callback([options, &exit_code] { exit_code = run_bench(*options); });
}

}  // namespace baton::orchestrator
