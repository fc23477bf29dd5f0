#include "orchestrator/simulate/simulation.h"

#include <algorithm>
#include <cassert>
#include <memory>
#include <random>
#include <unordered_map>
#include <utility>

#include "orchestrator/simulate/links.h"
#include "orchestrator/simulate/sim_event.h"
#include "orchestrator/simulate/sim_pods.h"
#include "orchestrator/simulate/sim_request.h"

namespace baton::orchestrator::simulate {
namespace {

using bench::RequestRecord;
using engine_model::EngineEvent;
using engine_model::SequenceId;

constexpr Duration kEmptyWait = std::chrono::seconds(30);
constexpr Duration kLease = std::chrono::seconds(30);  // lease_seconds of a pool by default
constexpr int kMostAttempts = 4;

constexpr std::uint64_t kLegs = 16;  // sequence ids of one request: attempts, and two legs of each

class Simulation {
 public:
  Simulation(const SimulationOptions& options, bench::Workload& workload,
             const std::vector<Duration>& schedule,
             const std::function<void(std::size_t, Duration)>& progress)
      : options_(options),
        workload_(workload),
        schedule_(schedule),
        progress_(progress),
        random_(options.seed),
        pods_(options.pods, options.kv_events ? told_to_replicas() : SimPod::Cache{}),
        links_(options.pods.size()) {
    for (int i = 0; i < options.replicas; ++i) {
      replicas_.push_back(std::make_unique<Replica>(prior_of(options.prior_factor)));
      replicas_.back()->planner.set_policies(options.prefill_policy, options.decode_policy);
    }
  }

  Result<SimulationResult> run() {
    scrape();
    offer_all();
    for (std::size_t i = 0; i < options_.losses.size(); ++i) {
      events_.push({kEpoch + options_.losses[i].at, EventKind::kLoss, i});
    }
    events_.push({kEpoch + options_.scrape_interval, EventKind::kScrape, 0});
    while (left_ > 0 && !failure_) {
      now_ = events_.top().at;
      settle_now();
    }
    if (failure_) return std::unexpected(std::move(*failure_));
    return finish();
  }

 private:
  static constexpr TimePoint kEpoch = TimePoint{} + std::chrono::hours(1);

  SimPod::Cache told_to_replicas() {
    SimPod::Cache cache;
    cache.stored = [this](std::uint32_t pod, std::span<const std::uint64_t> blocks) {
      for (const auto& replica : replicas_) replica->prefixes.confirm(blocks, pod, now_);
    };
    cache.removed = [this](std::uint32_t pod, std::span<const std::uint64_t> blocks) {
      for (const auto& replica : replicas_) replica->prefixes.retract(blocks, pod);
    };
    return cache;
  }

  // Everything that happens at this time.
  void settle_now() {
    while (!failure_) {
      if (!events_.empty() && events_.top().at <= now_) {
        const Event event = events_.top();
        events_.pop();
        handle(event);
        continue;
      }
      if (!pods_.any_touched()) return;
      drive_pods();
    }
  }

  void handle(const Event& event) {
    switch (event.kind) {
      case EventKind::kPod: pods_.touch(static_cast<std::uint32_t>(event.id)); break;
      case EventKind::kArrivedKv:
        if (event.id == link_round_) land_transfers();
        break;
      case EventKind::kLease: end_lease(event.id); break;
      case EventKind::kLoss: lose(options_.losses[event.id]); break;
      case EventKind::kStart: pods_[event.id].start(); break;
      case EventKind::kScrape:
        scrape();
        for (const auto& replica : replicas_) replica->model.forget(now_);
        events_.push({now_ + options_.scrape_interval, EventKind::kScrape, 0});
        for (const std::uint64_t id : std::exchange(waiting_, {})) plan(*requests_.at(id));
        break;
      case EventKind::kArrival: accept(event.id); break;
    }
  }

  void drive_pods() {
    for (const std::uint32_t pod : pods_.take_touched()) {
      std::vector<EngineEvent> happened;
      const auto next = pods_.advance(pod, now_, happened);
      if (next) events_.push({*next, EventKind::kPod, pod});
      for (const EngineEvent& event : happened) hear(pod, event);
    }
  }

  // Arrivals.

  void offer_all() {
    left_ = schedule_.size();
    requests_.resize(schedule_.size());
    for (std::size_t i = 0; i < schedule_.size(); ++i) {
      if (const auto before = workload_.follows(i); before && before->first < schedule_.size()) {
        followers_[before->first].emplace_back(i, before->second);
      } else {
        events_.push({kEpoch + schedule_[i], EventKind::kArrival, i});
      }
    }
  }

  void accept(std::size_t index) {
    auto asked = workload_.request(index);
    if (!asked) {
      failure_ = std::move(asked.error());
      return;
    }
    assert(!asked->token_ids.empty());
    auto made = std::make_unique<Request>();
    Request& request = *made;
    request.index = index;
    request.replica = replicas_[replicas_.size() == 1 ? 0 : random_() % replicas_.size()].get();
    request.ids.assign(asked->token_ids.begin(), asked->token_ids.end());
    request.max_tokens = asked->max_tokens;
    request.is_quoted = !asked->last_of_session;
    request.came_at = now_;
    request.wanted.lora = asked->model;
    request.wanted.blocks =
        PromptBlocks::from_tokens(request.ids, block_tokens_of(*snapshot_), "", asked->model);
    request.wanted.prompt = Tokens(static_cast<std::int64_t>(request.ids.size()));
    request.wanted.split = options_.split;
    request.wanted.slo = options_.slo;
    request.wanted.caches_are_told = options_.kv_events;
    RequestRecord& record = request.record;
    record.index = index;
    record.scheduled = record.sent = now_ - kEpoch;
    record.prompt_tokens = record.built_tokens = static_cast<int>(request.ids.size());
    record.asked_tokens = asked->max_tokens;
    record.model = asked->model;
    record.priority = asked->priority;
    record.session = asked->session;
    record.usage_reported = true;
    record.usage_reports = 1;
    requests_[index] = std::move(made);
    plan(request);
  }

  // Plans.

  void plan(Request& request) {
    request.wanted.expected_output = request.replica->outputs.expected();
    request.wanted.decode_is_tentative = picks_decode_late();
    request.wanted.waited = now_ - request.came_at;
    auto plan = request.replica->planner.plan(request.wanted, *snapshot_, now_, random_());
    if (!plan) {
      if (now_ - request.came_at > kEmptyWait) {
        end(request, bench::Outcome::kRejected, "503 no pod");
      } else {
        waiting_.push_back(request.index);
      }
      return;
    }
    if (plan->verdict.is_refused && request.attempt == 0) {
      ++result_.system.refused;
      end(request, bench::Outcome::kRejected, "429 slo_unreachable");
      return;
    }
    request.plan = std::move(*plan);
    request.account = request.replica->planner.commit(request.plan, request.wanted, now_);
    if (request.plan.kind == PlanKind::kSplit) {
      request.in_prefill = true;
      submit(request, request.plan.prefill->index, prefill_sequence(request));
    } else {
      submit(request, request.plan.decode->index, decode_sequence(request));
    }
  }

  [[nodiscard]] static SequenceId prefill_sequence(const Request& request) {
    return request.index * kLegs + static_cast<std::uint64_t>(request.attempt) * 2;
  }
  [[nodiscard]] static SequenceId decode_sequence(const Request& request) {
    return prefill_sequence(request) + 1;
  }
  void submit(Request& request, std::uint32_t index, SequenceId sequence) {
    SimPod& pod = pods_[index];
    if (!pod.alive()) {
      retry(request, pod);
      return;
    }
    const bool is_prefill = sequence == prefill_sequence(request);
    engine_model::SequenceSpec spec;
    spec.prompt = request.ids;
    spec.lora = request.wanted.lora;
    spec.ignore_end = true;
    spec.max_tokens = is_prefill ? 1 : request.max_tokens;
    spec.keep_blocks = is_prefill;
    spec.wait_for_kv = !is_prefill && request.plan.kind == PlanKind::kSplit;
    if (!spec.wait_for_kv) {
      request.sent_at = now_;
      request.is_alone = request.replica->loads.of(index).waiting_prompts.load() <= 1;
    }
    pod.engine().submit(sequence, std::move(spec));
    pod.count_request();
    pods_.touch(index);
  }

  void retry(Request& request, const SimPod& gone) {
    request.wanted.excluded_prefill.push_back(gone.spec().name);
    request.wanted.excluded_decode.push_back(gone.spec().name);
    begin_again(request);
  }

  void begin_again(Request& request) {
    ++result_.system.retries;
    request.account = {};
    request.in_prefill = request.in_transfer = request.is_kept = false;
    if (++request.attempt == kMostAttempts) {
      end(request, bench::Outcome::kRejected, "503 retries");
      return;
    }
    plan(request);
  }

  // The decode pod had no room for the KV in time, so that the prefill pod keeps it no longer: both
  // legs are made again. Without an end of it pods that wait for each other's room would wait for
  // good.
  void end_lease(SequenceId prefill_leg) {
    const auto& found = requests_[prefill_leg / kLegs];
    if (found == nullptr) return;
    Request& request = *found;
    if (prefill_sequence(request) != prefill_leg || !request.is_kept || request.in_transfer) return;
    let_go(request);
    const std::uint32_t decode = request.plan.decode->index;
    if (pods_[decode].alive()) pods_[decode].engine().abort(decode_sequence(request));
    pods_.touch(decode);
    begin_again(request);
  }

  // What engines say.

  void hear(std::uint32_t pod, const EngineEvent& event) {
    const auto& found = requests_[event.sequence / kLegs];
    if (found == nullptr) return;
    Request& request = *found;
    const bool is_prefill = event.sequence == prefill_sequence(request);
    if (!is_prefill && event.sequence != decode_sequence(request)) return;
    switch (event.kind) {
      case EngineEvent::Kind::kWantsKv: fetch(request, pod, event); break;
      case EngineEvent::Kind::kFinished:
        end(request, bench::Outcome::kHttpError, "400 too long");
        break;
      case EngineEvent::Kind::kToken:
        if (is_prefill) {
          prefilled(request, event);
        } else {
          give(request, event);
        }
        break;
    }
  }

  // A prompt was computed on the pod.
  void computed(Request& request, std::uint32_t pod, Tokens cached) {
    result_.system.prompt_tokens += request.wanted.prompt.count();
    result_.system.reused_tokens += cached.count();
    request.record.cached_tokens = static_cast<int>(cached.count());
    request.tell_prefill(pod, cached, now_);
  }

  void prefilled(Request& request, const EngineEvent& event) {
    request.in_prefill = false;
    request.note_prefill(event, now_);
    request.prefilled_at = now_;
    request.is_kept = true;
    events_.push({now_ + kLease, EventKind::kLease, prefill_sequence(request)});
    request.account.prefill.prefill_done(now_);
    request.account.prefill.finish(now_);
    request.account.decode.decode_begins();
    computed(request, request.plan.prefill->index, event.cached_tokens);
    if (picks_decode_late()) pick_decode(request);
    submit(request, request.plan.decode->index, decode_sequence(request));
  }

  // Policies of others pick the decode pod when the prompt is computed, as where they are from.
  [[nodiscard]] bool picks_decode_late() const {
    return options_.decode_policy != Policy::kPredicted && options_.split != Split::kNever;
  }
  void pick_decode(Request& request) {
    request.account.decode.finish(now_);
    request.wanted.prefill_on = request.plan.prefill;
    request.wanted.decode_is_tentative = false;
    auto plan = request.replica->planner.plan(request.wanted, *snapshot_, now_, random_());
    request.wanted.prefill_on = nullptr;
    if (!plan) return;  // then the one of before
    request.plan = std::move(*plan);
    request.account = request.replica->planner.commit(request.plan, request.wanted, now_);
    request.account.prefill.finish(now_);
    request.account.decode.decode_begins();
  }

  void fetch(Request& request, std::uint32_t to, const EngineEvent& event) {
    const EngineProfile& profile = pods_[to].spec().profile;
    const Tokens missing = request.wanted.prompt - event.cached_tokens;
    const Bytes bytes(missing.count() * profile.bytes_per_token.count());
    request.in_transfer = true;
    request.fetch_began_at = now_;
    request.fetched = bytes;
    result_.system.transferred_bytes += bytes.count();
    const Duration alone = profile.engine.timing.transfer(bytes);
    if (alone == Duration::zero()) {
      land(request);
      return;
    }
    links_.begin(request.index, request.plan.prefill->index, to, alone, now_);
    watch_links();
  }

  void watch_links() {
    ++link_round_;
    if (const auto next = links_.next()) {
      events_.push({next->at, EventKind::kArrivedKv, link_round_});
    }
  }

  void land_transfers() {
    for (const std::uint64_t id : links_.arrived(now_)) land(*requests_.at(id));
    watch_links();
  }

  void land(Request& request) {
    request.in_transfer = false;
    request.landed_at = now_;
    bench::StageTimes& stages = *request.record.stages;
    stages.decode_queue_ms = to_ms(request.fetch_began_at - request.prefilled_at);
    stages.exposed_transfer_ms = to_ms(now_ - request.fetch_began_at);
    stages.kv_bytes = request.fetched.count();
    stages.transport = "simulated";
    ++result_.system.hand_offs;
    result_.system.exposed_transfer_s += to_seconds(now_ - request.prefilled_at);
    request.replica->model.observe(
        LatencyModel::TransferSeen{request.plan.prefill->index, request.plan.decode->index,
                                   request.fetched, to_seconds(now_ - request.fetch_began_at)});
    let_go(request);
    engine_model::Engine& engine = pods_[request.plan.decode->index].engine();
    const SequenceId sequence = decode_sequence(request);
    engine.kv_arrived(sequence, engine.find(sequence)->content);
    pods_.touch(request.plan.decode->index);
  }

  // The prefill pod need not keep the blocks any longer.
  void let_go(Request& request) {
    request.is_kept = false;
    SimPod& pod = pods_[request.plan.prefill->index];
    if (!pod.alive()) return;
    pod.engine().free_kept(prefill_sequence(request));
    pods_.touch(request.plan.prefill->index);
  }

  void give(Request& request, const EngineEvent& event) {
    RequestRecord& record = request.record;
    const Duration at = now_ - kEpoch;
    if (record.token_events++ == 0) {
      record.first_event = record.first_token = at;
      request.account.decode.prefill_done(now_);
      const std::uint32_t pod = request.plan.decode->index;
      if (request.plan.kind == PlanKind::kDecodeOnly) {
        ++result_.system.decode_only;
        request.note_prefill(event, now_);
        computed(request, pod, event.cached_tokens);
      } else {
        record.stages->first_step_ms = to_ms(now_ - request.landed_at);
      }
      record.stages->decode_pod = request.plan.decode->pod.name;
      request.stream_began = StreamMark::of(request.replica->loads.of(pod), now_);
    } else {
      record.gaps_us.push_back(static_cast<std::uint32_t>(
          std::chrono::round<std::chrono::microseconds>(now_ - request.last_token_at).count()));
    }
    request.last_token_at = now_;
    record.last_token = at;
    ++record.output_tokens;
    if (request.is_quoted) request.answer.push_back(event.token.token);
    if (!event.finish) return;
    request.tell_pace(now_);
    end(request, bench::Outcome::kCompleted, "");
  }

  void end(Request& request, bench::Outcome outcome, std::string reason) {
    RequestRecord& record = request.record;
    record.outcome = outcome;
    record.status = outcome == bench::Outcome::kCompleted ? 200 : 503;
    if (reason.starts_with("429")) record.status = 429;
    record.reason = std::move(reason);
    record.ended = now_ - kEpoch;
    if (outcome == bench::Outcome::kCompleted)
      request.replica->outputs.observe(record.output_tokens);
    result_.run.records.push_back(std::move(record));
    const std::size_t index = request.index;
    if (outcome != bench::Outcome::kCompleted) request.answer.clear();
    workload_.answered_ids(index, request.answer);
    requests_[index].reset();
    --left_;
    if (const auto next = followers_.find(index); next != followers_.end()) {
      for (const auto& [follower, pause] : next->second) {
        const TimePoint at = std::max(now_ + pause, kEpoch + schedule_[follower]);
        events_.push({at, EventKind::kArrival, follower});
      }
      followers_.erase(next);
    }
    constexpr std::size_t kEach = 1000;
    if (progress_ && result_.run.records.size() % kEach == 0) {
      progress_(result_.run.records.size(), now_ - kEpoch);
    }
  }

  // Pods that die.

  void lose(const PodLoss& loss) {
    const auto found = std::ranges::find(options_.pods, loss.pod, &SimulatedPod::name);
    const auto index = static_cast<std::uint32_t>(found - options_.pods.begin());
    SimPod& pod = pods_[index];
    if (!pod.alive()) return;
    pod.die();
    (void)links_.cut(index, now_);
    watch_links();
    if (loss.away != Duration::max()) {
      events_.push({now_ + loss.away + pod.spec().profile.start_up, EventKind::kStart, index});
    }
    for (const auto& request : requests_) {
      if (request != nullptr && is_on(*request, index)) lose_leg(*request, index);
    }
  }

  [[nodiscard]] static bool is_on(const Request& request, std::uint32_t index) {
    if (request.plan.decode == nullptr || !request.account.decode.open()) return false;  // waits
    if (request.in_prefill) return request.plan.prefill->index == index;
    const bool fetches_from = request.in_transfer && request.plan.prefill->index == index;
    return fetches_from || request.plan.decode->index == index;
  }

  void lose_leg(Request& request, std::uint32_t index) {
    if (request.record.token_events > 0) {
      end(request, bench::Outcome::kStreamError, "decode pod died");
      return;
    }
    const std::uint32_t decode = request.plan.decode->index;
    if (!request.in_prefill && pods_[decode].alive()) {
      pods_[decode].engine().abort(decode_sequence(request));
      pods_.touch(decode);
    }
    if (!request.in_prefill && request.plan.kind == PlanKind::kSplit) let_go(request);
    retry(request, pods_[index]);
  }

  // The view of the pods.

  void scrape() {
    snapshot_ = pods_.observe(now_);
    for (const std::uint32_t pod : pods_.seen_to_die()) {
      for (const auto& replica : replicas_) {
        replica->prefixes.forget_pod(pod);
        replica->loads.of(pod).adapters.reset();
      }
    }
  }

  SimulationResult finish() {
    std::ranges::sort(result_.run.records, {}, &RequestRecord::index);
    result_.system.duration = now_ - kEpoch;
    pods_.add_figures(result_.system);
    return std::move(result_);
  }

  const SimulationOptions& options_;
  bench::Workload& workload_;
  const std::vector<Duration>& schedule_;
  const std::function<void(std::size_t, Duration)>& progress_;
  std::mt19937_64 random_;
  TimePoint now_ = kEpoch;
  EventQueue events_;
  std::vector<std::unique_ptr<Replica>> replicas_;
  SimPods pods_;
  Links links_;
  std::uint64_t link_round_ = 0;
  std::shared_ptr<const Snapshot> snapshot_;
  std::vector<std::unique_ptr<Request>> requests_;  // by index; null: not yet, or over
  std::unordered_map<std::size_t, std::vector<std::pair<std::size_t, Duration>>> followers_;
  std::vector<std::uint64_t> waiting_;  // for a pod
  std::size_t left_ = 0;
  std::optional<Error> failure_;
  SimulationResult result_;
};

}  // namespace

Result<SimulationResult> simulate(const SimulationOptions& options, bench::Workload& workload,
                                  const std::vector<Duration>& schedule,
                                  const std::function<void(std::size_t, Duration)>& progress) {
  return Simulation(options, workload, schedule, progress).run();
}

}  // namespace baton::orchestrator::simulate
