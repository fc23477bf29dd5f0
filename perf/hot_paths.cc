// The hot paths of the router, one at a time, for perf/instructions to count under callgrind.
// usage: perf_hot_paths [NAME COUNT]
// Without arguments it prints `name<TAB>count<TAB>what` of each path. Inputs are the same in every
// run, and those in the program itself are aligned, since searching a text costs by its address.
// What has to be made anew for an operation is made outside of what is counted.
#include <boost/asio/io_context.hpp>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "adapters/http/request_reader.h"
#include "adapters/kv_events/event_decoder.h"
#include "adapters/kv_events/event_encoder.h"
#include "core/json_fields.h"
#include "core/metrics.h"
#include "core/openai_request.h"
#include "core/picking/kv_event_index.h"
#include "core/picking/pod_load.h"
#include "core/picking/prefix_index.h"
#include "core/prompt_blocks.h"
#include "orchestrator/lifecycle/stream_watch.h"
#include "orchestrator/lifecycle/thread_context.h"
#include "orchestrator/planning/planner.h"
#include "orchestrator/registry/engine_metrics.h"
#include "perf/vllm_text.h"

namespace baton::perf {

// One operation of a path. `prepare` is not counted.
class HotPath {
 public:
  HotPath() = default;
  HotPath(const HotPath&) = delete;
  HotPath& operator=(const HotPath&) = delete;
  virtual ~HotPath() = default;
  virtual void prepare() {}
  virtual void operate() = 0;
};

namespace {

constexpr std::string_view kModel = "chat";
constexpr TimePoint kNow = TimePoint{} + std::chrono::hours(1);

// Keeps the compiler from leaving out what made `value`.
template <class T>
void keep(const T& value) {
  asm volatile("" : : "r"(&value) : "memory");
}

[[noreturn]] void give_up(std::string_view why) {
  std::fprintf(stderr, "perf_hot_paths: %.*s\n", static_cast<int>(why.size()), why.data());
  std::exit(1);
}

std::string prose_of(std::size_t bytes) {
  constexpr std::string_view kSentence = "the quick brown fox jumps over the lazy dog ";
  std::string text;
  while (text.size() < bytes) text += kSentence;
  text.resize(bytes);
  return text;
}

std::string chat_body(std::size_t prompt_bytes) {
  return R"({"model":"chat","messages":[{"role":"user","content":")" + prose_of(prompt_bytes) +
         R"("}],"max_tokens":8,"temperature":0.7,"stream":true})";
}

// A body to a request whose model was found.
class ParseRequest final : public HotPath {
 public:
  explicit ParseRequest(std::size_t prompt_bytes)
      : body_(chat_body(prompt_bytes)), context_(io_, config(), tables()) {}
  void prepare() override { next_ = body_; }
  void operate() override {
    const auto request = OpenAiRequest::parse(Api::kChat, std::move(next_), {});
    if (!request || context_.find_model(request->model) == nullptr) give_up("no such model");
    keep(*request);
  }

 private:
  static std::shared_ptr<const orchestrator::Config> config() {
    orchestrator::Config config;
    for (const std::string_view name : {"base", "chat", "code", "draft", "large"}) {
      orchestrator::PoolConfig pool;
      pool.name = name;
      pool.model = name;
      config.pools.push_back(std::move(pool));
    }
    return std::make_shared<const orchestrator::Config>(std::move(config));
  }
  orchestrator::SharedTables tables() { return {loads_, prefixes_, latencies_, metrics_}; }

  std::string body_;
  std::string next_;
  boost::asio::io_context io_;
  LoadTable loads_;
  PrefixIndex prefixes_{Bytes(1 << 20)};
  LatencyModels latencies_;
  Metrics metrics_;
  orchestrator::ThreadContext context_;
};

// The body of a leg: three members changed, the rest as the client wrote it.
class PatchBody final : public HotPath {
 public:
  explicit PatchBody(std::size_t prompt_bytes) : body_(chat_body(prompt_bytes)) {
    auto fields = JsonFields::scan(body_, 64);
    if (!fields) give_up(fields.error().message);
    fields_ = std::move(*fields);
  }
  void operate() override {
    JsonPatch patch;
    patch.set("max_tokens", "1");
    patch.set("stream", "false");
    patch.set("kv_transfer_params", R"({"do_remote_decode":true,"do_remote_prefill":false})");
    keep(patch.apply(body_, fields_));
  }

 private:
  std::string body_;
  JsonFields fields_;
};

class BlocksOfText final : public HotPath {
 public:
  explicit BlocksOfText(std::size_t bytes) : text_(prose_of(bytes)) {}
  void operate() override { keep(PromptBlocks::from_text(text_, "tenant", "")); }

 private:
  std::string text_;
};

std::vector<TokenId> ids_of(TokenId first, int count) {
  std::vector<TokenId> ids;
  for (TokenId i = 0; i < count; ++i) ids.push_back(first + i);
  return ids;
}

PromptBlocks blocks_of(TokenId first, int count) {
  return PromptBlocks::from_tokens(ids_of(first, count), Tokens(64), "", "");
}

class BlocksOfTokens final : public HotPath {
 public:
  explicit BlocksOfTokens(int count) : ids_(ids_of(0, count)) {}
  void operate() override { keep(PromptBlocks::from_tokens(ids_, Tokens(64), "tenant", "")); }

 private:
  std::vector<TokenId> ids_;
};

// Prompts of 8,192 tokens: 128 blocks. The index holds 200 others on 16 pods.
constexpr int kPromptTokens = 8192;
constexpr std::uint32_t kHolders = 16;

class PrefixPath : public HotPath {
 public:
  PrefixPath() {
    for (std::uint32_t pod = 0; pod < kHolders; ++pod) pods_.push_back(pod);
    for (TokenId prompt = 0; prompt < 200; ++prompt) {
      const PromptBlocks blocks = blocks_of(prompt * 100'000, kPromptTokens);
      index_.confirm(blocks.token_chain, static_cast<std::uint32_t>(prompt) % kHolders, kNow);
    }
  }

 protected:
  PrefixIndex index_{Bytes(64 << 20)};
  std::vector<std::uint32_t> pods_;
};

// Half of the prompt is held by each of two pods.
class PrefixLookup final : public PrefixPath {
 public:
  PrefixLookup() : chain_(blocks_of(0, kPromptTokens).token_chain) {
    index_.confirm(std::span(chain_).first(chain_.size() / 2), 7, kNow);
  }
  void operate() override { keep(index_.match(chain_, pods_, kNow)); }

 private:
  std::vector<std::uint64_t> chain_;
};

class PrefixInsert final : public PrefixPath {
 public:
  void prepare() override { chain_ = blocks_of(next_ -= 100'000, kPromptTokens).token_chain; }
  void operate() override { index_.believe(chain_, 3, kNow, kNow + kBeliefTime); }

 private:
  std::vector<std::uint64_t> chain_;
  TokenId next_ = 0;
};

// One message of ten prompts' blocks, as a prefill pod of vLLM tells in a step or two.
class FollowEvents final : public HotPath {
 public:
  void prepare() override {
    std::vector<KvEvent> events;
    for (int prompt = 0; prompt < 10; ++prompt) {
      KvBlocksStored stored;
      stored.block_tokens = kBlock;
      for (int i = 0; i < 100; ++i) stored.blocks.push_back(rng_());
      for (int i = 0; i < 100 * kBlock; ++i) {
        stored.tokens.push_back(static_cast<TokenId>(rng_() % 128'000));
      }
      events.emplace_back(std::move(stored));
    }
    payload_ = adapters::encode_kv_events(events, 1.5, 0, adapters::KvEventEncoding::kVllmMap);
  }
  void operate() override {
    const auto batch = adapters::decode_kv_events(payload_);
    if (!batch) give_up(batch.error().message);
    for (const KvEvent& event : batch->events) keep(index_.apply(0, event, kNow));
  }

 private:
  static constexpr int kBlock = 16;
  std::mt19937_64 rng_{17};
  PrefixIndex prefixes_{Bytes(64 << 20)};
  KvEventIndex index_{prefixes_, 0, Tokens(kBlock), 1};
  std::string payload_;
};

// A plan over `pods` pods, half of them for prefill, with work on all and a prefix on some.
class MakePlan final : public HotPath {
 public:
  explicit MakePlan(int pods) {
    std::mt19937_64 rng(17);
    snapshot_.version = 1;
    snapshot_.pool = kModel;
    request_.blocks = blocks_of(0, 2048);
    request_.prompt = Tokens(2048);
    request_.split = orchestrator::Split::kAuto;
    for (int i = 0; i < pods; ++i) {
      add_pod(static_cast<std::uint32_t>(i), rng);
    }
  }
  void operate() override {
    const auto plan = planner_.plan(request_, snapshot_, kNow, ++seed_);
    if (!plan) give_up(plan.error().message);
    keep(*plan);
  }

 private:
  void add_pod(std::uint32_t index, std::mt19937_64& rng) {
    const bool prefills = index % 2 == 0;
    auto entry = std::make_shared<PodEntry>();
    entry->pod.name = (prefills ? "prefill-" : "decode-") + std::to_string(index);
    entry->pod.role = prefills ? Role::kPrefill : Role::kDecode;
    entry->pod.facts.bytes_per_token = Bytes(128 << 10);
    entry->pod.facts.block_tokens = Tokens(64);
    entry->state.health = Health::kHealthy;
    entry->index = index;
    PodLoad& load = loads_.of(index);
    const auto tokens = Tokens(static_cast<std::int64_t>(rng() % 8192));
    tickets_.push_back(prefills ? LoadTicket::for_prefill(load, tokens)
                                : LoadTicket::for_decode(load, tokens));
    if (index % 8 < 2) {
      prefixes_.confirm(std::span(request_.blocks.token_chain).first(1 + rng() % 31), index, kNow);
    }
    snapshot_.pods.push_back(std::move(entry));
  }

  Snapshot snapshot_;
  LoadTable loads_;
  PrefixIndex prefixes_{Bytes(16 << 20)};
  std::vector<LoadTicket> tickets_;
  orchestrator::PlanRequest request_;
  LatencyModel model_;
  orchestrator::Planner planner_{loads_, prefixes_, model_};
  std::uint64_t seed_ = 0;
};

// A pool of a thousand pods of which each was seen.
class UseLatencyModel : public HotPath {
 public:
  UseLatencyModel() {
    for (std::uint32_t i = 0; i < kPods; ++i) learn();
  }

 protected:
  static constexpr std::uint32_t kPods = 1000;

  void learn() {
    const std::uint32_t pod = next();
    model_.observe(LatencyModel::PrefillSeen{pod, 1, 3000.0 + pod, 9e6, 0.35});
    model_.observe(LatencyModel::StepSeen{pod, 20.0 + pod % 7, 60e3, 100, 0.011});
  }
  std::uint32_t next() { return next_ = (next_ + 1) % kPods; }

  LatencyModel model_;
  std::uint32_t next_ = 0;
};

class PredictTimes final : public UseLatencyModel {
 public:
  void operate() override {
    const std::uint32_t pod = next();
    keep(model_.prefill_seconds(pod, Tokens(1000), Tokens(3000)));
    keep(model_.step_seconds(pod, 20, 60e3));
  }
};

class LearnTimes final : public UseLatencyModel {
 public:
  void operate() override { learn(); }
};

class ReadRequest final : public HotPath {
 public:
  void operate() override {
    reader_.reset();
    constexpr std::size_t kSize = sizeof(kBytes) - 1;
    if (reader_.take({kBytes, kSize}) != kSize || reader_.state() != Reader::State::kComplete) {
      give_up("the request was refused");
    }
    keep(reader_.request());
  }

 private:
  using Reader = adapters::http::RequestReader;
  alignas(64) static constexpr char kBytes[] =
      "POST /v1/chat/completions HTTP/1.1\r\n"
      "Host: router.example:8080\r\n"
      "Accept: application/json\r\n"
      "Accept-Encoding: gzip, deflate\r\n"
      "Connection: keep-alive\r\n"
      "Content-Type: application/json\r\n"
      "User-Agent: OpenAI/Python 1.99.0\r\n"
      "Authorization: Bearer sk-0123456789abcdefghijklmnopqrstuvwxyz\r\n"
      "X-Stainless-Lang: python\r\n"
      "X-Request-Id: 7b1c8f0e-6c0f-4f3c-9a2f-2f1d3c4b5a69\r\n"
      "Content-Length: 64\r\n"
      "\r\n"
      R"({"model":"chat","prompt":"a harbour before dawn","max_tokens":8})";
  Reader reader_{adapters::http::ServerLimits{}};
};

class WatchEvent final : public HotPath {
 public:
  void operate() override {
    watch_.feed({kEvent, sizeof(kEvent) - 1});
    keep(watch_.events());
  }

 private:
  alignas(64) static constexpr char kEvent[] =
      R"(data: {"id":"chatcmpl-7b1c8f0e6c0f4f3c9a2f2f1d3c4b5a69","object":"chat.completion.chunk",)"
      R"("created":1700000000,"model":"chat","choices":[{"index":0,"delta":{"content":" harbour"},)"
      R"("logprobs":null,"finish_reason":null}]})"
      "\n\n";
  orchestrator::StreamWatch watch_;
};

class ReadMetrics final : public HotPath {
 public:
  void operate() override {
    const auto metrics = orchestrator::read_engine_metrics(text_);
    if (!metrics || metrics->block_tokens != Tokens(16)) give_up("the metrics were not read");
    keep(*metrics);
  }

 private:
  std::string text_ = VllmText::make();
};

struct Entry {
  const char* name;
  int count;  // of operations that give a steady mean
  const char* what;
  std::function<std::unique_ptr<HotPath>()> make;
};

template <class Path, class... Arguments>
std::function<std::unique_ptr<HotPath>()> maker(Arguments... arguments) {
  return [=] { return std::make_unique<Path>(arguments...); };
}

std::vector<Entry> entries() {
  return {
      {"parse_64b", 200, "parse a chat request of 64 B and find its model",
       maker<ParseRequest>(64UL)},
      {"parse_200kb", 10, "parse a chat request of 200 KB and find its model",
       maker<ParseRequest>(200'000UL)},
      {"patch_64b", 200, "write a leg's body of 64 B", maker<PatchBody>(64UL)},
      {"patch_200kb", 20, "write a leg's body of 200 KB", maker<PatchBody>(200'000UL)},
      {"blocks_200kb", 10, "hash a prompt of 200 KB of text", maker<BlocksOfText>(200'000UL)},
      {"blocks_8192", 20, "hash a prompt of 8,192 tokens", maker<BlocksOfTokens>(8192)},
      {"prefix_lookup", 50, "look 128 blocks up for 16 pods", maker<PrefixLookup>()},
      {"prefix_insert", 50, "insert 128 blocks of a pod", maker<PrefixInsert>()},
      {"kv_events", 20, "read 1,000 stored blocks of a pod and index them", maker<FollowEvents>()},
      {"plan_16", 100, "plan over 16 pods", maker<MakePlan>(16)},
      {"plan_1000", 20, "plan over 1,000 pods", maker<MakePlan>(1000)},
      {"predict", 2000, "predict a prefill and a step", maker<PredictTimes>()},
      {"learn", 2000, "learn a prefill and a step", maker<LearnTimes>()},
      {"read_request", 200, "read a request's head of ten fields", maker<ReadRequest>()},
      {"read_metrics", 20, "read the metrics of a vLLM, 64 KB", maker<ReadMetrics>()},
      {"watch_event", 2000, "watch one event of a stream", maker<WatchEvent>()},
  };
}

}  // namespace
}  // namespace baton::perf

// What callgrind collects: one operation. Not inlined, and the call inside it is not its last act,
// so that entering and leaving it are seen.
extern "C" [[gnu::noinline]] void baton_counted_operation(baton::perf::HotPath& path) {
  path.operate();
  asm volatile("" : : : "memory");
}

int main(int argc, char** argv) {
  const auto entries = baton::perf::entries();
  if (argc == 1) {
    for (const auto& entry : entries) {
      std::printf("%s\t%d\t%s\n", entry.name, entry.count, entry.what);
    }
    return 0;
  }
  int count = 0;
  if (argc == 3) std::from_chars(argv[2], argv[2] + std::strlen(argv[2]), count);
  const auto found = std::ranges::find_if(
      entries, [&](const auto& entry) { return std::string_view(entry.name) == argv[1]; });
  if (count < 1 || found == entries.end()) {
    std::fprintf(stderr, "usage: perf_hot_paths [NAME COUNT]; without arguments it names them\n");
    return 2;
  }
  const auto path = found->make();
  constexpr int kWarmUps = 8;  // memory and tables that the first operations grow
  for (int i = 0; i < kWarmUps; ++i) {
    path->prepare();
    path->operate();
  }
  for (int i = 0; i < count; ++i) {
    path->prepare();
    baton_counted_operation(*path);
  }
  return 0;
}
