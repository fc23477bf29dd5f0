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

}  // namespace baton::kv::cuda
