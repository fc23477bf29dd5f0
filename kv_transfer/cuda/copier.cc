#include "kv_transfer/cuda/copier.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <utility>

namespace baton::kv::cuda {
namespace {

// As many as 48 registers a thread let a multiprocessor run at once.
constexpr std::uint32_t kBlocksPerMultiprocessor = 5;
constexpr std::size_t kLeastTableBytes = 64 * sizeof(CopyEntry);

}  // namespace

class Copier::Current {
 public:
  explicit Current(const Copier& copier)
      : driver_(copier.driver_),
        pushed_(copier.check("making the context current",
                             copier.driver_.push_context(copier.context()))) {}
  ~Current() {
    Context popped = nullptr;
    if (pushed_) (void)driver_.pop_context(&popped);
  }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;

  [[nodiscard]] const Result<void>& result() const { return pushed_; }

 private:
  const DriverTable& driver_;
  const Result<void> pushed_;
};

Result<void> Copier::check(std::string_view doing, Status status) const {
  return cuda::check(driver_, doing, status);
}

Result<std::unique_ptr<Copier>> Copier::open(const DriverTable& driver, const Options& options) {
  if (options.kernels.empty()) {
    return fail(ErrorCode::kUnsupported, Stage::kConfig,
                "cuda: this build has no kernels. Configure it with -DBATON_CUDA=ON, or leave KV "
                "in memory of the host");
  }
  auto context = PrimaryContext::open(driver, options.device);
  if (!context) return std::unexpected(context.error());
  std::unique_ptr<Copier> copier(new Copier(*std::move(context), options));
  if (auto described = copier->describe_device(); !described) {
    return std::unexpected(described.error());
  }
  if (auto loaded = copier->load(); !loaded) return std::unexpected(loaded.error());
  return copier;
}

Result<void> Copier::describe_device() {
  std::array<char, 256> name{};
  if (auto good = check("asking for a GPU's name",
                        driver_.get_device_name(name.data(), static_cast<int>(name.size()) - 1,
                                                context_->device()));
      !good) {
    return good;
  }
  device_name_ = name.data();
  int multiprocessors = 1;
  if (auto good =
          check("asking for a GPU's size",
                driver_.get_attribute(&multiprocessors, kMultiprocessors, context_->device()));
      !good) {
    return good;
  }
  const auto filling =
      static_cast<std::uint32_t>(std::max(multiprocessors, 1)) * kBlocksPerMultiprocessor;
  most_blocks_ = options_.most_blocks == 0 ? filling : std::min(options_.most_blocks, filling);
  return {};
}

Result<void> Copier::load() {
  const Current current(*this);
  if (!current.result()) return current.result();
  // A fatbin lies at a multiple of 8; bytes in the binary might not.
  const std::vector<std::uint64_t> image = [kernels = options_.kernels] {
    std::vector<std::uint64_t> words((kernels.size() + 7) / 8);
    std::memcpy(words.data(), kernels.data(), kernels.size());
    return words;
  }();
  if (const Status status = driver_.load_module(&module_, image.data()); status != kSuccess) {
    module_ = nullptr;
    int major = 0;
    int minor = 0;
    int version = 0;
    (void)driver_.get_attribute(&major, kCapabilityMajor, context_->device());
    (void)driver_.get_attribute(&minor, kCapabilityMinor, context_->device());
    (void)driver_.get_version(&version);
    Error error = driver_failure(driver_, "loading the kernels", status);
    error.code = ErrorCode::kUnsupported;
    error.message += fmt::format(
        " on device {} ({}, compute capability {}.{}, a driver for CUDA {}.{}). They are made for "
        "compute capability 8.x, 9.0 and 10.0 on, and want a driver for CUDA 13 (580 or later)",
        options_.device, device_name_, major, minor, version / 1000, version % 1000 / 10);
    return std::unexpected(std::move(error));
  }
#define BATON_FIND_KERNEL(bytes, unit, name)                                       \
  {                                                                                \
    Kernel kernel{bytes, nullptr};                                                 \
    if (auto good = check("finding the kernel " #name,                             \
                          driver_.get_function(&kernel.function, module_, #name)); \
        !good) {                                                                   \
      return good;                                                                 \
    }                                                                              \
    kernels_.push_back(kernel);                                                    \
  }
  BATON_COPY_KERNELS(BATON_FIND_KERNEL)
#undef BATON_FIND_KERNEL
  return check("creating a stream", driver_.create_stream(&stream_, kStreamNonBlocking));
}

Copier::~Copier() {
  const Current current(*this);
  if (!current.result()) return;  // a context that is lost takes all that is its own with it
  if (stream_ != nullptr) {
    (void)driver_.synchronize_stream(stream_);
    (void)driver_.destroy_stream(stream_);
  }
  for (const auto& slot : under_way_) release(*slot);
  for (const auto& slot : free_) release(*slot);
  for (const auto& slot : lost_) release(*slot);
  if (module_ != nullptr) (void)driver_.unload_module(module_);
}

Result<Copier::Ticket> Copier::begin(std::span<const CopyRun> runs, std::span<const Region> sources,
                                     std::span<const Region> targets, Event after) {
  const auto table = copy_table(runs, sources, targets);
  if (!table) return std::unexpected(table.error());
  const Current current(*this);
  if (!current.result()) return std::unexpected(current.result().error());
  auto slot = take_slot(table->entries.size() * sizeof(CopyEntry));
  if (!slot) return std::unexpected(slot.error());
  if (!table->entries.empty()) {
    std::memcpy((*slot)->pinned, table->entries.data(), table->entries.size() * sizeof(CopyEntry));
  }
  auto enqueued = enqueue(**slot, *table, after);
  if (enqueued) {
    (*slot)->ticket = ++last_;
    under_way_.push_back(*std::move(slot));
    return last_;
  }
  // A part of it may be under way: the caller gets its memory back only behind that.
  const auto ended = check("waiting for the rest of it", driver_.synchronize_stream(stream_));
  if (!ended) enqueued.error().message += "; " + ended.error().message;
  (ended ? free_ : lost_).push_back(*std::move(slot));
  return std::unexpected(enqueued.error());
}

Result<void> Copier::enqueue(const Slot& slot, const CopyTable& table, Event after) {
  if (after != nullptr) {
    auto waits = check("waiting for an event", driver_.stream_wait_event(stream_, after, 0));
    if (!waits) return waits;
  }
  if (!table.entries.empty()) {
    auto uploads = check(
        "uploading a table",
        driver_.upload(slot.table, slot.pinned, table.entries.size() * sizeof(CopyEntry), stream_));
    if (!uploads) return uploads;
  }
  for (const CopyBatch& batch : table.batches) {
    if (auto launched = launch(batch, slot.table); !launched) return launched;
  }
  return check("recording an event", driver_.record_event(slot.done, stream_));
}

Result<void> Copier::launch(const CopyBatch& batch, DeviceAddress table) {
  CopyLaunch argument;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): the driver's addresses are numbers
  argument.entries = reinterpret_cast<const CopyEntry*>(table) + batch.first_entry;
  argument.units = batch.units;
  argument.count = batch.entries;
  std::array<void*, 1> arguments{&argument};
  const auto kernel = std::ranges::find(kernels_, batch.width, &Kernel::width);
  return check("launching a copy",
               driver_.launch(kernel->function, blocks_for(batch.units, most_blocks_), 1, 1,
                              kThreadsPerBlock, 1, 1, 0, stream_, arguments.data(), nullptr));
}

Result<std::unique_ptr<Copier::Slot>> Copier::take_slot(std::size_t bytes) {
  if (auto good = retire(); !good) return std::unexpected(good.error());
  if (under_way_.size() >= kMostUnderWay) {
    const Slot& oldest = *under_way_.front();
    if (auto ended = check("waiting for a copy", driver_.synchronize_event(oldest.done)); !ended) {
      return std::unexpected(ended.error());
    }
    retire_through(oldest.ticket);
  }
  if (free_.empty()) free_.push_back(std::make_unique<Slot>());
  if (auto good = resize(*free_.back(), bytes); !good) return std::unexpected(good.error());
  auto slot = std::move(free_.back());
  free_.pop_back();
  return slot;
}

Result<void> Copier::resize(Slot& slot, std::size_t bytes) {
  if (slot.done == nullptr) {
    auto created =
        check("creating an event", driver_.create_event(&slot.done, kEventDisableTiming));
    if (!created) return created;
  }
  if (bytes <= slot.bytes) return {};
  if (slot.pinned != nullptr) (void)driver_.release_pinned(std::exchange(slot.pinned, nullptr));
  if (slot.table != 0) (void)driver_.release(std::exchange(slot.table, 0));
  slot.bytes = 0;
  const std::size_t wanted = std::bit_ceil(std::max(bytes, kLeastTableBytes));
  auto pinned = check(fmt::format("pinning {} bytes for a table", wanted),
                      driver_.allocate_pinned(&slot.pinned, wanted));
  if (!pinned) return pinned;
  auto allocated = check(fmt::format("allocating {} bytes for a table", wanted),
                         driver_.allocate(&slot.table, wanted));
  if (!allocated) return allocated;
  slot.bytes = wanted;
  return {};
}

void Copier::release(Slot& slot) {
  if (slot.pinned != nullptr) (void)driver_.release_pinned(slot.pinned);
  if (slot.table != 0) (void)driver_.release(slot.table);
  if (slot.done != nullptr) (void)driver_.destroy_event(slot.done);
}

Result<void> Copier::retire() {
  while (!under_way_.empty()) {
    const Status status = driver_.query_event(under_way_.front()->done);
    if (status == kNotReady) break;
    if (auto good = check("a copy", status); !good) return good;
    retire_through(under_way_.front()->ticket);
  }
  return {};
}

void Copier::retire_through(Ticket ticket) {
  while (!under_way_.empty() && under_way_.front()->ticket <= ticket) {
    free_.push_back(std::move(under_way_.front()));
    under_way_.pop_front();
  }
}

const Copier::Slot* Copier::find(Ticket ticket) const {
  const auto found = std::ranges::find_if(
      under_way_, [ticket](const auto& slot) { return slot->ticket == ticket; });
  return found == under_way_.end() ? nullptr : found->get();
}

Result<bool> Copier::is_done(Ticket ticket) {
  const Current current(*this);
  if (!current.result()) return std::unexpected(current.result().error());
  if (auto good = retire(); !good) return std::unexpected(good.error());
  return find(ticket) == nullptr;
}

Result<void> Copier::wait(Ticket ticket) {
  const Slot* slot = find(ticket);
  if (slot == nullptr) return {};
  const Current current(*this);
  if (!current.result()) return current.result();
  auto ended = check("a copy", driver_.synchronize_event(slot->done));
  if (ended) retire_through(ticket);
  return ended;
}

Result<void> Copier::hold(Stream stream, Ticket ticket) {
  const Slot* slot = find(ticket);
  if (slot == nullptr) return {};
  const Current current(*this);
  if (!current.result()) return current.result();
  return check("making a stream wait", driver_.stream_wait_event(stream, slot->done, 0));
}

}  // namespace baton::kv::cuda
