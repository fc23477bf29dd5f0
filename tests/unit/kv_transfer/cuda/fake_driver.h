#pragma once

#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <new>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "kv_transfer/cuda/driver.h"
#include "kv_transfer/cuda/strided_copy.h"

namespace baton::kv::cuda {

// A driver with one or more GPUs that are this CPU. What streams are given waits until somebody
// synchronizes, or run() is called: then uploads read their memory and launches run the kernels'
// own code, thread by thread. It sees what a driver would not tell: what is not given back, given
// back while in use, or called without a context. One at a time, on one thread.
class FakeDriver {
 public:
  static constexpr Status kBroken = 999;
  static constexpr Status kInvalidContext = 201;
  static constexpr std::string_view kKernels = "the image of the kernels";

  FakeDriver() { current = this; }
  ~FakeDriver() {
    EXPECT_EQ(contexts_, 0) << "a context was not released";
    EXPECT_TRUE(stack_.empty()) << "a context is still current";
    for (const auto& [handle, what] : live_) ADD_FAILURE() << what << " was not given back";
    current = nullptr;
  }
  FakeDriver(const FakeDriver&) = delete;
  FakeDriver& operator=(const FakeDriver&) = delete;

  [[nodiscard]] static DriverTable table();
  [[nodiscard]] static FakeDriver& current_one() { return *current; }

  // The `nth` call from now on, of this function where one is named, fails; so do all after it with
  // `and_on`. Giving back still counts.
  void fail(int nth, std::string function = "", bool and_on = false) {
    fail_in_ = nth;
    failing_ = std::move(function);
    and_on_ = and_on;
  }
  [[nodiscard]] bool has_failed() const { return failed_; }
  [[nodiscard]] const std::string& failed_call() const { return failed_call_; }

  // What was not given back is gone with a context that is lost.
  void lose_context() {
    for (const auto& [handle, what] : live_) {
      ::operator delete(const_cast<void*>(handle), std::align_val_t{256});
    }
    live_.clear();
    streams_.clear();
  }

  // Runs what streams were given, until all wait for events that nobody records.
  void run() {
    for (bool moved = true; moved;) {
      moved = false;
      for (auto& [handle, stream] : streams_) moved |= advance(stream);
    }
  }
  void run_only(Stream stream) { (void)advance(streams_.at(key(stream))); }
  void run_all_but(Stream stream) {
    for (auto& [handle, operations] : streams_) {
      if (handle != key(stream)) (void)advance(operations);
    }
  }

  int devices = 1;
  Status start_status = kSuccess;
  std::vector<std::string> calls;
  struct Launch {
    std::string kernel;
    unsigned blocks = 0;
    CopyLaunch argument;
  };
  std::vector<Launch> launches;  // that have run

 private:
  struct Operation {
    std::function<bool()> run;  // false: it cannot yet
    std::set<const void*> uses;
  };
  using Operations = std::deque<Operation>;
  struct Mark {
    int recorded = 0;
    int reached = 0;
  };
  struct Kernel {
    std::string name;
    void (*run)(const CopyLaunch&, std::uint64_t, std::uint64_t) = nullptr;
  };
  template <class T>
  static const void* key(T handle) {
    return reinterpret_cast<const void*>(handle);
  }

  static bool advance(Operations& stream) {
    bool moved = false;
    while (!stream.empty() && stream.front().run()) {
      stream.pop_front();
      moved = true;
    }
    return moved;
  }

  // What every call begins with; nullopt: it goes on.
  static std::optional<Status> enter(const std::string& function, bool needs_context = true) {
    FakeDriver& fake = *current;
    fake.calls.push_back(function);
    const bool counts = fake.failing_.empty() || fake.failing_ == function;
    if (fake.failed_ && fake.and_on_) return kBroken;
    if (counts && fake.fail_in_ > 0 && --fake.fail_in_ == 0) {
      fake.failed_ = true;
      fake.failed_call_ = function;
      return kBroken;
    }
    if (needs_context && fake.stack_.empty()) {
      ADD_FAILURE() << function << " was called without a context";
      return kInvalidContext;
    }
    return std::nullopt;
  }
  template <class Handle>
  static void keep(Handle handle, std::string what) {
    current->live_[key(handle)] = std::move(what);
  }
  template <class Handle>
  static void give_back(Handle handle) {
    EXPECT_EQ(current->live_.erase(key(handle)), 1U) << "given back what was not taken";
    for (const auto& [stream, operations] : current->streams_) {
      for (const Operation& operation : operations) {
        EXPECT_FALSE(operation.uses.contains(key(handle))) << "given back while in use";
      }
    }
  }
  // A new handle, of memory that is aligned as the driver's.
  static void* make(std::size_t bytes, std::string what) {
    void* memory = ::operator new(bytes, std::align_val_t{256});
    std::memset(memory, 0xEE, bytes);
    keep(memory, std::move(what));
    return memory;
  }
  static void destroy(void* memory) {
    give_back(memory);
    ::operator delete(memory, std::align_val_t{256});
  }
  template <class Unit>
  static void run_kernel(const CopyLaunch& launch, std::uint64_t thread, std::uint64_t threads) {
    copy_as_thread<Unit>(launch, thread, threads);
  }
  static void queue(Stream stream, std::set<const void*> uses, std::function<bool()> run) {
    current->streams_.at(key(stream)).push_back({std::move(run), std::move(uses)});
  }
  static Status upload(void* target, const void* source, std::size_t bytes, Stream stream) {
    queue(stream, {target, source}, [=] {
      std::memcpy(target, source, bytes);
      return true;
    });
    return kSuccess;
  }
  static Status start_launch(const Kernel& kernel, unsigned blocks, unsigned threads, Stream stream,
                             void** arguments) {
    const CopyLaunch argument = *static_cast<const CopyLaunch*>(arguments[0]);
    queue(stream, {current->allocation_of(argument.entries)}, [=, &kernel] {
      const std::uint64_t all = std::uint64_t{blocks} * threads;
      for (std::uint64_t thread = 0; thread < all; ++thread) kernel.run(argument, thread, all);
      current->launches.push_back({kernel.name, blocks, argument});
      return true;
    });
    return kSuccess;
  }
  // The allocation that an address is in.
  const void* allocation_of(const void* address) const {
    auto it = live_.upper_bound(address);
    return it == live_.begin() ? nullptr : std::prev(it)->first;
  }

  static inline FakeDriver* current = nullptr;

  int fail_in_ = 0;
  std::string failing_;
  bool and_on_ = false;
  bool failed_ = false;
  std::string failed_call_;
  int contexts_ = 0;
  std::vector<Context> stack_;
  std::map<const void*, std::string> live_;
  std::map<const void*, Operations> streams_;
  std::map<const void*, Mark> marks_;
  std::vector<std::unique_ptr<Kernel>> kernels_;
};

inline DriverTable FakeDriver::table() {
  DriverTable table;
#define BATON_FAKE_ENTER(...) \
  if (const auto failed = enter(__VA_ARGS__)) return *failed;
  table.init = [](unsigned) -> Status {
    BATON_FAKE_ENTER("init", false)
    return current->start_status;
  };
  table.get_version = [](int* version) -> Status {
    BATON_FAKE_ENTER("get_version", false)
    *version = 12040;
    return kSuccess;
  };
  table.get_error_name = [](Status status, const char** name) -> Status {
    *name = status == kBroken ? "CUDA_ERROR_UNKNOWN" : nullptr;
    return *name != nullptr ? kSuccess : 1;
  };
  table.get_error_text = [](Status status, const char** text) -> Status {
    *text = status == kBroken ? "unknown error" : nullptr;
    return *text != nullptr ? kSuccess : 1;
  };
  table.count_devices = [](int* count) -> Status {
    BATON_FAKE_ENTER("count_devices", false)
    *count = current->devices;
    return kSuccess;
  };
  table.get_device = [](Device* device, int ordinal) -> Status {
    BATON_FAKE_ENTER("get_device", false)
    *device = ordinal;
    return kSuccess;
  };
  table.get_device_name = [](char* name, int size, Device) -> Status {
    BATON_FAKE_ENTER("get_device_name", false)
    std::strncpy(name, "Fake GPU", static_cast<std::size_t>(size));
    return kSuccess;
  };
  table.get_attribute = [](int* value, int attribute, Device) -> Status {
    BATON_FAKE_ENTER("get_attribute", false)
    *value = attribute == kMultiprocessors ? 2 : attribute == kCapabilityMajor ? 7 : 5;
    return kSuccess;
  };
  table.retain_context = [](Context* context, Device) -> Status {
    BATON_FAKE_ENTER("retain_context", false)
    ++current->contexts_;
    *context = reinterpret_cast<Context>(current);
    return kSuccess;
  };
  table.release_context = [](Device) -> Status {
    --current->contexts_;
    BATON_FAKE_ENTER("release_context", false)
    return kSuccess;
  };
  table.push_context = [](Context context) -> Status {
    BATON_FAKE_ENTER("push_context", false)
    EXPECT_EQ(context, reinterpret_cast<Context>(current));
    current->stack_.push_back(context);
    return kSuccess;
  };
  table.pop_context = [](Context* context) -> Status {
    if (current->stack_.empty()) return kInvalidContext;
    *context = current->stack_.back();
    current->stack_.pop_back();
    BATON_FAKE_ENTER("pop_context", false)
    return kSuccess;
  };
  table.load_module = [](Module* module, const void* image) -> Status {
    BATON_FAKE_ENTER("load_module")
    EXPECT_EQ(std::string_view(static_cast<const char*>(image), kKernels.size()), kKernels);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(image) % 8, 0U);
    *module = static_cast<Module>(make(1, "a module"));
    return kSuccess;
  };
  table.unload_module = [](Module module) -> Status {
    destroy(module);
    BATON_FAKE_ENTER("unload_module")
    return kSuccess;
  };
  table.get_function = [](Function* function, Module, const char* name) -> Status {
    BATON_FAKE_ENTER("get_function")
    const auto known = std::string(name);
#define BATON_FAKE_KERNEL(bytes, unit, symbol)                                       \
  if (known == #symbol) {                                                            \
    current->kernels_.push_back(std::make_unique<Kernel>(known, &run_kernel<unit>)); \
    *function = reinterpret_cast<Function>(current->kernels_.back().get());          \
    return kSuccess;                                                                 \
  }
    BATON_COPY_KERNELS(BATON_FAKE_KERNEL)
#undef BATON_FAKE_KERNEL
    return 500;
  };
  table.create_stream = [](Stream* stream, unsigned flags) -> Status {
    BATON_FAKE_ENTER("create_stream")
    EXPECT_EQ(flags, kStreamNonBlocking);
    *stream = static_cast<Stream>(make(1, "a stream"));
    current->streams_[key(*stream)];
    return kSuccess;
  };
  table.destroy_stream = [](Stream stream) -> Status {
    current->streams_.erase(key(stream));
    destroy(stream);
    BATON_FAKE_ENTER("destroy_stream")
    return kSuccess;
  };
  table.synchronize_stream = [](Stream stream) -> Status {
    current->run();
    BATON_FAKE_ENTER("synchronize_stream")
    EXPECT_TRUE(current->streams_.at(key(stream)).empty()) << "it would wait for ever";
    return kSuccess;
  };
  table.stream_wait_event = [](Stream stream, Event event, unsigned) -> Status {
    BATON_FAKE_ENTER("stream_wait_event")
    const int wanted = current->marks_.at(key(event)).recorded;
    queue(stream, {event},
          [event, wanted] { return current->marks_.at(key(event)).reached >= wanted; });
    return kSuccess;
  };
  table.create_event = [](Event* event, unsigned flags) -> Status {
    BATON_FAKE_ENTER("create_event")
    EXPECT_EQ(flags, kEventDisableTiming);
    *event = static_cast<Event>(make(1, "an event"));
    current->marks_[key(*event)];
    return kSuccess;
  };
  table.destroy_event = [](Event event) -> Status {
    destroy(event);
    current->marks_.erase(key(event));
    BATON_FAKE_ENTER("destroy_event")
    return kSuccess;
  };
  table.record_event = [](Event event, Stream stream) -> Status {
    BATON_FAKE_ENTER("record_event")
    const int number = ++current->marks_.at(key(event)).recorded;
    queue(stream, {event}, [event, number] {
      current->marks_.at(key(event)).reached = number;
      return true;
    });
    return kSuccess;
  };
  table.query_event = [](Event event) -> Status {
    BATON_FAKE_ENTER("query_event")
    const Mark& mark = current->marks_.at(key(event));
    return mark.reached == mark.recorded ? kSuccess : kNotReady;
  };
  table.synchronize_event = [](Event event) -> Status {
    BATON_FAKE_ENTER("synchronize_event")
    current->run();
    const Mark& mark = current->marks_.at(key(event));
    EXPECT_EQ(mark.reached, mark.recorded) << "it would wait for ever";
    return kSuccess;
  };
  table.allocate = [](DeviceAddress* address, std::size_t bytes) -> Status {
    BATON_FAKE_ENTER("allocate")
    *address = reinterpret_cast<DeviceAddress>(make(bytes, "memory of the device"));
    return kSuccess;
  };
  table.release = [](DeviceAddress address) -> Status {
    destroy(reinterpret_cast<void*>(address));
    BATON_FAKE_ENTER("release")
    return kSuccess;
  };
  table.allocate_pinned = [](void** memory, std::size_t bytes) -> Status {
    BATON_FAKE_ENTER("allocate_pinned")
    *memory = make(bytes, "pinned memory");
    return kSuccess;
  };
  table.release_pinned = [](void* memory) -> Status {
    destroy(memory);
    BATON_FAKE_ENTER("release_pinned")
    return kSuccess;
  };
  table.upload = [](DeviceAddress target, const void* source, std::size_t bytes,
                    Stream stream) -> Status {
    BATON_FAKE_ENTER("upload")
    return upload(reinterpret_cast<void*>(target), source, bytes, stream);
  };
  table.download = [](void* target, DeviceAddress source, std::size_t bytes,
                      Stream stream) -> Status {
    BATON_FAKE_ENTER("download")
    return upload(target, reinterpret_cast<const void*>(source), bytes, stream);
  };
  table.launch = [](Function function, unsigned blocks, unsigned blocks_y, unsigned blocks_z,
                    unsigned threads, unsigned threads_y, unsigned threads_z, unsigned shared_bytes,
                    Stream stream, void** arguments, void** extra) -> Status {
    BATON_FAKE_ENTER("launch")
    EXPECT_EQ(std::tuple(blocks_y, blocks_z, threads_y, threads_z, shared_bytes),
              std::tuple(1U, 1U, 1U, 1U, 0U));
    EXPECT_EQ(threads, kThreadsPerBlock);
    EXPECT_EQ(extra, nullptr);
    EXPECT_GT(blocks, 0U);
    return start_launch(*reinterpret_cast<const Kernel*>(function), blocks, threads, stream,
                        arguments);
  };
#undef BATON_FAKE_ENTER
  return table;
}

}  // namespace baton::kv::cuda
