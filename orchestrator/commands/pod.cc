#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "adapters/engines/llama_cpp/pod.h"
#include "core/log.h"
#include "kv_transfer/transport_names.h"
#include "orchestrator/commands/commands.h"

namespace baton::orchestrator {
namespace {

namespace asio = boost::asio;
using adapters::LoraFile;
using adapters::PodOptions;

// What the command line says, before it is checked.
struct PodFlags {
  PodOptions pod;
  std::string listen = "127.0.0.1:0";
  std::string role = "both";
  std::vector<std::string> loras;
  std::int64_t context = 0;
  std::int64_t kv_pool = 0;
  std::int64_t chunk = 256;
  std::int64_t block = 64;
  std::int64_t block_store_mib = 256;
  std::string log_level = "info";
  std::string log_format = "text";
};

// host:port, with an IPv6 host in brackets.
bool read_address(const std::string& text, PodOptions& options) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return false;
  const char* end = text.data() + text.size();
  const auto [at, failure] = std::from_chars(text.data() + colon + 1, end, options.port);
  options.host = text.substr(0, colon);
  return failure == std::errc() && at == end;
}

// Empty: good. Else what is wrong.
std::string read_flags(PodFlags& flags) {
  PodOptions& pod = flags.pod;
  if (!read_address(flags.listen, pod)) {
    return "--listen " + flags.listen + ": must be HOST:PORT, as 127.0.0.1:8000";
  }
  for (const std::string& lora : flags.loras) {
    const std::size_t equals = lora.find('=');
    if (equals == std::string::npos || equals == 0 || equals + 1 == lora.size()) {
      return "--lora " + lora + ": must be NAME=FILE";
    }
    pod.engine.loras.push_back(LoraFile{lora.substr(0, equals), lora.substr(equals + 1)});
  }
  pod.engine.role = *role_from_name(flags.role);
  pod.engine.max_context = Tokens(flags.context);
  pod.engine.kv_pool = Tokens(flags.kv_pool);
  pod.engine.prefill_chunk = Tokens(flags.chunk);
  pod.engine.block = Tokens(flags.block);
  pod.engine.block_store = Bytes(flags.block_store_mib << 20);
  return {};
}

void set_up_log(const PodFlags& flags) {
  LogOptions options;
  options.level = flags.log_level == "debug"   ? LogLevel::kDebug
                  : flags.log_level == "warn"  ? LogLevel::kWarn
                  : flags.log_level == "error" ? LogLevel::kError
                                               : LogLevel::kInfo;
  options.format = flags.log_format == "json" ? LogFormat::kJson : LogFormat::kText;
  init_log(options);
}

// The first signal drains the pod, the second ends it at once.
struct Shutdown {
  asio::io_context& io;
  asio::signal_set signals;
  adapters::Pod* pod = nullptr;
  bool asked = false;

  explicit Shutdown(asio::io_context& loop) : io(loop), signals(loop, SIGTERM, SIGINT) { wait(); }
  void wait() {
    signals.async_wait([this](boost::system::error_code stopped, int) {
      if (!stopped) on_signal();
    });
  }
  void on_signal() {
    if (std::exchange(asked, true) || pod == nullptr) return io.stop();
    log(LogLevel::kInfo, "draining");
    pod->drain([this] { io.stop(); });
    wait();
  }
};

int run_pod(PodFlags& flags) {
  if (const std::string wrong = read_flags(flags); !wrong.empty()) return complain("pod", wrong);
  set_up_log(flags);
  asio::io_context io(1);
  Shutdown shutdown(io);
  auto pod = adapters::Pod::start(io, flags.pod);
  if (!pod) return complain("pod", pod.error().message);
  shutdown.pod = pod->get();
  std::printf("baton pod %s ready: http://%s:%u role %s model %s kv %s\n", (*pod)->name().c_str(),
              flags.pod.host.c_str(), (*pod)->port(), flags.role.c_str(),
              (*pod)->model_names().front().c_str(),
              (*pod)->kv_address().empty() ? "none" : (*pod)->kv_address().c_str());
  if (std::fflush(stdout) != 0) return kFailed;
  io.run();
  return 0;
}

void add_model_options(CLI::App& command, PodFlags& flags) {
  auto& engine = flags.pod.engine;
  command.add_option("--model", engine.model_path, "The GGUF file")
      ->required()
      ->envname("BATON_MODEL");
  command.add_option("--served-model-name", flags.pod.served_model_names,
                     "Names under which clients ask for the model (default: the file's name)");
  command.add_option("--lora", flags.loras, "NAME=FILE of a LoRA adapter in GGUF; repeatable");
  command.add_option("--max-running", engine.max_running, "Requests in one batch")
      ->check(CLI::Range(1, 255))
      ->capture_default_str();
  command
      .add_option("--context", flags.context,
                  "Longest prompt plus answer, in tokens; 0: as the model was trained")
      ->check(CLI::NonNegativeNumber);
  command
      .add_option("--kv-pool", flags.kv_pool,
                  "Tokens of KV for all running requests; 0: four contexts (a prefill pod: two), "
                  "at most about 2 GiB")
      ->check(CLI::NonNegativeNumber);
  command.add_option("--chunk", flags.chunk, "Prompt tokens computed in one step")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--block", flags.block, "Tokens of a KV block")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command
      .add_option("--block-store", flags.block_store_mib,
                  "MiB for finished KV blocks: prefix cache and hand-off")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  command.add_option("--threads", engine.threads, "Threads of one step; 1 where cores are shared")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

void add_network_options(CLI::App& command, PodFlags& flags) {
  command.add_option("--role", flags.role, "Which legs it takes")
      ->check(CLI::IsMember({"prefill", "decode", "both"}))
      ->capture_default_str();
  command.add_option("--listen", flags.listen, "HOST:PORT of the HTTP interface; port 0: any")
      ->envname("BATON_LISTEN")
      ->capture_default_str();
  command.add_option("--name", flags.pod.name, "The pod's name (default: its address)");
  command.add_option("--kv-listen", flags.pod.kv_listen,
                     "HOST:PORT of the hand-off service (default: the host of --listen, any port)");
  command.add_option("--kv-advertise", flags.pod.kv_advertise,
                     "HOST:PORT at which other pods reach it, if not --kv-listen");
  command
      .add_option(
          "--transport", flags.pod.transport,
          "How KV is fetched; shm, cma, tcp, ucx or nccl demand that one. cma lets processes of "
          "this user read all of the pod's memory; nccl wants a GPU and libnccl.so.2")
      ->check(CLI::IsMember(transport_choices()))
      ->capture_default_str();
  command
      .add_option("--kv-connections", flags.pod.kv_connections,
                  "To each pod that KV is fetched from over tcp")
      ->check(CLI::Range(1, 4))
      ->capture_default_str();
  command.add_option("--kv-tls-cert", flags.pod.kv_tls.certificate,
                     "PEM file of this pod's certificate; with the two below, hand-offs are agreed "
                     "over mutual TLS");
  command.add_option("--kv-tls-key", flags.pod.kv_tls.key, "PEM file of its key");
  command.add_option("--kv-tls-ca", flags.pod.kv_tls.ca,
                     "PEM file of the CA that signed the certificates of all pods");
  command.add_option("--log-level", flags.log_level, "debug, info, warn or error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
      ->envname("BATON_LOG_LEVEL")
      ->capture_default_str();
  command.add_option("--log-format", flags.log_format, "text or json")
      ->check(CLI::IsMember({"text", "json"}))
      ->envname("BATON_LOG_FORMAT")
      ->capture_default_str();
}

}  // namespace

std::vector<std::string> transport_choices() {
  std::vector<std::string> choices{"auto"};
  choices.insert(choices.end(), kv::kTransportNames.begin(), kv::kTransportNames.end());
  return choices;
}

void add_pod_command(CLI::App& app, int& exit_code) {
  const auto flags = std::make_shared<PodFlags>();
  CLI::App* command =
      app.add_subcommand("pod", "Serve a GGUF model: one engine, as a prefill or decode pod");
  add_model_options(*command, *flags);
  add_network_options(*command, *flags);
  command->callback([flags, &exit_code] { exit_code = run_pod(*flags); });
}

}  // namespace baton::orchestrator
