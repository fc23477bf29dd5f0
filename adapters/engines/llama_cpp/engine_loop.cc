#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>

#include "adapters/engines/llama_cpp/engine_impl.h"
#include "core/log.h"
#include "core/prompt_blocks.h"

namespace baton::adapters {
namespace {

// Blocks stored between two steps: together well below the time of a step.
constexpr int kBlocksStoredPerStep = 2;
constexpr Duration kSlotPollInterval = std::chrono::milliseconds(2);

template <class... Handlers>
struct Overload : Handlers... {
  using Handlers::operator()...;
};

std::unexpected<Error> refuse(std::string message, const char* param,
                              ErrorCode code = ErrorCode::kInvalidArgument) {
  return fail(code, Stage::kDecode, std::move(message), false, param);
}

}  // namespace

void EngineImpl::run() {
  while (!stopping_) {
    for (EngineCommand& command : queue_->take(patience())) handle(command);
    if (stopping_) break;
    publish_waiting();
    admit();
    run_step();
    for (auto& [id, sequence] : sequences_) {
      if (sequence->phase == Phase::kDecoding && sequence->generated() > 0) {
        store_blocks(*sequence, kBlocksStoredPerStep);
      }
    }
    update_stats();
  }
  stop_all();
}

// How long to wait for commands: not at all while there is something to compute.
std::optional<Duration> EngineImpl::patience() const {
  if (!waiting_.empty() && has_room(*sequences_.at(waiting_.front()))) return Duration::zero();
  std::optional<Duration> longest;
  for (const auto& [id, sequence] : sequences_) {
    switch (sequence->phase) {
      case Phase::kPrefilling:
      case Phase::kDecoding: return Duration::zero();
      case Phase::kPublishing: longest = kSlotPollInterval; break;
      case Phase::kWaiting:
        // Everything else that it may wait for ends by a command or a step.
        if (sequence->request.publish) longest = kSlotPollInterval;
        break;
      case Phase::kReceiving: break;
    }
  }
  return longest;
}

void EngineImpl::handle(EngineCommand& command) {
  std::visit(Overload{[this](SubmitCommand& submit) { accept(std::move(submit)); },
                      [this](CancelCommand& cancel) {
                        if (Sequence* sequence = find(cancel.id)) {
                          stats_.requests_cancelled.fetch_add(1, std::memory_order_relaxed);
                          fail_sequence(*sequence, {ErrorCode::kCancelled, Stage::kDecode,
                                                    "the request was cancelled"});
                        }
                      },
                      [this](BlockArrived& arrived) { take_block(arrived); },
                      [this](ReceiveEnded& ended) { end_receive(ended); },
                      [this](SlotShortage& shortage) { make_room(shortage.slots); },
                      [this](StopCommand&) { stopping_ = true; }},
             command);
}

// A session repeats its request while it waits, and the engine may find many at once: only what is
// missing now is evicted, and nothing where eviction would free no slot.
void EngineImpl::make_room(int slots) {
  const auto counts = arena_.counts();
  const auto free = counts.total - counts.used - counts.quarantined;
  if (counts.pinned < counts.total && free < slots) {
    blocks_.evict(slots - static_cast<int>(free));
  }
}

void EngineImpl::accept(SubmitCommand command) {
  auto owned = std::make_unique<Sequence>();
  Sequence& sequence = *owned;
  sequence.id = command.id;
  sequence.request = std::move(command.request);
  sequence.sink = std::move(command.sink);
  sequence.submitted = command.at;
  sequence.usage.prompt_tokens = static_cast<int>(sequence.request.prompt.size());
  if (auto checked = check(sequence.request); !checked) {
    abandon_handoff(sequence, checked.error());
    sequence.sink->on_error(checked.error(), sequence.usage);
    return;
  }
  sequence.tokens = std::move(sequence.request.prompt);
  sequence.prompt = static_cast<int>(sequence.tokens.size());
  const int lora = sequence.request.lora;
  sequence.seed =
      chain_seed(sequence.request.cache_salt,
                 lora < 0 ? std::string() : options_.loras[static_cast<std::size_t>(lora)].name);
  sequences_.emplace(sequence.id, std::move(owned));
  waiting_.push_back(sequence.id);
}

Result<void> EngineImpl::check(const EngineRequest& request) const {
  const auto prompt = static_cast<std::int64_t>(request.prompt.size());
  if (prompt == 0) return refuse("the prompt is empty", "prompt");
  if (prompt >= options_.max_context.count()) {
    return refuse(fmt::format("the prompt has {} tokens; with at least one token of answer it must "
                              "fit the context of {} tokens",
                              prompt, options_.max_context.count()),
                  "prompt");
  }
  const TokenId vocab = runtime_.vocab_size();
  if (std::ranges::any_of(request.prompt, [&](TokenId id) { return id < 0 || id >= vocab; })) {
    return refuse(fmt::format("the prompt has a token id outside of 0 to {}", vocab - 1), "prompt");
  }
  if (request.lora < -1 || request.lora >= static_cast<int>(options_.loras.size())) {
    return refuse(fmt::format("there is no LoRA adapter {}", request.lora), "model");
  }
  if (request.sampling.max_tokens < 1) {
    return refuse(
        fmt::format("max_tokens is {}; it must be at least 1", request.sampling.max_tokens),
        "max_tokens");
  }
  if (!request.publish && !request.receive) return {};
  if (node_ == nullptr) {
    return refuse("this engine has no hand-off service", "kv_transfer_params",
                  ErrorCode::kUnsupported);
  }
  if (request.publish && prompt / block_ + 1 > arena_.counts().total) {
    return refuse(fmt::format("the prompt has {} tokens; the block store of this pod holds {}",
                              prompt, static_cast<std::int64_t>(arena_.counts().total) * block_),
                  "prompt");
  }
  return {};
}

// Strictly first come, first served, so that a long prompt is not overtaken for ever.
void EngineImpl::admit() {
  while (!waiting_.empty()) {
    Sequence* sequence = find(waiting_.front());
    if (!has_room(*sequence)) return;
    waiting_.pop_front();
    begin(*sequence);
  }
}

bool EngineImpl::has_room(const Sequence& sequence) const {
  if (free_slots_.empty()) return false;
  if (cells_reserved_ + cells_needed(sequence) > options_.kv_pool.count()) return false;
  return !sequence.request.publish || has_slots_for(sequence);
}

int EngineImpl::cells_needed(const Sequence& sequence) const {
  if (sequence.request.publish) return sequence.prefill_end();
  const std::int64_t longest = std::int64_t{sequence.prompt} + sequence.request.sampling.max_tokens;
  return static_cast<int>(std::min(longest, options_.max_context.count()));
}

void EngineImpl::begin(Sequence& sequence) {
  const auto lowest = std::ranges::min_element(free_slots_);
  sequence.slot = *lowest;
  free_slots_.erase(lowest);
  sequence.reserved = cells_needed(sequence);
  cells_reserved_ += sequence.reserved;
  stats_.prompt_tokens.fetch_add(sequence.prompt, std::memory_order_relaxed);
  if (sequence.request.publish) return begin_publish(sequence);

  sequence.sampler.emplace(sequence.request.sampling, rng_());
  if (sequence.request.receive) return begin_receive(sequence);
  const std::vector<std::uint64_t> held = held_prefix(sequence);
  import_held(sequence, held);
  sequence.usage.cached_tokens = sequence.computed;
  stats_.cached_tokens.fetch_add(sequence.computed, std::memory_order_relaxed);
  sequence.phase =
      sequence.computed < sequence.prefill_end() ? Phase::kPrefilling : Phase::kDecoding;
}

void EngineImpl::run_step() {
  std::vector<StepTask> tasks;
  for (const auto& [id, sequence] : sequences_) {
    const bool decoding = sequence->phase == Phase::kDecoding;
    if (!decoding && sequence->phase != Phase::kPrefilling) continue;
    tasks.push_back(
        {id, sequence->request.lora, decoding, sequence->computed, sequence->prefill_end()});
  }
  const Step step = scheduler_.next(tasks);
  if (step.empty()) return;

  const TimePoint begin = Clock::now();
  std::vector<BatchToken> batch;
  const auto add = [&](const StepShare& share, bool wants_logits) {
    Sequence& sequence = *find(share.id);
    if (!sequence.started) {
      sequence.started = true;
      if (!sequence.request.receive) sequence.times.queue = begin - sequence.submitted;
    }
    for (int i = 0; i < share.tokens; ++i) {
      const int position = sequence.computed + i;
      batch.push_back({sequence.tokens[static_cast<std::size_t>(position)], position, sequence.slot,
                       wants_logits});
    }
  };
  for (const StepShare& share : step.decodes) add(share, true);
  for (const StepShare& share : step.prefills) add(share, false);

  const Result<void> done = runtime_.decode(batch, step.lora);
  const Duration took = Clock::now() - begin;
  stats_.steps.fetch_add(1, std::memory_order_relaxed);
  if (!done) {
    for (const StepShare& share : step.decodes) fail_sequence(*find(share.id), done.error());
    for (const StepShare& share : step.prefills) fail_sequence(*find(share.id), done.error());
    return;
  }
  int row = 0;
  for (const StepShare& share : step.decodes) {
    after_decode(*find(share.id), runtime_.logits(row++), took);
  }
  for (const StepShare& share : step.prefills) {
    after_prefill(*find(share.id), share.tokens, took);
  }
}

void EngineImpl::after_prefill(Sequence& sequence, int tokens, Duration took) {
  sequence.computed += tokens;
  sequence.times.prefill += took;
  if (sequence.request.publish) {
    if (sequence.computed == sequence.prefill_end()) sequence.phase = Phase::kPublishing;
    publish_computed(sequence);
  } else if (sequence.computed == sequence.prefill_end()) {
    sequence.phase = Phase::kDecoding;
  }
}

void EngineImpl::after_decode(Sequence& sequence, std::span<float> logits, Duration took) {
  ++sequence.computed;
  EngineToken token = make_token(sequence, logits);
  if (sequence.generated() == 0) {
    sequence.times.first_step = took;
    sequence.times.first_token = Clock::now() - sequence.submitted;
    sequence.sink->on_first_token(sequence.usage, sequence.times);
  }
  if (runtime_.is_end_of_generation(token.id)) return finish(sequence, FinishReason::kStop);

  sequence.tokens.push_back(token.id);
  ++sequence.usage.completion_tokens;
  stats_.generated_tokens.fetch_add(1, std::memory_order_relaxed);
  sequence.sink->on_token(std::move(token));
  const auto length = static_cast<std::int64_t>(sequence.tokens.size());
  if (sequence.generated() >= sequence.request.sampling.max_tokens ||
      length >= options_.max_context.count()) {
    finish(sequence, FinishReason::kLength);
  }
}

EngineToken EngineImpl::make_token(Sequence& sequence, std::span<float> logits) {
  const SamplingParams& sampling = sequence.request.sampling;
  const std::vector<float> raw = sampling.logprobs >= 0 && sampling.ignore_eos
                                     ? std::vector<float>(logits.begin(), logits.end())
                                     : std::vector<float>();
  if (sampling.ignore_eos) {
    for (const TokenId id : end_tokens_) {
      logits[static_cast<std::size_t>(id)] = -std::numeric_limits<float>::infinity();
    }
  }
  EngineToken token;
  token.id = sequence.sampler->pick(logits);
  token.piece = runtime_.piece(token.id);
  if (sampling.logprobs >= 0) {
    Logprobs found = logprobs_of(raw.empty() ? std::span<const float>(logits) : raw, token.id,
                                 sampling.logprobs);
    token.logprob = found.chosen;
    token.top = std::move(found.top);
  }
  return token;
}

void EngineImpl::finish(Sequence& sequence, FinishReason reason) {
  sequence.sink->on_finish(reason, sequence.usage, sequence.times);
  if (!sequence.request.publish) store_blocks(sequence, std::numeric_limits<int>::max());
  forget(sequence);
}

void EngineImpl::fail_sequence(Sequence& sequence, Error error) {
  abandon_handoff(sequence, error);
  const bool keep = error.code == ErrorCode::kCancelled && sequence.phase == Phase::kDecoding;
  sequence.sink->on_error(std::move(error), sequence.usage);
  // A stop string ends a request by cancelling it: its blocks are as good as any.
  if (keep) store_blocks(sequence, std::numeric_limits<int>::max());
  forget(sequence);
}

void EngineImpl::forget(Sequence& sequence) {
  if (sequence.slot == 0) {
    std::erase(waiting_, sequence.id);
  } else {
    runtime_.drop(sequence.slot);
    free_slots_.push_back(sequence.slot);
    cells_reserved_ -= sequence.reserved;
  }
  blocks_.touch(sequence.chain);
  sequences_.erase(sequence.id);
  // The next sequence starts from an empty cache, in position order.
  if (sequences_.size() == waiting_.size()) runtime_.drop_all();
}

void EngineImpl::stop_all() {
  for (EngineCommand& command : queue_->close()) {
    if (auto* submit = std::get_if<SubmitCommand>(&command)) accept(std::move(*submit));
    if (auto* arrived = std::get_if<BlockArrived>(&command)) give_back(arrived->block);
  }
  while (!sequences_.empty()) {
    fail_sequence(*sequences_.begin()->second,
                  {ErrorCode::kCancelled, Stage::kDecode, "the engine is stopping", true});
  }
  update_stats();
}

void EngineImpl::update_stats() {
  stats_.running = static_cast<int>(sequences_.size() - waiting_.size());
  stats_.waiting = static_cast<int>(waiting_.size());
  stats_.cells_reserved = cells_reserved_;
  if (options_.loras.empty()) return;

  std::set<std::string> running;
  std::set<std::string> waiting;
  for (const auto& [id, sequence] : sequences_) {
    if (sequence->request.lora < 0) continue;
    const std::string& name = options_.loras[static_cast<std::size_t>(sequence->request.lora)].name;
    (sequence->phase == Phase::kWaiting ? waiting : running).insert(name);
  }
  const std::scoped_lock lock(loras_mutex_);
  running_loras_.assign(running.begin(), running.end());
  waiting_loras_.assign(waiting.begin(), waiting.end());
}

Sequence* EngineImpl::find(EngineRequestId id) {
  const auto entry = sequences_.find(id);
  return entry == sequences_.end() ? nullptr : entry->second.get();
}

}  // namespace baton::adapters
