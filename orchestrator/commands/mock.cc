#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "adapters/engines/mock/pod.h"
#include "core/log.h"
#include "orchestrator/commands/commands.h"

namespace baton::orchestrator {
namespace {

namespace asio = boost::asio;
using adapters::mock::MockCommons;
using adapters::mock::MockOptions;
using adapters::mock::MockPod;

const std::map<std::string, adapters::KvEventEncoding> kEncodings = {
    {"map", adapters::KvEventEncoding::kVllmMap},
    {"bytes", adapters::KvEventEncoding::kVllmBytes},
    {"array", adapters::KvEventEncoding::kVllmArray},
    {"sglang", adapters::KvEventEncoding::kSglang}};

// What the command line says, before it is checked.
struct MockFlags {
  MockOptions mock;
  std::string listen = "127.0.0.1:0";
  std::string side_channel = "127.0.0.1:0";
  std::string role = "both";
  int count = 1;
  std::vector<std::string> loras;
  std::string profile = "instant";
  std::string faults;
  std::int64_t block_tokens = 16;
  std::int64_t max_model_len = 8192;
  std::int64_t max_batched_tokens = 8192;
  std::int64_t kv_bytes_per_token = 131072;
  double lease_seconds = 30;
  double bootstrap_timeout_seconds = 300;
  double waiting_timeout_seconds = 300;
  double slow_start_seconds = 0;
  std::string load_failures = "fail";
  std::string kv_events_encoding = "map";
  std::uint64_t seed = 0;
  std::string log_level = "info";
};

bool read_address(const std::string& text, std::string& host, std::uint16_t& port) {
  const std::size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) return false;
  const char* end = text.data() + text.size();
  const auto [at, failure] = std::from_chars(text.data() + colon + 1, end, port);
  host = text.substr(0, colon);
  return failure == std::errc() && at == end;
}

Duration from_seconds(double seconds) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(seconds));
}

// Empty: good. Else what is wrong.
std::string read_flags(MockFlags& flags) {
  MockOptions& mock = flags.mock;
  const auto known = adapters::mock::known_dresses();
  if (std::ranges::find(known, mock.engine) == known.end()) {
    std::string list;
    for (const std::string& name : known) list += (list.empty() ? "" : ", ") + name;
    return "--engine " + mock.engine + ": known engines are " + list;
  }
  if (!read_address(flags.listen, mock.host, mock.port)) {
    return "--listen " + flags.listen + ": must be HOST:PORT, as 127.0.0.1:8000";
  }
  if (!read_address(flags.side_channel, mock.side_channel_host, mock.side_channel_port)) {
    return "--side-channel " + flags.side_channel + ": must be HOST:PORT, as 127.0.0.1:5600";
  }
  for (const std::string& lora : flags.loras) {
    const std::size_t equals = lora.find('=');
    const std::string name = lora.substr(0, equals);
    if (name.empty()) return "--lora " + lora + ": must be NAME or NAME=PATH";
    mock.loras.emplace_back(name, equals == std::string::npos ? name : lora.substr(equals + 1));
  }
  auto profile = engine_model::parse_latency_profile(flags.profile);
  if (!profile) return "--latency-profile: " + profile.error().message;
  mock.model_options.timing = std::move(*profile);
  auto faults = adapters::mock::parse_faults(flags.faults);
  if (!faults) return "--faults: " + faults.error().message;
  mock.faults = std::move(*faults);
  mock.role = *role_from_name(flags.role);
  mock.model_options.block_tokens = Tokens(flags.block_tokens);
  mock.model_options.max_batched_tokens = Tokens(flags.max_batched_tokens);
  mock.max_model_len = Tokens(flags.max_model_len);
  mock.kv_bytes_per_token = Bytes(flags.kv_bytes_per_token);
  mock.lease = from_seconds(flags.lease_seconds);
  mock.bootstrap_timeout = from_seconds(flags.bootstrap_timeout_seconds);
  mock.waiting_timeout = from_seconds(flags.waiting_timeout_seconds);
  mock.slow_start = from_seconds(flags.slow_start_seconds);
  mock.recompute_failed_loads = flags.load_failures == "recompute";
  mock.kv_events_encoding = kEncodings.at(flags.kv_events_encoding);
  return {};
}

// The options of one of several mocks: its own ports, its own seed.
MockOptions nth(const MockFlags& flags, int index) {
  MockOptions options = flags.mock;
  const auto step = static_cast<std::uint16_t>(index);
  if (options.port != 0) options.port = static_cast<std::uint16_t>(options.port + step);
  if (options.side_channel_port != 0) {
    options.side_channel_port = static_cast<std::uint16_t>(options.side_channel_port + step);
  }
  const auto ranks = static_cast<std::uint16_t>(index * options.data_parallel_size);
  for (std::uint16_t* port : {&options.kv_events_port, &options.kv_replay_port}) {
    if (*port != 0) *port = static_cast<std::uint16_t>(*port + ranks);
  }
  options.seed = flags.seed + static_cast<std::uint64_t>(index);
  if (index > 0 && !options.engine_id.empty()) options.engine_id += "-" + std::to_string(index);
  return options;
}

void announce(const MockOptions& options, const std::string& role) {
  std::printf(
      "baton mock %s ready: http://%s:%u role %s model %s side-channel %s:%u engine-id %s\n",
      options.engine.c_str(), options.host.c_str(), options.port, role.c_str(),
      options.model.c_str(), options.side_channel_host.c_str(), options.side_channel_port,
      options.engine_id.c_str());
}

int run_mock(MockFlags& flags) {
  if (const std::string wrong = read_flags(flags); !wrong.empty()) return complain("mock", wrong);
  LogOptions log;
  log.level = flags.log_level == "debug"   ? LogLevel::kDebug
              : flags.log_level == "warn"  ? LogLevel::kWarn
              : flags.log_level == "error" ? LogLevel::kError
                                           : LogLevel::kInfo;
  init_log(log);
  if (flags.seed == 0) flags.seed = std::random_device()();

  asio::io_context io(1);
  asio::signal_set signals(io, SIGTERM, SIGINT);
  signals.async_wait([&io](boost::system::error_code, int) { io.stop(); });
  MockCommons commons(io);
  std::vector<std::shared_ptr<MockPod>> pods;
  for (int i = 0; i < flags.count; ++i) {
    auto pod = MockPod::start(commons, nth(flags, i));
    if (!pod) return complain("mock", pod.error().message);
    announce((*pod)->options(), flags.role);
    pods.push_back(std::move(*pod));
  }
  if (std::fflush(stdout) != 0) return kFailed;
  io.run();
  return 0;
}

void add_engine_options(CLI::App& command, MockFlags& flags) {
  MockOptions& mock = flags.mock;
  auto& model = mock.model_options;
  command.add_option("--engine", mock.engine, "Whose pod it stands in for")
      ->envname("BATON_MOCK_ENGINE")
      ->capture_default_str();
  command.add_option("--role", flags.role, "Which legs it should be sent")
      ->check(CLI::IsMember({"prefill", "decode", "both"}))
      ->envname("BATON_MOCK_ROLE")
      ->capture_default_str();
  command.add_option("--model", mock.model, "The model's name")
      ->envname("BATON_MOCK_MODEL")
      ->capture_default_str();
  command.add_option("--lora", flags.loras, "NAME or NAME=PATH of an adapter; repeatable")
      ->envname("BATON_MOCK_LORA");
  command.add_option("--max-loras", model.max_loras, "Adapters resident at once")
      ->check(CLI::PositiveNumber)
      ->envname("BATON_MOCK_MAX_LORAS")
      ->capture_default_str();
  command.add_option("--engine-id", mock.engine_id, "The engine's id (default: drawn)")
      ->envname("BATON_MOCK_ENGINE_ID");
  command
      .add_option("--latency-profile", flags.profile,
                  "NAME or NAME*FACTOR or settings as prefill_ms=20,step_ms=5; names: instant, "
                  "h100-8b, dynamo-polynomial")
      ->envname("BATON_MOCK_LATENCY_PROFILE")
      ->capture_default_str();
  command.add_option("--block-tokens", flags.block_tokens, "Tokens of a KV block")
      ->check(CLI::PositiveNumber)
      ->envname("BATON_MOCK_BLOCK_TOKENS")
      ->capture_default_str();
  command.add_option("--kv-blocks", model.blocks, "KV blocks of one rank")
      ->check(CLI::PositiveNumber)
      ->envname("BATON_MOCK_KV_BLOCKS")
      ->capture_default_str();
  command
      .add_option("--kv-bytes-per-token", flags.kv_bytes_per_token,
                  "Bytes of KV a token, for the time that a transfer takes")
      ->check(CLI::NonNegativeNumber)
      ->envname("BATON_MOCK_KV_BYTES_PER_TOKEN")
      ->capture_default_str();
  command.add_option("--max-num-seqs", model.max_num_seqs, "Sequences in one batch")
      ->check(CLI::PositiveNumber)
      ->envname("BATON_MOCK_MAX_NUM_SEQS")
      ->capture_default_str();
  command.add_option("--max-num-batched-tokens", flags.max_batched_tokens, "Tokens in one step")
      ->check(CLI::PositiveNumber)
      ->envname("BATON_MOCK_MAX_NUM_BATCHED_TOKENS")
      ->capture_default_str();
  command
      .add_option("--max-model-len", flags.max_model_len, "Longest prompt plus answer, in tokens")
      ->check(CLI::PositiveNumber)
      ->envname("BATON_MOCK_MAX_MODEL_LEN")
      ->capture_default_str();
  command
      .add_option("--mean-answer-tokens", model.vocabulary.mean_tokens,
                  "Tokens after which an answer ends by itself, on average; 0: never")
      ->check(CLI::NonNegativeNumber)
      ->envname("BATON_MOCK_MEAN_ANSWER_TOKENS")
      ->capture_default_str();
  command.add_option("--data-parallel-size", mock.data_parallel_size, "Ranks behind one address")
      ->check(CLI::PositiveNumber)
      ->envname("BATON_MOCK_DATA_PARALLEL_SIZE")
      ->capture_default_str();
}

void add_handoff_options(CLI::App& command, MockFlags& flags) {
  command
      .add_option("--lease-seconds", flags.lease_seconds,
                  "How long a prefill's blocks are kept; vllm-mooncake: and how long a decode leg "
                  "that came before them waits")
      ->check(CLI::PositiveNumber)
      ->envname("BATON_MOCK_LEASE_SECONDS")
      ->capture_default_str();
  command
      .add_option("--bootstrap-timeout-seconds", flags.bootstrap_timeout_seconds,
                  "sglang: how long a prefill leg waits for its decode leg")
      ->check(CLI::PositiveNumber)
      ->envname("BATON_MOCK_BOOTSTRAP_TIMEOUT_SECONDS")
      ->capture_default_str();
  command
      .add_option("--waiting-timeout-seconds", flags.waiting_timeout_seconds,
                  "sglang, vllm-mooncake: how long a decode leg waits for its KV")
      ->check(CLI::PositiveNumber)
      ->envname("BATON_MOCK_WAITING_TIMEOUT_SECONDS")
      ->capture_default_str();
  command
      .add_option("--kv-load-failure-policy", flags.load_failures,
                  "What a decode leg does whose KV cannot be fetched")
      ->check(CLI::IsMember({"fail", "recompute"}))
      ->envname("BATON_MOCK_KV_LOAD_FAILURE_POLICY")
      ->capture_default_str();
  command
      .add_flag("--enable-prompt-tokens-details", flags.mock.prompt_tokens_details,
                "Tell usage.prompt_tokens_details")
      ->envname("BATON_MOCK_ENABLE_PROMPT_TOKENS_DETAILS");
  command
      .add_option("--tool-call-parser", flags.mock.tool_call_parser,
                  "Name of a tool parser; empty: tool choices are refused")
      ->envname("BATON_MOCK_TOOL_CALL_PARSER")
      ->capture_default_str();
  command
      .add_option("--faults", flags.faults,
                  "Faults that happen from the start: KIND[=VALUE][@LEG][:COUNT][%PROBABILITY], "
                  "with commas between them")
      ->envname("BATON_MOCK_FAULTS");
  command.add_option("--slow-start-seconds", flags.slow_start_seconds, "Answers 503 for that long")
      ->check(CLI::NonNegativeNumber)
      ->envname("BATON_MOCK_SLOW_START_SECONDS");
  command.add_option("--seed", flags.seed, "Of all that is drawn; 0: another one each time")
      ->envname("BATON_MOCK_SEED");
}

void add_process_options(CLI::App& command, MockFlags& flags) {
  command.add_option("--listen", flags.listen, "HOST:PORT of the HTTP interface; port 0: any")
      ->envname("BATON_MOCK_LISTEN")
      ->capture_default_str();
  command
      .add_option("--side-channel", flags.side_channel,
                  "HOST:PORT at which other mocks fetch KV, and of the bootstrap server where the "
                  "engine has one; port 0: any")
      ->envname("BATON_MOCK_SIDE_CHANNEL")
      ->capture_default_str();
  command
      .add_option("--kv-events-port", flags.mock.kv_events_port,
                  "Where the first rank publishes KV events (ZeroMQ), the others at the next "
                  "ports; 0: nowhere")
      ->envname("BATON_MOCK_KV_EVENTS_PORT")
      ->capture_default_str();
  command
      .add_option("--kv-replay-port", flags.mock.kv_replay_port,
                  "Where it sends lost events again; 0: nowhere")
      ->envname("BATON_MOCK_KV_REPLAY_PORT")
      ->capture_default_str();
  command
      .add_option("--kv-events-encoding", flags.kv_events_encoding,
                  "map (vLLM from 0.24 on), bytes (the same with hashes as bytes), array (before), "
                  "sglang")
      ->check(CLI::IsMember(kEncodings))
      ->envname("BATON_MOCK_KV_EVENTS_ENCODING")
      ->capture_default_str();
  command.add_option("--count", flags.count, "Mocks in this process, at consecutive ports")
      ->check(CLI::Range(1, 10000))
      ->envname("BATON_MOCK_COUNT")
      ->capture_default_str();
  command.add_option("--log-level", flags.log_level, "debug, info, warn or error")
      ->check(CLI::IsMember({"debug", "info", "warn", "error"}))
      ->envname("BATON_LOG_LEVEL")
      ->capture_default_str();
}

}  // namespace

void add_mock_command(CLI::App& app, int& exit_code) {
  const auto flags = std::make_shared<MockFlags>();
  CLI::App* command = app.add_subcommand(
      "mock", "Stand in for a model server's pod, strictly: no model, scripted faults, a ledger");
  add_engine_options(*command, *flags);
  add_handoff_options(*command, *flags);
  add_process_options(*command, *flags);
  command->callback([flags, &exit_code] { exit_code = run_mock(*flags); });
}

}  // namespace baton::orchestrator
