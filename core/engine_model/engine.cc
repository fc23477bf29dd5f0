#include "core/engine_model/engine.h"

#include <algorithm>
#include <cassert>
#include <set>
#include <utility>

#include "core/prompt_blocks.h"

namespace baton::engine_model {
namespace {

Tokens as_tokens(std::size_t count) { return Tokens(static_cast<std::int64_t>(count)); }

EngineEvent event_of(EngineEvent::Kind kind, SequenceId id, TimePoint at) {
  EngineEvent event;
  event.kind = kind;
  event.sequence = id;
  event.at = at;
  return event;
}

}  // namespace

Engine::Engine(EngineModelOptions options, BlockEvents* sink)
    : options_(std::move(options)), pool_(options_.blocks, options_.block_tokens, sink) {}

void Engine::submit(SequenceId id, SequenceSpec spec) {
  assert(!spec.prompt.empty() && spec.max_tokens > 0);
  Sequence sequence;
  sequence.id = id;
  sequence.tokens = spec.prompt;
  sequence.content = kv_content(spec.prompt, spec.lora);
  sequence.spec = std::move(spec);
  extend_hashes(sequence);
  const bool fresh = sequences_.emplace(id, std::move(sequence)).second;
  assert(fresh);
  (void)fresh;
  waiting_.push_back(id);
  dirty_ = true;
}

void Engine::abort(SequenceId id) {
  free_kept(id);
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return;
  const Sequence& sequence = found->second;
  remove(id, sequence.spec.fetch_outlives_abort && sequence.place == Place::kAwaitsKv);
}

void Engine::kv_arrived(SequenceId id, std::uint64_t content) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end() || found->second.place != Place::kAwaitsKv) return;
  Sequence& sequence = found->second;
  counts_.external_hits += static_cast<std::int64_t>(sequence.tokens.size() - sequence.computed);
  sequence.content = content;
  publish(sequence, sequence.tokens.size());
  // Its logits are wanted, so the last token is computed again (scheduler.py,
  // _update_waiting_for_remote_kv).
  sequence.computed = sequence.tokens.size() - 1;
  sequence.kv_fetched = true;
  sequence.place = Place::kWaiting;
  dirty_ = true;
}

void Engine::kv_missing(SequenceId id) {
  const auto found = sequences_.find(id);
  if (found == sequences_.end() || found->second.place != Place::kAwaitsKv) return;
  found->second.kv_fetched = true;
  found->second.place = Place::kWaiting;
  dirty_ = true;
}

void Engine::advance(TimePoint now, std::vector<EngineEvent>& out) {
  if (step_end_) {
    if (*step_end_ > now) return;
    end_step(*std::exchange(step_end_, std::nullopt), out);
    dirty_ = true;
  }
  if (dirty_) begin_step(now, out);
}

TimePoint Engine::next_event_time() const {
  if (step_end_) return *step_end_;
  return dirty_ ? TimePoint::min() : TimePoint::max();
}

void Engine::begin_step(TimePoint now, std::vector<EngineEvent>& out) {
  dirty_ = false;
  step_.clear();
  adapter_time_ = {};
  auto budget = static_cast<std::size_t>(options_.max_batched_tokens.count());
  const std::int64_t preempted = counts_.preemptions;
  schedule_running(budget);
  if (counts_.preemptions == preempted) schedule_waiting(now, budget, out);
  if (step_.empty()) return;
  ++counts_.steps;
  step_end_ = now + step_time();
}

void Engine::schedule_running(std::size_t& budget) {
  // The list may lose its end to preemption meanwhile.
  for (std::size_t i = 0; i < running_.size() && budget > 0; ++i) {
    Sequence& sequence = *running_[i];
    const std::size_t tokens = std::min(sequence.tokens.size() - sequence.computed, budget);
    bool grown = grow(sequence, sequence.computed + tokens);
    while (!grown && preempt_for(sequence)) grown = grow(sequence, sequence.computed + tokens);
    if (!grown) break;
    step_.push_back({&sequence, tokens});
    publish(sequence, sequence.computed + tokens);
    budget -= tokens;
  }
}

bool Engine::grow(Sequence& sequence, std::size_t tokens) {
  const std::size_t wanted = pool_.blocks_for(tokens);
  if (wanted <= sequence.blocks.size()) return true;
  const auto more = pool_.take({}, wanted - sequence.blocks.size());
  if (!more) return false;
  sequence.blocks.insert(sequence.blocks.end(), more->begin(), more->end());
  return true;
}

// Takes the blocks of the newest running sequence. False: that was the one in need.
bool Engine::preempt_for(const Sequence& in_need) {
  Sequence& sequence = *running_.back();
  running_.pop_back();
  std::erase_if(step_, [&](const Scheduled& entry) { return entry.sequence == &sequence; });
  pool_.unpin(std::exchange(sequence.blocks, {}));
  sequence.computed = 0;
  sequence.published = 0;
  sequence.place = Place::kWaiting;
  waiting_.push_front(sequence.id);
  ++counts_.preemptions;
  return &sequence != &in_need;
}

void Engine::schedule_waiting(TimePoint now, std::size_t& budget, std::vector<EngineEvent>& out) {
  const auto most = static_cast<std::size_t>(options_.max_num_seqs);
  bool full = false;  // then only those go on that have their blocks already
  for (std::size_t i = 0; i < waiting_.size() && budget > 0 && running_.size() < most;) {
    const SequenceId id = waiting_[i];
    Sequence& sequence = sequences_.at(id);
    if (full && sequence.blocks.empty()) {
      ++i;
      continue;
    }
    if (pool_.blocks_for(sequence.tokens.size()) > static_cast<std::size_t>(pool_.size())) {
      out.push_back(event_of(EngineEvent::Kind::kFinished, id, now));
      out.back().finish = Finish::kError;
      remove(id, false);
      continue;
    }
    const bool fetches = sequence.spec.wait_for_kv && !sequence.kv_fetched;
    const Admission admission = fetches ? want_kv(id, sequence, now, out) : admit(sequence, budget);
    if (admission == Admission::kNoRoom) full = true;
    if (admission != Admission::kAdmitted) {
      ++i;
      continue;
    }
    waiting_.erase(waiting_.begin() + static_cast<std::ptrdiff_t>(i));
    if (!sequence.scheduled_at) sequence.scheduled_at = now;
  }
}

Engine::Admission Engine::want_kv(SequenceId id, Sequence& sequence, TimePoint now,
                                  std::vector<EngineEvent>& out) {
  if (sequence.place == Place::kAwaitsKv) return Admission::kDeferred;
  const std::size_t held = options_.prefix_caching ? pool_.held_prefix(sequence.hashes) : 0;
  const std::size_t all = pool_.blocks_for(sequence.tokens.size());
  auto blocks = pool_.take(std::span(sequence.hashes).first(held), all - held);
  if (!blocks) return Admission::kNoRoom;
  const std::size_t computed = held * static_cast<std::size_t>(options_.block_tokens.count());
  counts_.prefix_queries += static_cast<std::int64_t>(sequence.tokens.size());
  counts_.prefix_hits += static_cast<std::int64_t>(computed);
  counts_.external_queries += static_cast<std::int64_t>(sequence.tokens.size() - computed);
  sequence.blocks = std::move(*blocks);
  sequence.computed = computed;
  sequence.published = held;
  sequence.place = Place::kAwaitsKv;
  out.push_back(event_of(EngineEvent::Kind::kWantsKv, id, now));
  out.back().cached_tokens = as_tokens(computed);
  return Admission::kDeferred;
}

Engine::Admission Engine::admit(Sequence& sequence, std::size_t& budget) {
  if (!adapter_fits(sequence.spec.lora)) return Admission::kDeferred;
  const auto tokens = take_blocks(sequence, budget);
  if (!tokens) return Admission::kNoRoom;
  use_adapter(sequence.spec.lora);
  if (sequence.cached < 0) {
    const std::size_t prompt = sequence.spec.prompt.size();
    sequence.cached = static_cast<std::int64_t>(std::min(sequence.computed, prompt));
    counts_.prompt_tokens += static_cast<std::int64_t>(prompt);
    counts_.prompt_computed += static_cast<std::int64_t>(prompt) - sequence.cached;
  }
  sequence.place = Place::kRunning;
  running_.push_back(&sequence);
  step_.push_back({&sequence, *tokens});
  publish(sequence, sequence.computed + *tokens);
  budget -= std::min(budget, *tokens);
  return Admission::kAdmitted;
}

// Blocks for what this step computes of the sequence; how many tokens that is. Nothing: no room.
std::optional<std::size_t> Engine::take_blocks(Sequence& sequence, std::size_t budget) {
  const std::size_t all = sequence.tokens.size();
  std::size_t held = 0;
  if (sequence.blocks.empty() && options_.prefix_caching) {
    // The last token is always computed, for its logits (kv_cache_manager.py, get_computed_blocks).
    const std::size_t usable = (all - 1) / static_cast<std::size_t>(options_.block_tokens.count());
    const auto chain = std::span(sequence.hashes).first(std::min(usable, sequence.hashes.size()));
    held = pool_.held_prefix(chain);
  }
  const std::size_t from_cache = held * static_cast<std::size_t>(options_.block_tokens.count());
  const std::size_t computed = std::max(sequence.computed, from_cache);
  const std::size_t tokens =
      options_.chunked_prefill ? std::min(all - computed, budget) : all - computed;
  const std::size_t blocks = pool_.blocks_for(computed + tokens);
  const std::size_t owned = sequence.blocks.size() + held;
  auto taken =
      pool_.take(std::span(sequence.hashes).first(held), blocks > owned ? blocks - owned : 0);
  if (!taken) return std::nullopt;
  if (sequence.blocks.empty()) {
    counts_.prefix_queries += static_cast<std::int64_t>(all);
    counts_.prefix_hits += static_cast<std::int64_t>(from_cache);
    sequence.published = held;
  }
  sequence.blocks.insert(sequence.blocks.end(), taken->begin(), taken->end());
  sequence.computed = computed;
  return tokens;
}

bool Engine::adapter_fits(const std::string& lora) const {
  if (lora.empty()) return true;
  std::set<std::string_view> in_use;
  for (const Sequence* sequence : running_) in_use.insert(sequence->spec.lora);
  in_use.erase("");
  return in_use.contains(lora) || in_use.size() < static_cast<std::size_t>(options_.max_loras);
}

void Engine::use_adapter(const std::string& lora) {
  if (lora.empty()) return;
  const auto found = std::ranges::find(resident_, lora);
  if (found != resident_.end()) {
    std::rotate(found, found + 1, resident_.end());
    return;
  }
  adapter_time_ += options_.timing.adapter_load();
  resident_.push_back(lora);
  if (resident_.size() > static_cast<std::size_t>(options_.max_loras)) {
    resident_.erase(resident_.begin());
  }
}

Duration Engine::step_time() const {
  PrefillWork prefill;
  DecodeWork decode;
  for (const Scheduled& entry : step_) {
    const Sequence& sequence = *entry.sequence;
    // One token behind KV that is there costs what a decode step costs, be it a prompt's last.
    const bool decodes = entry.tokens == 1 && sequence.computed > 0;
    if (!decodes) prefill.add(as_tokens(sequence.computed), as_tokens(entry.tokens));
    const bool gives_token = sequence.computed + entry.tokens == sequence.tokens.size();
    if (decodes || (gives_token && options_.timing.first_token_takes_step)) {
      ++decode.batch;
      decode.context += as_tokens(sequence.tokens.size());
    }
  }
  decode.kv_usage = static_cast<double>(pool_.used_blocks()) / pool_.size();
  return adapter_time_ + options_.timing.step(prefill, decode);
}

void Engine::end_step(TimePoint now, std::vector<EngineEvent>& out) {
  ended_step_.clear();
  step_.swap(ended_step_);
  for (const auto& [sequence, tokens] : ended_step_) {
    if (sequence == nullptr) continue;
    sequence->computed += tokens;
    if (sequence->computed == sequence->tokens.size()) give_token(*sequence, now, out);
  }
}

void Engine::give_token(Sequence& sequence, TimePoint now, std::vector<EngineEvent>& out) {
  const SequenceSpec& spec = sequence.spec;
  if (!sequence.answer) {
    sequence.answer.emplace(options_.vocabulary, sequence.content, spec.sampling);
    if (spec.script) sequence.script = spec.script(sequence.content);
  }
  const bool may_end = sequence.made >= spec.min_tokens;
  EngineEvent event = event_of(EngineEvent::Kind::kToken, sequence.id, now);
  event.cached_tokens = Tokens(sequence.cached);
  event.scheduled_at = *sequence.scheduled_at;
  event.token = sequence.answer->next(may_end && !spec.ignore_end);
  if (spec.script) {
    const auto place = static_cast<std::size_t>(sequence.made);
    const bool more = place < sequence.script.size();
    event.token.token = more ? sequence.script[place] : options_.vocabulary.end_of_text;
  }
  if (spec.top > 0) event.top = sequence.answer->candidates(spec.top);
  const TokenId token = event.token.token;
  sequence.tokens.push_back(token);
  ++sequence.made;
  ++counts_.generated_tokens;
  extend_hashes(sequence);
  const bool at_end = token == options_.vocabulary.end_of_text;
  const bool ended = (at_end && (spec.script || !spec.ignore_end)) ||
                     std::ranges::find(spec.stop_tokens, token) != spec.stop_tokens.end();
  if (may_end && ended) {
    event.finish = Finish::kStop;
  } else if (sequence.made >= spec.max_tokens) {
    event.finish = Finish::kLength;
  }
  const bool over = event.finish.has_value();
  out.push_back(std::move(event));
  if (over) remove(sequence.id, spec.keep_blocks);
}

void Engine::extend_hashes(Sequence& sequence) const {
  const auto size = static_cast<std::size_t>(options_.block_tokens.count());
  while ((sequence.hashes.size() + 1) * size <= sequence.tokens.size()) {
    const std::uint64_t before = sequence.hashes.empty()
                                     ? chain_seed(sequence.spec.salt, sequence.spec.lora)
                                     : sequence.hashes.back();
    const auto block = std::span(sequence.tokens).subspan(sequence.hashes.size() * size, size);
    sequence.hashes.push_back(chain_next(before, block));
  }
}

// Makes the blocks that these first tokens fill findable, from the moment at which their computing
// is scheduled, as vLLM does (kv_cache_manager.py, allocate_slots): a prompt of the same step
// already shares them.
void Engine::publish(Sequence& sequence, std::size_t tokens) {
  if (!options_.prefix_caching) return;
  const auto size = static_cast<std::size_t>(options_.block_tokens.count());
  const std::size_t full = tokens / size;
  if (full <= sequence.published) return;
  const std::size_t first = sequence.published;
  const std::size_t count = full - first;
  const auto parent =
      first == 0 ? std::nullopt : std::optional<std::uint64_t>(sequence.hashes[first - 1]);
  pool_.publish(std::span(sequence.blocks).subspan(first, count),
                std::span(sequence.hashes).subspan(first, count), parent,
                std::span(sequence.tokens).subspan(first * size, count * size), sequence.spec.lora);
  sequence.published = full;
}

void Engine::remove(SequenceId id, bool keep) {
  const auto found = sequences_.find(id);
  Sequence& sequence = found->second;
  if (keep) {
    kept_.emplace(id, std::move(sequence.blocks));
  } else {
    pool_.unpin(sequence.blocks);
  }
  if (sequence.place == Place::kRunning) {
    std::erase(running_, &sequence);
    for (Scheduled& entry : step_) {
      if (entry.sequence == &sequence) entry.sequence = nullptr;
    }
  } else {
    std::erase(waiting_, id);
  }
  sequences_.erase(found);
  dirty_ = true;
}

std::optional<SequenceState> Engine::find(SequenceId id) const {
  const auto found = sequences_.find(id);
  if (found == sequences_.end()) return std::nullopt;
  const Sequence& sequence = found->second;
  return SequenceState{sequence.blocks,
                       as_tokens(sequence.spec.prompt.size()),
                       Tokens(std::max<std::int64_t>(0, sequence.cached)),
                       sequence.made,
                       sequence.content,
                       sequence.scheduled_at};
}

std::span<const BlockId> Engine::kept(SequenceId id) const {
  const auto found = kept_.find(id);
  return found == kept_.end() ? std::span<const BlockId>() : found->second;
}

void Engine::free_kept(SequenceId id) {
  const auto found = kept_.find(id);
  if (found == kept_.end()) return;
  pool_.unpin(found->second);
  kept_.erase(found);
  dirty_ = true;
}

EngineLoad Engine::load() const {
  EngineLoad load;
  load.running = static_cast<int>(running_.size());
  load.waiting = static_cast<int>(waiting_.size());
  load.kv_usage = static_cast<double>(pool_.used_blocks()) / pool_.size();
  std::set<std::string> running;
  std::set<std::string> waiting;
  for (const Sequence* sequence : running_) running.insert(sequence->spec.lora);
  for (const SequenceId id : waiting_) {
    const Sequence& sequence = sequences_.at(id);
    waiting.insert(sequence.spec.lora);
    if (sequence.place == Place::kAwaitsKv || !adapter_fits(sequence.spec.lora)) ++load.deferred;
  }
  running.erase("");
  waiting.erase("");
  load.running_loras.assign(running.begin(), running.end());
  load.waiting_loras.assign(waiting.begin(), waiting.end());
  return load;
}

}  // namespace baton::engine_model
