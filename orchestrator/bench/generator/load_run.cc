#include "orchestrator/bench/generator/load_run.h"

#include <fmt/chrono.h>
#include <sys/resource.h>

#include <algorithm>
#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <limits>

#include "core/log.h"
#include "orchestrator/bench/generator/thread_cpu.h"

namespace baton::orchestrator::bench {
namespace {

namespace asio = boost::asio;
namespace http = adapters::http;
using boost::system::error_code;

constexpr Duration kTick = std::chrono::milliseconds(10);
constexpr int kTicksPerReport = 50;
// So many are sent before the loop looks at what came back meanwhile.
constexpr int kSendBatch = 64;
constexpr std::size_t kSpareFiles = 32;
// Timers are set no closer ahead: one for each request is what a high rate would cost most.
constexpr Duration kTimerGrain = std::chrono::microseconds(100);
constexpr std::size_t kMostReserved = 1 << 20;

}  // namespace

std::size_t room_for_connections() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return 512;
  if (limit.rlim_cur < limit.rlim_max) {
    limit.rlim_cur = limit.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &limit);
    ::getrlimit(RLIMIT_NOFILE, &limit);
  }
  std::error_code failed;
  const auto open = std::distance(std::filesystem::directory_iterator("/proc/self/fd", failed),
                                  std::filesystem::directory_iterator());
  const std::size_t used = static_cast<std::size_t>(open) + kSpareFiles;
  return limit.rlim_cur > used ? limit.rlim_cur - used : 1;
}

namespace {

SendRules rules_of(const RunOptions& options, const Workload& workload) {
  SendRules rules;
  rules.schedule = options.schedule;
  const std::size_t room = room_for_connections();
  const auto wanted = static_cast<std::size_t>(std::max(options.concurrency, 0));
  rules.in_flight = wanted == 0 ? room : std::min(wanted, room);
  rules.total = workload.size();
  if (options.requests > 0) {
    rules.total = std::min(rules.total.value_or(options.requests), options.requests);
  }
  rules.stop_after = options.stop_sending_after;
  return rules;
}

http::ClientLimits limits_of(const RunOptions& options) {
  http::ClientLimits limits;
  limits.connect_time = std::min<Duration>(std::chrono::seconds(10), options.request_timeout);
  limits.header_time = options.request_timeout;
  limits.idle_time = options.request_timeout;
  limits.note_arrivals = true;
  return limits;
}

std::string utc_now() {
  const auto now = std::chrono::floor<std::chrono::seconds>(std::chrono::system_clock::now());
  return fmt::format("{:%FT%TZ}", now);
}

}  // namespace

LoadRun::LoadRun(asio::io_context& io, const Target& target, const RunOptions& options,
                 OpenAiBody body, Workload& workload, const Runner::Progress& progress)
    : io_(io),
      target_(target),
      options_(options),
      body_(std::move(body)),
      workload_(workload),
      on_progress_(progress),
      queue_(workload, rules_of(options, workload)),
      client_(http::Client::create(io, limits_of(options))),
      path_(target.base_path + (target.chat ? "/chat/completions" : "/completions")),
      send_timer_(io),
      ticker_(io) {
  context_.start = Clock::now();
  context_.client = client_.get();
  context_.host = target.host;
  context_.port = target.port;
  context_.timeout = options.request_timeout;
  context_.progress = &progress_;
  context_.cancel_later = [this](Flight& flight, Flight::Cancel why, Duration delay) {
    cancel_later(flight, why, delay);
  };
  const std::size_t offered = options.schedule.empty() ? options.requests : options.schedule.size();
  progress_.total = std::min(offered, workload.size().value_or(offered));
  if (progress_.total == std::numeric_limits<std::size_t>::max()) progress_.total = 0;
  records_.reserve(std::min(progress_.total, kMostReserved));
}

Result<RunResult> LoadRun::run() {
  const std::string started_at = utc_now();
  const double cpu = thread_cpu_seconds();
  context_.start = tick_at_ = Clock::now();
  asio::post(io_, [this] {
    pump();
    if (!finished_) tick();
  });
  io_.restart();
  io_.run();
  while (!finished_) {  // somebody else stopped the loop: the requests end before their run does
    io_.restart();
    stop();
    io_.run();
  }
  io_.restart();
  io_.poll();  // what was posted to this run, and the connections that close
  if (error_) return std::unexpected(std::move(*error_));
  RunResult done = result(thread_cpu_seconds() - cpu);
  done.started_at = started_at;
  return done;
}

RunResult LoadRun::result(double cpu_seconds) const {
  RunResult result;
  result.records = records_;
  std::ranges::sort(result.records, {}, &RequestRecord::index);
  result.stopped_early = stopped_;
  GeneratorStats& own = result.generator;
  own.cpu_seconds = cpu_seconds;
  own.wall_seconds = to_seconds(now());
  own.loop_lag_max_ms = to_ms(worst_lag_);
  if (!queue_.open_loop()) return result;
  own.send_lag_ms.reserve(result.records.size());
  for (const RequestRecord& record : result.records) {
    own.send_lag_ms.push_back(static_cast<float>(to_ms(record.sent - record.scheduled)));
  }
  return result;
}

void LoadRun::pump() {
  for (int sent = 0; sent < kSendBatch && !finished_; ++sent) {
    const auto next = queue_.take(now());
    if (!next) {
      prepare_ahead();
      break;
    }
    launch(*next);
  }
  finish_if_over();
  if (finished_) return;
  if (const auto due = queue_.next_due(now())) wait_for(*due);
}

void LoadRun::pump_later() {
  if (std::exchange(pumping_later_, true)) return;
  asio::post(io_, [this] {
    pumping_later_ = false;
    if (!finished_) pump();
  });
}

void LoadRun::wait_for(Duration due) {
  if (due <= now()) {
    pump_later();
    return;
  }
  const Duration wakes = std::max(due, now() + kTimerGrain);
  if (waiting_for_ && *waiting_for_ <= wakes) return;
  waiting_for_ = wakes;
  send_timer_.expires_at(context_.start + wakes);
  send_timer_.async_wait([this](error_code ec) {
    if (ec || finished_) return;
    waiting_for_.reset();
    pump();
  });
}

Result<LoadRun::Prepared> LoadRun::prepare(std::size_t index) {
  auto request = workload_.request(index);
  if (!request) return std::unexpected(request.error());
  auto body = body_.build(*request);
  if (!body) return std::unexpected(body.error());
  return Prepared{index, std::move(*request), std::move(*body)};
}

// Builds the next request while there is time, so that its own building does not make it late.
void LoadRun::prepare_ahead() {
  const auto index = queue_.upcoming();
  if (!index || (ahead_ && ahead_->index == *index)) return;
  auto prepared = prepare(*index);
  if (prepared) {
    ahead_ = std::move(*prepared);
  } else {
    give_up(std::move(prepared.error()));
  }
}

void LoadRun::launch(const SendQueue::Next& next) {
  auto prepared = ahead_ && ahead_->index == next.index ? Result<Prepared>(std::move(*ahead_))
                                                        : prepare(next.index);
  if (!prepared) {
    queue_.ended(next.index, now());
    give_up(std::move(prepared.error()));
    return;
  }
  if (ahead_ && ahead_->index <= next.index) ahead_.reset();
  const WorkloadRequest& asked = prepared->request;
  const auto flight = flights_.emplace(flights_.end());
  RequestRecord& record = flight->record;
  record.index = next.index;
  record.asked_tokens = asked.max_tokens;
  record.built_tokens = record.prompt_tokens = asked.prompt_tokens;
  record.model = asked.model.empty() ? target_.model : asked.model;
  record.priority = asked.priority;
  record.session = asked.session;
  record.streamed = options_.stream;
  flight->keep_text = options_.keep_text || asked.session >= 0;
  flight->leave_after_tokens = asked.leave_after_tokens;
  http::ClientRequest& request = flight->request;
  request.method = "POST";
  request.target = path_;
  request.fields.reserve(target_.fields.size() + 1);
  request.fields.emplace_back("content-type", "application/json");
  request.fields.insert(request.fields.end(), target_.fields.begin(), target_.fields.end());
  request.body = std::move(prepared->body);
  if (queue_.open_loop()) record.scheduled = next.due;
  ++progress_.running;
  asio::co_spawn(io_, fly(&context_, &*flight),
                 asio::bind_cancellation_slot(flight->signal.slot(),
                                              [this, flight](const std::exception_ptr& failure) {
                                                landed(flight, failure);
                                              }));
}

void LoadRun::landed(Flights::iterator flight, const std::exception_ptr& failure) {
  RequestRecord& record = flight->record;
  if (failure) {
    log(LogLevel::kError, "a request of the load generator failed within it");
    record.ended = now();
    record.reason = "failed in the load generator";
  }
  if (record.scheduled == RequestRecord::kNever) record.scheduled = record.sent;
  if (flight->cancel_at) late_.erase({*flight->cancel_at, &*flight});
  if (record.session >= 0) {
    workload_.answered(record.index, record.text);
    if (!options_.keep_text) record.text = {};
  }
  count_end(record);
  queue_.ended(record.index, now());
  records_.push_back(std::move(record));
  flights_.erase(flight);
  pump();
}

void LoadRun::count_end(const RequestRecord& record) {
  --progress_.running;
  if (record.completed()) {
    ++progress_.completed;
    if (!record.streamed) {
      progress_.output_tokens += record.output_tokens;
    } else if (record.output_tokens > 1) {
      progress_.tpot_ms.push_back(to_ms(record.last_token - record.first_token) /
                                  (record.output_tokens - 1));
    }
  } else if (record.outcome != Outcome::kLeft && record.outcome != Outcome::kUnfinished) {
    ++progress_.failed;
  }
}

void LoadRun::give_up(Error error) {
  if (!error_) error_ = std::move(error);
  stop();
}

void LoadRun::stop() {
  if (finished_) return;
  stopped_ = true;
  queue_.stop();
  for (Flight& flight : flights_) cancel(flight, Flight::Cancel::kStopped);
  pump_later();
}

void LoadRun::cancel(Flight& flight, Flight::Cancel why) {
  if (flight.cancelled != Flight::Cancel::kNone) return;
  flight.cancelled = why;
  flight.signal.emit(asio::cancellation_type::terminal);
}

void LoadRun::cancel_later(Flight& flight, Flight::Cancel why, Duration delay) {
  if (flight.cancel_at) late_.erase({*flight.cancel_at, &flight});
  flight.cancel_at = Clock::now() + delay;
  flight.cancel_later_as = why;
  late_.emplace(*flight.cancel_at, &flight);
}

void LoadRun::cancel_late_ones(TimePoint now) {
  while (!late_.empty() && late_.begin()->first <= now) {
    Flight& flight = *late_.begin()->second;
    late_.erase(late_.begin());
    flight.cancel_at.reset();
    cancel(flight, flight.cancel_later_as);
  }
}

void LoadRun::tick() {
  const TimePoint now = Clock::now();
  worst_lag_ = std::max(worst_lag_, now - tick_at_);
  cancel_late_ones(now);
  if (++ticks_ % kTicksPerReport == 0) report_progress();
  finish_if_over();
  if (finished_) return;
  tick_at_ = std::max(tick_at_ + kTick, now);
  ticker_.expires_at(tick_at_);
  ticker_.async_wait([this](error_code ec) {
    if (!ec && !finished_) tick();
  });
}

void LoadRun::report_progress() {
  progress_.now = now();
  progress_.offered = queue_.taken();
  RunProgress shown = progress_;
  progress_.ttft_ms.clear();
  progress_.tpot_ms.clear();
  if (on_progress_) on_progress_(std::move(shown));
}

void LoadRun::finish_if_over() {
  if (finished_ || !flights_.empty() || !queue_.exhausted(now())) return;
  finished_ = true;
  report_progress();
  send_timer_.cancel();
  ticker_.cancel();
  client_.reset();
  io_.stop();
}

}  // namespace baton::orchestrator::bench
