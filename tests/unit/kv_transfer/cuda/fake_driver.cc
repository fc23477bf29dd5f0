#include "tests/unit/kv_transfer/cuda/fake_driver.h"

namespace baton::kv::cuda {

DriverTable FakeDriver::table() {
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
  table.set_context = [](Context context) -> Status {
    BATON_FAKE_ENTER("set_context", false)
    if (!current->stack_.empty()) current->stack_.pop_back();
    if (context != nullptr) current->stack_.push_back(context);
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
  table.query_stream = [](Stream stream) -> Status {
    BATON_FAKE_ENTER("query_stream")
    return current->streams_.at(key(stream)).empty() ? kSuccess : kNotReady;
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
