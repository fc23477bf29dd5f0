#pragma once

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <stop_token>
#include <thread>
#include <vector>

#include "core/error.h"
#include "kv_transfer/loop.h"
#include "kv_transfer/nccl/nccl_communicator.h"
#include "kv_transfer/nccl/nccl_context.h"
#include "kv_transfer/nccl/nccl_library.h"
#include "kv_transfer/nccl/nccl_staging.h"
#include "kv_transfer/nccl/patience.h"

namespace baton::kv {

// One end of the way that the blocks of one pair of ranks take: a communicator, its staging, and a
// thread that makes every call of NCCL and CUDA, since those may block. Methods are called on the
// kv thread and return at once; callbacks run there in a later turn. begin_…() and close() are
// called once, close() last. Promises: `done` of every send and receive runs exactly once; a
// channel that failed stays failed, and answers what it is given with the error. It keeps itself
// alive until it is closed.
class NcclChannel : public std::enable_shared_from_this<NcclChannel> {
 public:
  using Done = std::function<void(Result<void>)>;
  using IdMade = std::function<void(nccl::UniqueId)>;

  NcclChannel(Loop loop, std::shared_ptr<const NcclContext> context);

  // Rank 0, which draws the id that the other joins by. A callback that is due when the channel
  // is closed may not run.
  void begin_as_owner(IdMade id_made, Done joined);
  // Rank 1.
  void begin_as_reader(const nccl::UniqueId& id, Done joined);

  // The bytes of all the places, at least one, one place behind the other. They are not touched any
  // more when `done` runs. The peer does the opposite with places of as many bytes in all.
  void send(std::vector<std::span<const std::byte>> from, Done done);
  void receive(std::vector<std::span<std::byte>> into, Done done);

  // Takes the places away from what is under way, which is reported as failed (`reason`), and
  // aborts it.
  // `closed` runs when nothing of it is left, or when NCCL does not return in time; what it has
  // then is lost.
  void close(const Error& reason, std::function<void()> closed);

 private:
  struct Job {
    std::optional<Scattered<const std::byte>> from;
    std::optional<Scattered<std::byte>> into;
    std::size_t to_post = 0;    // bytes not yet put on the stream
    std::size_t to_finish = 0;  // bytes not yet through
    Done done;                  // null: reported
  };
  struct Chunk {
    Job* job = nullptr;
    std::size_t bytes = 0;
    const NcclStaging::Half* half = nullptr;
  };

  void begin(std::optional<nccl::UniqueId> id);
  void add(Job job);
  // On the thread, and on the kv thread to close it.
  void fail_jobs(const Error& error);
  void report(Done& done, Result<void> result);

  // On the thread.
  void run(const std::stop_token& stop, std::optional<nccl::UniqueId> id);
  // Returns only with an error, when the communicator has been aborted.
  [[nodiscard]] Error work(const std::stop_token& stop, std::optional<nccl::UniqueId> id,
                           NcclStaging& staging);
  [[nodiscard]] Error exchange(const std::stop_token& stop, NcclCommunicator& communicator,
                               NcclStaging& staging, Patience& patience);
  void take_jobs();
  // False: it is to stop.
  [[nodiscard]] bool wait_for_jobs(const std::stop_token& stop);
  [[nodiscard]] Result<void> post_chunk(NcclCommunicator& communicator, NcclStaging& staging);
  [[nodiscard]] Result<void> finish_oldest(const NcclCommunicator& communicator,
                                           const NcclStaging& staging, Patience& patience);

  // On the kv thread.
  void ended();

  const Loop loop_;
  const std::shared_ptr<const NcclContext> context_;
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_;
  boost::asio::steady_timer timer_;
  IdMade id_made_;  // until the thread has it
  Done joined_;     // likewise
  std::function<void()> closed_;
  std::jthread thread_;

  std::mutex inbox_mutex_;
  std::condition_variable_any wake_;
  std::deque<std::unique_ptr<Job>> inbox_;

  // Held while bytes are copied from or into places, so that close() can take them away.
  std::mutex places_mutex_;
  bool places_gone_ = false;
  std::deque<std::unique_ptr<Job>> jobs_;  // not finished yet, in order; changed on the thread

  // Of the thread.
  std::size_t posting_ = 0;      // the first of jobs_ that is not wholly on the stream
  std::deque<Chunk> under_way_;  // on the stream, at most one for each half
  std::size_t next_half_ = 0;
};

}  // namespace baton::kv
