#include "orchestrator/bench/generator/runner.h"

#include <atomic>
#include <boost/asio/post.hpp>
#include <string>
#include <utility>

#include "orchestrator/bench/generator/load_run.h"

namespace baton::orchestrator::bench {

struct Runner::Impl {
  // Shared with stop()'s calls on the way to the run's thread, which may come after the run.
  struct Control {
    std::atomic<bool> stopped = false;
    LoadRun* run = nullptr;  // on the run's thread
  };

  boost::asio::io_context& io;
  Target target;
  RunOptions options;
  Progress progress;
  std::shared_ptr<Control> control = std::make_shared<Control>();
};

Runner::Runner(boost::asio::io_context& io, Target target, RunOptions options)
    : impl_(new Impl{io, std::move(target), std::move(options), {}}) {}

Runner::~Runner() = default;

void Runner::on_progress(Progress progress) { impl_->progress = std::move(progress); }

Result<RunResult> Runner::run(Workload& workload) {
  Impl& self = *impl_;
  if (self.options.schedule.empty() && self.options.concurrency <= 0) {
    return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
                "a closed loop needs a concurrency of at least 1");
  }
  const std::size_t room = room_for_connections();
  if (self.options.concurrency > 0 && static_cast<std::size_t>(self.options.concurrency) > room) {
    return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
                "the limit on open files allows " + std::to_string(room) + " connections, not " +
                    std::to_string(self.options.concurrency) + "; raise it (ulimit -n)");
  }
  auto body = OpenAiBody::create(self.target, self.options);
  if (!body) return std::unexpected(body.error());
  LoadRun run(self.io, self.target, self.options, std::move(*body), workload, self.progress);
  if (self.control->stopped) run.stop();
  self.control->run = &run;
  Result<RunResult> result = run.run();
  self.control->run = nullptr;
  return result;
}

void Runner::stop() {
  impl_->control->stopped = true;
  boost::asio::post(impl_->io, [control = impl_->control] {
    if (control->run != nullptr) control->run->stop();
  });
}

}  // namespace baton::orchestrator::bench
