#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.h"
#include "kv_transfer/copy_plan.h"
#include "kv_transfer/cuda/copy_table.h"
#include "kv_transfer/cuda/kernels.h"
#include "kv_transfer/cuda/primary_context.h"

namespace baton::kv::cuda {

// Copies runs within the memory of one GPU: packs paged KV into contiguous staging and unpacks it
// (through_staging()), cuts heads out or brings them together, and turns NHD into HND and back
// (plan_copy() between two layouts). Owned by who moves KV; one thread uses it at a time. Has a
// stream of its own in the device's primary context, which it shares with the engine. Promises: a
// copy that begin() refused touches nothing any more, unless the error says that waiting for it
// failed too; the destructor waits for what is under way.
class Copier {
 public:
  struct Options {
    int device = 0;                 // CUDA's ordinal
    std::uint32_t most_blocks = 0;  // of a launch; 0: as many as the device runs at once
    std::string_view kernels = copy_kernels();  // the module's image
  };
  // Copies end in the order of their tickets.
  using Ticket = std::uint64_t;

  // Errors: kUnsupported (no kernels in this build, no GPU, one that they do not run on),
  // kInvalidArgument (no such device), kUnavailable (the driver's).
  [[nodiscard]] static Result<std::unique_ptr<Copier>> open(const DriverTable& driver,
                                                            const Options& options);
  ~Copier();
  Copier(const Copier&) = delete;
  Copier& operator=(const Copier&) = delete;

  // Starts a copy behind what `after` marks (nullptr: at once) and returns; with kMostUnderWay
  // copies under way it waits for the oldest. Runs, regions and `after` are not needed any more
  // when it returns; the memory is, until the copy is done. Errors: those of copy_table(), the
  // driver's.
  [[nodiscard]] Result<Ticket> begin(std::span<const CopyRun> runs, std::span<const Region> sources,
                                     std::span<const Region> targets, Event after = nullptr);
  // Whether a copy has ended; does not block.
  [[nodiscard]] Result<bool> is_done(Ticket ticket);
  // Blocks the thread until it has.
  [[nodiscard]] Result<void> wait(Ticket ticket);
  // What is given to `stream` from now on begins after the copy; does not block.
  [[nodiscard]] Result<void> hold(Stream stream, Ticket ticket);

  [[nodiscard]] Context context() const { return context_->handle(); }
  [[nodiscard]] const std::string& device_name() const { return device_name_; }

  static constexpr std::size_t kMostUnderWay = 32;

 private:
  // Where a copy's table lies, on both sides, until it has ended.
  struct Slot {
    void* pinned = nullptr;
    DeviceAddress table = 0;
    std::size_t bytes = 0;
    Event done = nullptr;
    Ticket ticket = 0;
  };
  class Current;  // makes the context current while it lives

  Copier(std::shared_ptr<const PrimaryContext> context, const Options& options)
      : context_(std::move(context)), driver_(context_->driver()), options_(options) {}
  [[nodiscard]] Result<void> describe_device();
  [[nodiscard]] Result<void> load();
  [[nodiscard]] Result<void> check(std::string_view doing, Status status) const;
  [[nodiscard]] Result<std::unique_ptr<Slot>> take_slot(std::size_t bytes);
  [[nodiscard]] Result<void> resize(Slot& slot, std::size_t bytes);
  [[nodiscard]] Result<void> enqueue(const Slot& slot, const CopyTable& table, Event after);
  [[nodiscard]] Result<void> launch(const CopyBatch& batch, DeviceAddress table);
  [[nodiscard]] Result<void> retire();
  void retire_through(Ticket ticket);
  [[nodiscard]] const Slot* find(Ticket ticket) const;
  void release(Slot& slot);

  const std::shared_ptr<const PrimaryContext> context_;
  const DriverTable& driver_;  // the context's
  const Options options_;
  std::string device_name_;
  Module module_ = nullptr;
  struct Kernel {
    std::uint32_t width = 0;
    Function function = nullptr;
  };
  std::vector<Kernel> kernels_;
  std::uint32_t most_blocks_ = 1;
  Stream stream_ = nullptr;
  Ticket last_ = 0;
  std::deque<std::unique_ptr<Slot>> under_way_;  // by ticket
  std::vector<std::unique_ptr<Slot>> free_;
  std::vector<std::unique_ptr<Slot>> lost_;  // the driver may still read these
};

}  // namespace baton::kv::cuda
