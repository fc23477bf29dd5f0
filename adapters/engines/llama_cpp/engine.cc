#include "adapters/engines/llama_cpp/engine.h"

#include <fmt/format.h>
#include <pthread.h>

#include <chrono>
#include <numeric>
#include <random>

#include "adapters/engines/llama_cpp/engine_impl.h"
#include "adapters/engines/llama_cpp/engine_options.h"
#include "core/log.h"

namespace baton::adapters {
namespace {

EngineFacts facts_of(const EngineOptions& options, const LlamaRuntime& runtime) {
  const auto since_1970 = std::chrono::system_clock::now().time_since_epoch();
  EngineFacts facts;
  facts.engine_id = options.engine_id;
  facts.epoch = static_cast<std::uint64_t>(since_1970 / std::chrono::nanoseconds(1));
  facts.engine_version = fmt::format("llama.cpp {}", llama_version());
  facts.model_hash = runtime.model_hash();
  facts.layout_hash = runtime.layout_hash();
  facts.block_tokens = runtime.can_move_ranges() ? options.block : Tokens(0);
  facts.max_context = options.max_context;
  facts.bytes_per_token = Bytes(static_cast<std::int64_t>(runtime.bytes_per_token()));
  return facts;
}

}  // namespace

Result<std::unique_ptr<Engine>> Engine::start(EngineOptions options, StartNode start_node) {
  if (auto checked = check_options(options); !checked) return std::unexpected(checked.error());
  auto runtime = LlamaRuntime::load(options);
  if (!runtime) return std::unexpected(runtime.error());

  const auto slot_bytes =
      Bytes(static_cast<std::int64_t>(std::max<std::size_t>(runtime->block_bytes(), 1)));
  const std::int64_t slots =
      runtime->can_move_ranges() ? options.block_store.count() / slot_bytes.count() : 1;
  if (slots < 1) {
    return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
                fmt::format("block_store ({} bytes) holds no block of this model ({} bytes)",
                            options.block_store.count(), slot_bytes.count()),
                false, "block_store");
  }
  NodeNeeds needs{.facts = facts_of(options, *runtime),
                  .slot_bytes = slot_bytes,
                  .slots = static_cast<int>(slots),
                  .on_shortage = {}};
  auto queue = std::make_shared<EngineQueue>();
  needs.on_shortage = [queue](int wanted) { queue->push(SlotShortage{wanted}); };

  kv::Node* node = nullptr;
  std::unique_ptr<kv::BlockArena> own_arena;
  if (start_node && runtime->can_move_ranges()) {
    auto started = start_node(needs);
    if (!started) return std::unexpected(started.error());
    node = *started;
    needs.facts.kv_address = node->address();
  } else {
    auto arena = kv::BlockArena::create(needs.slot_bytes, needs.slots);
    if (!arena) return std::unexpected(arena.error());
    own_arena = *std::move(arena);
  }
  return std::make_unique<EngineImpl>(std::move(options), *std::move(runtime), needs.facts,
                                      std::move(queue), node, std::move(own_arena));
}

EngineImpl::EngineImpl(EngineOptions options, LlamaRuntime runtime, EngineFacts facts,
                       std::shared_ptr<EngineQueue> queue, kv::Node* node,
                       std::unique_ptr<kv::BlockArena> own_arena)
    : options_(std::move(options)),
      facts_(std::move(facts)),
      queue_(std::move(queue)),
      runtime_(std::move(runtime)),
      node_(node),
      own_arena_(std::move(own_arena)),
      arena_(node_ != nullptr ? node_->arena() : *own_arena_),
      blocks_(arena_),
      scheduler_(static_cast<int>(options_.prefill_chunk.count()),
                 static_cast<int>(options_.block.count())),
      rng_(std::random_device{}()),
      block_(static_cast<int>(options_.block.count())),
      free_slots_(static_cast<std::size_t>(options_.max_running)) {
  std::iota(free_slots_.rbegin(), free_slots_.rend(), LlamaRuntime::kScratch + 1);
  for (TokenId id = 0; id < runtime_.vocab_size(); ++id) {
    if (runtime_.is_end_of_generation(id)) end_tokens_.push_back(id);
  }
  stats_.cells_total = options_.kv_pool.count();
  update_stats();
  log(LogLevel::kInfo, "engine started",
      {{"engine_id", facts_.engine_id},
       {"model_hash", facts_.model_hash},
       {"max_context", options_.max_context.count()},
       {"kv_pool", options_.kv_pool.count()},
       {"block_slots", arena_.counts().total}});
  thread_ = std::thread([this] {
    pthread_setname_np(pthread_self(), "engine");
    run();
  });
}

EngineImpl::~EngineImpl() {
  queue_->push(StopCommand{});
  thread_.join();
}

EngineRequestId EngineImpl::submit(EngineRequest request, std::shared_ptr<EngineSink> sink) {
  const EngineRequestId id = next_id_.fetch_add(1, std::memory_order_relaxed);
  queue_->push(SubmitCommand{id, std::move(request), std::move(sink), Clock::now()});
  return id;
}

// Leases let go of blocks while the engine sleeps, so blocks are counted when somebody asks.
const EngineStats& EngineImpl::stats() const {
  const kv::BlockArena::Counts counts = arena_.counts();
  stats_.blocks_total = counts.total;
  stats_.blocks_used = counts.used + counts.quarantined;
  stats_.blocks_pinned = counts.pinned;
  return stats_;
}

void EngineImpl::cancel(EngineRequestId id) { queue_->push(CancelCommand{id}); }

std::pair<std::vector<std::string>, std::vector<std::string>>
EngineImpl::running_and_waiting_loras() const {
  const std::scoped_lock lock(loras_mutex_);
  return {running_loras_, waiting_loras_};
}

}  // namespace baton::adapters
