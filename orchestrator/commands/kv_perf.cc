#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/log.h"
#include "kv_transfer/address.h"
#include "kv_transfer/transport_names.h"
#include "orchestrator/bad_input.h"
#include "orchestrator/bench/report/live_view.h"
#include "orchestrator/commands/commands.h"
#include "orchestrator/kv_perf/measure.h"
#include "orchestrator/kv_perf/report.h"
#include "orchestrator/kv_perf/server.h"
#include "orchestrator/up/pod_process.h"

namespace baton::orchestrator {
namespace {

namespace asio = boost::asio;

constexpr auto kStartLimit = std::chrono::seconds(20);

const std::vector<std::string> kDefaultShapes = {"1x8", "64x16384", "1024x65536"};

struct KvPerfFlags {
  std::string server;
  bool serve = false;
  std::string listen = "127.0.0.1:0";
  std::vector<std::string> shapes;
  std::int64_t tokens = 0;
  std::int64_t bytes_per_token = 131072;  // Llama-3.1-8B: 32 layers, K and V, 8 heads of 128 bf16
  std::int64_t run_bytes = 32768;         // of it: 16 tokens of one layer's K or V
  std::vector<std::string> transports;
  int repetitions = 5;
  std::string json;
  std::string plot;
  bool quiet = false;
};

Result<kv::BlockShape> handoff_shape(const KvPerfFlags& flags) {
  const std::int64_t runs =
      (flags.tokens * flags.bytes_per_token + flags.run_bytes - 1) / flags.run_bytes;
  if (runs <= kv::BlockShape::kMostBlocks) {
    return kv::BlockShape{static_cast<int>(runs), static_cast<std::uint32_t>(flags.run_bytes)};
  }
  return bad(
      fmt::format("--tokens {}: a hand-off of {} runs, and one lease has at most {}: give a "
                  "larger --run-bytes",
                  flags.tokens, runs, kv::BlockShape::kMostBlocks));
}

Result<std::vector<kv::BlockShape>> shapes_of(const KvPerfFlags& flags) {
  std::vector<kv::BlockShape> shapes;
  const bool neither = flags.shapes.empty() && flags.tokens == 0;
  for (const std::string& text : neither ? kDefaultShapes : flags.shapes) {
    const auto shape = kv::BlockShape::parse(text);
    if (!shape) {
      return bad(
          fmt::format("--shape {}: must be BLOCKSxBYTES, as 1024x65536: 1 to {} blocks of 1 "
                      "to {} bytes",
                      text, kv::BlockShape::kMostBlocks, kv::BlockShape::kMostBytes));
    }
    shapes.push_back(*shape);
  }
  if (flags.tokens > 0) {
    const auto shape = handoff_shape(flags);
    if (!shape) return std::unexpected(shape.error());
    shapes.push_back(*shape);
  }
  const std::uint64_t most = kv_perf::memory_limit() / (flags.server.empty() ? 2 : 1);
  for (const kv::BlockShape& shape : shapes) {
    if (static_cast<std::uint64_t>(shape.total().count()) > most) {
      return bad(fmt::format("{}: takes {} bytes on each side, and {} is the most on this host",
                             shape.str(), shape.total().count(), most));
    }
  }
  return shapes;
}

// `baton kv-perf --serve` in a process of its own, for a measurement on this host.
class OwnServer {
 public:
  Result<std::string> start() {
    auto process = PodProcess::start(io_, {"kv-perf", "--serve"},
                                     [this](std::string_view line) { hear(line); });
    if (!process) return std::unexpected(process.error());
    process_ = std::move(*process);
    const TimePoint until = Clock::now() + kStartLimit;
    while (address_.empty() && Clock::now() < until && io_.run_one_until(until) > 0) {
    }
    if (!address_.empty()) return address_;
    return fail(ErrorCode::kUnavailable, Stage::kConfig,
                "the producer's process did not start: " + words_);
  }
  // What it wrote is read, so that it never waits for that.
  void listen_in() { io_.poll(); }

 private:
  void hear(std::string_view line) {
    constexpr std::string_view kReady = "baton kv-perf ready: ";
    if (line.starts_with(kReady)) {
      address_ = line.substr(kReady.size());
    } else {
      words_ += line;
    }
  }

  asio::io_context io_{1};
  std::shared_ptr<PodProcess> process_;
  std::string address_;
  std::string words_;
};

// One line on a terminal that says what is measured now.
class ProgressLine {
 public:
  explicit ProgressLine(bool wanted)
      : shown_(wanted && bench::is_live_terminal(stderr)),
        columns_(bench::terminal_columns(stderr)) {}
  ~ProgressLine() {
    if (shown_) std::fputs("\r\x1b[K", stderr);
  }
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;
  void update(const kv_perf::Row& row, std::size_t number, std::size_t rows, int fetch,
              int fetches) const {
    if (!shown_) return;
    const std::string line =
        fmt::format("{} of {}: {} by {}, fetch {} of {}", number, rows,
                    kv_perf::shape_words(row.shape), row.transport, fetch, fetches);
    std::fprintf(stderr, "\r%.*s\x1b[K", columns_ - 1, line.c_str());
    std::fflush(stderr);
  }

 private:
  bool shown_;
  int columns_;
};

// A transport that the two sides cannot use together is no failure unless it was asked for.
int verdict(const std::vector<kv_perf::Row>& rows, bool demanded) {
  const auto failed = [demanded](const kv_perf::Row& row) {
    return row.error && (demanded || row.error->code != ErrorCode::kUnsupported);
  };
  const auto first = std::ranges::find_if(rows, failed);
  if (first != rows.end()) {
    return complain("kv-perf",
                    fmt::format("{} by {}: {}", kv_perf::shape_words(first->shape),
                                first->transport, first->error->message),
                    kFailed);
  }
  if (std::ranges::all_of(rows, [](const kv_perf::Row& row) { return row.error.has_value(); })) {
    return complain("kv-perf", "no transport can be used between the two sides", kFailed);
  }
  return 0;
}

int run_measurement(const KvPerfFlags& flags) {
  kv_perf::Plan plan;
  auto shapes = shapes_of(flags);
  if (!shapes) return complain("kv-perf", shapes.error());
  plan.shapes = std::move(*shapes);
  plan.transports = flags.transports;
  if (plan.transports.empty()) {
    plan.transports.assign(kv::kDefaultTransports.begin(), kv::kDefaultTransports.end());
  }
  plan.repetitions = flags.repetitions;
  plan.server = flags.server;
  const bool local = flags.server.empty();
  OwnServer own;
  if (local) {
    auto address = own.start();
    if (!address) return complain("kv-perf", address.error());
    plan.server = std::move(*address);
  }
  std::optional<ProgressLine> line(!flags.quiet);
  const auto rows = kv_perf::measure(plan, [&](const auto&... what) {
    own.listen_in();
    line->update(what...);
  });
  line.reset();
  if (!rows) return complain("kv-perf", rows.error());
  if (flags.json != "-" && flags.plot != "-") std::fputs(kv_perf::table(*rows).c_str(), stdout);
  bool written = true;
  if (!flags.json.empty())
    written &= write_result("kv-perf", flags.json, kv_perf::json(*rows, plan.server, local));
  if (!flags.plot.empty()) {
    const std::string where =
        local ? "two processes of this host" : "this host and " + flags.server;
    written &= write_result("kv-perf", flags.plot,
                            kv_perf::picture(*rows, "KV hand-offs between " + where));
  }
  return written ? verdict(*rows, !flags.transports.empty()) : kFailed;
}

int run_server(const KvPerfFlags& flags) {
  asio::io_context io(1);
  asio::signal_set signals(io, SIGTERM, SIGINT);
  signals.async_wait([&io](boost::system::error_code, int) { io.stop(); });
  const auto server = kv_perf::Server::start(io, flags.listen);
  if (!server) return complain("kv-perf", server.error());
  std::printf("baton kv-perf ready: %s\n", (*server)->address().c_str());
  if (std::fflush(stdout) != 0) return kFailed;
  io.run();
  return 0;
}

int run_kv_perf(const KvPerfFlags& flags) {
  init_log({.level = LogLevel::kError, .format = LogFormat::kText, .prefix = {}});
  return flags.serve ? run_server(flags) : run_measurement(flags);
}

void add_shape_options(CLI::App& command, KvPerfFlags& flags) {
  command
      .add_option("--shape", flags.shapes,
                  "What a hand-off moves: BLOCKSxBYTES, as 1024x65536; repeatable. Default: 1x8, "
                  "64x16384 and 1024x65536")
      ->type_name("BLOCKSxBYTES")
      ->allow_extra_args(false);
  CLI::Option* tokens =
      command
          .add_option(
              "--tokens", flags.tokens,
              "And a model's hand-off of so many tokens, as 8192; the next two say of which")
          ->check(CLI::Range(1, 1 << 24));
  command.add_option("--bytes-per-token", flags.bytes_per_token, "KV of a token: Llama-3.1-8B")
      ->check(CLI::Range(1, 1 << 28))
      ->capture_default_str()
      ->needs(tokens);
  command
      .add_option("--run-bytes", flags.run_bytes,
                  "What lies in one piece: 16 tokens of one layer's keys or values")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{kv::BlockShape::kMostBytes}))
      ->capture_default_str()
      ->needs(tokens);
}

}  // namespace

void add_kv_perf_command(CLI::App& app, int& exit_code) {
  const auto flags = std::make_shared<KvPerfFlags>();
  CLI::App* command = app.add_subcommand(
      "kv-perf", "Measure KV hand-offs between two processes, or two hosts, over each transport");
  CLI::Option* server =
      command
          ->add_option("server", flags->server,
                       "HOST:PORT of a `baton kv-perf --serve`; default: a process of this host")
          ->type_name("HOST:PORT");
  add_shape_options(*command, *flags);
  command
      ->add_option("--transport", flags->transports,
                   "shm, cma, tcp, ucx or nccl; repeatable. Default: those of shm, tcp and ucx "
                   "that the two sides "
                   "can use")
      ->check(CLI::IsMember(
          std::vector<std::string>(kv::kTransportNames.begin(), kv::kTransportNames.end())))
      ->allow_extra_args(false);
  command
      ->add_option("--repetitions", flags->repetitions,
                   "Hand-offs of each shape and transport, after one that is told apart")
      ->check(CLI::Range(1, 10000))
      ->capture_default_str();
  command->add_option("--json", flags->json, "Write the results; -: to standard output")
      ->type_name("FILE");
  command->add_option("--plot", flags->plot, "Draw the rates, as an SVG")->type_name("FILE");
  command->add_flag("--quiet", flags->quiet, "No line of progress");
  CLI::Option* serve = command->add_flag("--serve", flags->serve, "Be the other side, until Ctrl-C")
                           ->excludes(server);
  command->add_option("--listen", flags->listen, "HOST:PORT of --serve; port 0: any")
      ->envname("BATON_KV_PERF_LISTEN")
      ->capture_default_str();
  for (const char* name :
       {"--shape", "--tokens", "--transport", "--repetitions", "--json", "--plot"}) {
    serve->excludes(command->get_option(name));
  }
  command->callback([flags, &exit_code] { exit_code = run_kv_perf(*flags); });
}

}  // namespace baton::orchestrator
