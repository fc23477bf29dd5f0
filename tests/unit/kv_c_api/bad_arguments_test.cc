// Whatever a program passes, it gets an error that says what and how to mend it.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <string>

#include "tests/unit/kv_c_api/c_api_fixture.h"

namespace {

class BadArguments : public testing::Test {
 protected:
  BadArguments() : node_(started(node_options("engine"))) {}
  baton_kv_node* node() { return node_.get(); }

  const NodePtr node_;
  const baton_kv_transfer_id transfer_ = drawn_transfer();
};

void expect_start_refused(const baton_kv_node_options& options, const char* text,
                          baton_kv_status status = BATON_KV_INVALID_ARGUMENT) {
  baton_kv_node* node = nullptr;
  EXPECT_REFUSED(baton_kv_node_start(&options, &node), status, text);
  EXPECT_EQ(node, nullptr);
}

TEST(KvCApiStart, EachOptionIsChecked) {
  using Options = baton_kv_node_options;
  const auto with = [](auto change) {
    Options options = node_options("engine");
    change(options);
    return options;
  };
  expect_start_refused(with([](Options& o) { o.engine_id = nullptr; }), "engine_id is null");
  expect_start_refused(with([](Options& o) { o.engine_id = ""; }), "engine_id");
  expect_start_refused(with([](Options& o) { o.engine_id = "two words"; }), "visible ASCII");
  expect_start_refused(with([](Options& o) { o.engine_id = "\xff\xfe"; }), "visible ASCII");
  expect_start_refused(with([](Options& o) { o.slot_bytes = 0; }), "slot_bytes is 0");
  expect_start_refused(with([](Options& o) { o.slot_bytes = ~std::uint64_t{0}; }), "slot_bytes");
  expect_start_refused(with([](Options& o) { o.slots = 0; }), "slots is 0");
  expect_start_refused(with([](Options& o) { o.slots = ~0U; }), "slots is 4294967295");
  expect_start_refused(with([](Options& o) { o.listen = "here"; }), "give host:port");
  expect_start_refused(with([](Options& o) { o.listen = ":1"; }), "give host:port");
  expect_start_refused(with([](Options& o) { o.listen = "127.0.0.1:70000"; }), "give host:port");
  expect_start_refused(with([](Options& o) { o.listen = "127.0.0.1:x"; }), "give host:port");
  expect_start_refused(with([](Options& o) { o.transports = ""; }), "list of transports");
  expect_start_refused(with([](Options& o) { o.transports = "tcp,"; }), "list of transports");
  expect_start_refused(with([](Options& o) { o.transports = "tcp,tcp"; }), "list of transports");
  expect_start_refused(with([](Options& o) { o.transports = "pigeon"; }), "pigeon");
  expect_start_refused(with([](Options& o) { o.transports = "shm tcp"; }), "shm tcp");
  expect_start_refused(with([](Options& o) {
                         o.transports = "tcp";
                         o.require_transport = "shm";
                       }),
                       "shm");
  expect_start_refused(with([](Options& o) { o.tcp_connections = 5; }), "tcp_connections is 5");
  expect_start_refused(with([](Options& o) { o.tls_key = "/nowhere/key.pem"; }),
                       "the certificate is missing");
  expect_start_refused(
      with([](Options& o) { o.tls_certificate = o.tls_key = o.tls_ca = "/nowhere/some.pem"; }),
      "/nowhere/some.pem");
  // As much memory as there is nowhere.
  expect_start_refused(with([](Options& o) {
                         o.slot_bytes = 0xffffffffU;
                         o.slots = 1U << 24;
                       }),
                       "lower the number of KV blocks", BATON_KV_UNAVAILABLE);
  baton_kv_node* node = nullptr;
  EXPECT_REFUSED(baton_kv_node_start(nullptr, &node), BATON_KV_INVALID_ARGUMENT, "null");
  const Options good = node_options("engine");
  EXPECT_REFUSED(baton_kv_node_start(&good, nullptr), BATON_KV_INVALID_ARGUMENT, "node is null");
}

// Where all is there, which tests/gpu tries, one is made; otherwise it is said what is missing.
TEST(KvCApiCopier, SaysWhatIsMissing) {
  auto options = zeroed<baton_kv_copier_options>();
  baton_kv_copier* copier = nullptr;
  EXPECT_REFUSED(baton_kv_copier_create(&options, nullptr), BATON_KV_INVALID_ARGUMENT, "copier");
  const baton_kv_status status = baton_kv_copier_create(nullptr, &copier);
  baton_kv_copier_free(copier);
  if (status == BATON_KV_OK) return;
  EXPECT_EQ(status, BATON_KV_UNSUPPORTED);
  EXPECT_EQ(copier, nullptr);
  const std::string why = baton_kv_last_error();
  EXPECT_TRUE(why.contains("-DBATON_CUDA=ON") || why.contains("install NVIDIA's driver") ||
              why.contains("finds no GPU") || why.contains("compute capability"))
      << why;
  ++options.struct_size;
  EXPECT_REFUSED(baton_kv_copier_create(&options, &copier), BATON_KV_UNSUPPORTED, "newer");
}

TEST(KvCApiStart, APortInUseIsUnavailable) {
  const NodePtr first = started(node_options("engine"));
  auto options = node_options("other");
  ASSERT_OK(baton_kv_node_address(first.get(), &options.listen, nullptr));
  expect_start_refused(options, "port in use", BATON_KV_UNAVAILABLE);
}

TEST(KvCApiVersions, StructsOfOtherHeaders) {
  auto options = node_options("engine");
  options.struct_size = 0;
  expect_start_refused(options, "struct_size is 0: set it to sizeof(baton_kv_node_options)");
  options.struct_size = sizeof options + 8;
  expect_start_refused(options, "newer baton_kv.h", BATON_KV_UNSUPPORTED);
  // An older header ended before the transports: what lies behind is not looked at.
  options.transports = "pigeon";
  options.require_transport = "pigeon";
  options.struct_size = offsetof(baton_kv_node_options, transports);
  const NodePtr node = started(options);

  auto event = zeroed<baton_kv_event>();
  event.struct_size = offsetof(baton_kv_event, block);
  ASSERT_OK(baton_kv_node_stop(node.get()));
  EXPECT_EQ(baton_kv_next_event(node.get(), &event, 0), BATON_KV_STOPPED);
  event.struct_size = sizeof(baton_kv_event) + 1;
  EXPECT_REFUSED(baton_kv_next_event(node.get(), &event, 0), BATON_KV_UNSUPPORTED, "newer");
}

TEST(KvCApiVersions, AnOlderEventIsNotWrittenBeyondItsEnd) {
  const NodePtr node = started(node_options("engine"));
  auto request = zeroed<baton_kv_receive_options>();
  request.peer = "127.0.0.1:1";  // nobody listens there
  request.engine_id = "nobody";
  request.transfer = drawn_transfer();
  request.timeout_ms = 5000;
  std::uint64_t receive = 0;
  ASSERT_OK(baton_kv_receive(node.get(), &request, &receive));
  baton_kv_event event;
  std::memset(&event, 0x5a, sizeof event);
  event.struct_size = offsetof(baton_kv_event, block);
  ASSERT_OK(baton_kv_next_event(node.get(), &event, kLimitMs));
  EXPECT_EQ(event.struct_size, offsetof(baton_kv_event, block));
  EXPECT_EQ(event.kind, BATON_KV_EVENT_RECEIVE_END);
  EXPECT_EQ(event.status, BATON_KV_UNAVAILABLE);
  EXPECT_EQ(event.receive, receive);
  const auto* after = reinterpret_cast<const unsigned char*>(&event) + event.struct_size;
  for (std::size_t i = 0; i < sizeof event - event.struct_size; ++i) ASSERT_EQ(after[i], 0x5a);
}

TEST(KvCApiNull, EveryFunctionRefusesNull) {
  const NodePtr node = started(node_options("engine"));
  const baton_kv_slot slot{};
  const baton_kv_transfer_id id{1, 1};
  const auto bad = BATON_KV_INVALID_ARGUMENT;
  void* address = nullptr;
  baton_kv_slot out{};
  baton_kv_block block{};
  std::uint64_t number = 0;
  auto counts = zeroed<baton_kv_slot_counts>();
  auto event = zeroed<baton_kv_event>();
  int fd = 0;
  EXPECT_REFUSED(baton_kv_node_stop(nullptr), bad, "node is null");
  EXPECT_REFUSED(baton_kv_node_address(nullptr, nullptr, nullptr), bad, "node is null");
  EXPECT_REFUSED(baton_kv_node_metrics(nullptr, nullptr, 0, nullptr), bad, "node is null");
  EXPECT_REFUSED(baton_kv_slot_allocate(nullptr, &out), bad, "node is null");
  EXPECT_REFUSED(baton_kv_slot_free(nullptr, slot), bad, "node is null");
  EXPECT_REFUSED(baton_kv_slot_pin(nullptr, slot), bad, "node is null");
  EXPECT_REFUSED(baton_kv_slot_unpin(nullptr, slot), bad, "node is null");
  EXPECT_REFUSED(baton_kv_slot_address(nullptr, slot, &address), bad, "node is null");
  EXPECT_REFUSED(baton_kv_slot_counts_of(nullptr, &counts), bad, "node is null");
  EXPECT_REFUSED(baton_kv_describe_block(nullptr, slot, 1, 0, 1, &block), bad, "node is null");
  EXPECT_REFUSED(baton_kv_lease_open(nullptr, id, nullptr), bad, "node is null");
  EXPECT_REFUSED(baton_kv_lease_publish(nullptr, id, &block, 1), bad, "node is null");
  EXPECT_REFUSED(baton_kv_lease_seal(nullptr, id), bad, "node is null");
  EXPECT_REFUSED(baton_kv_lease_abort(nullptr, id, BATON_KV_INTERNAL, ""), bad, "node is null");
  EXPECT_REFUSED(baton_kv_lease_release(nullptr, id), bad, "node is null");
  EXPECT_REFUSED(baton_kv_receive(nullptr, nullptr, &number), bad, "node is null");
  EXPECT_REFUSED(baton_kv_cancel(nullptr, 1), bad, "node is null");
  EXPECT_REFUSED(baton_kv_next_event(nullptr, &event, 0), bad, "node is null");
  EXPECT_REFUSED(baton_kv_event_fd(nullptr, &fd), bad, "node is null");
  baton_kv_node_free(nullptr);
  baton_kv_plan_free(nullptr);

  EXPECT_REFUSED(baton_kv_slot_allocate(node.get(), nullptr), bad, "slot is null");
  EXPECT_REFUSED(baton_kv_slot_address(node.get(), slot, nullptr), bad, "address is null");
  EXPECT_REFUSED(baton_kv_slot_counts_of(node.get(), nullptr), bad, "null");
  EXPECT_REFUSED(baton_kv_describe_block(node.get(), slot, 1, 0, 1, nullptr), bad, "block is null");
  EXPECT_REFUSED(baton_kv_lease_publish(node.get(), id, nullptr, 1), bad, "blocks is null");
  EXPECT_REFUSED(baton_kv_receive(node.get(), nullptr, &number), bad, "null");
  EXPECT_REFUSED(baton_kv_receive(node.get(), nullptr, nullptr), bad, "receive is null");
  EXPECT_REFUSED(baton_kv_next_event(node.get(), nullptr, 0), bad, "event is null");
  EXPECT_REFUSED(baton_kv_event_fd(node.get(), nullptr), bad, "fd is null");
  EXPECT_REFUSED(baton_kv_draw_transfer_id(nullptr), bad, "transfer is null");
  EXPECT_REFUSED(baton_kv_checksum(nullptr, 1, &number), bad, "bytes is null");
  EXPECT_REFUSED(baton_kv_checksum("", 0, nullptr), bad, "checksum is null");
  EXPECT_REFUSED(baton_kv_node_metrics(node.get(), nullptr, 1, nullptr), bad, "text is null");
  EXPECT_OK(baton_kv_checksum(nullptr, 0, &number));
}

TEST_F(BadArguments, StaleAndForeignSlots) {
  const baton_kv_slot slot = allocated(node());
  EXPECT_REFUSED(baton_kv_slot_unpin(node(), slot), BATON_KV_STALE, "no pin of the program's");
  EXPECT_OK(baton_kv_slot_pin(node(), slot));
  EXPECT_OK(baton_kv_slot_free(node(), slot));
  EXPECT_REFUSED(baton_kv_slot_free(node(), slot), BATON_KV_STALE, "freed already");
  EXPECT_NE(bytes_of(node(), slot), nullptr);  // pinned: still to be read
  EXPECT_OK(baton_kv_slot_pin(node(), slot));
  EXPECT_OK(baton_kv_slot_unpin(node(), slot));
  EXPECT_OK(baton_kv_slot_unpin(node(), slot));

  void* address = nullptr;
  baton_kv_block block{};
  for (const baton_kv_slot& stale :
       {slot, baton_kv_slot{}, baton_kv_slot{1, 63, 0}, baton_kv_slot{1, 64, 0},
        baton_kv_slot{~std::uint64_t{0}, ~0U, 0}}) {
    EXPECT_EQ(baton_kv_slot_free(node(), stale), BATON_KV_STALE);
    EXPECT_EQ(baton_kv_slot_pin(node(), stale), BATON_KV_STALE);
    EXPECT_EQ(baton_kv_slot_unpin(node(), stale), BATON_KV_STALE);
    EXPECT_EQ(baton_kv_slot_address(node(), stale, &address), BATON_KV_STALE);
    EXPECT_EQ(baton_kv_describe_block(node(), stale, 1, 0, 1, &block), BATON_KV_STALE);
  }
}

TEST_F(BadArguments, PinsOfALeaseAreNotTheProgramsToTake) {
  const baton_kv_block block = filled_block(node(), 0);
  ASSERT_OK(baton_kv_lease_open(node(), transfer_, nullptr));
  ASSERT_OK(baton_kv_lease_publish(node(), transfer_, &block, 1));
  EXPECT_REFUSED(baton_kv_slot_unpin(node(), block.slot), BATON_KV_STALE, "no pin of the program");
  EXPECT_OK(baton_kv_slot_free(node(), block.slot));
  EXPECT_EQ(baton_kv_slot_unpin(node(), block.slot), BATON_KV_STALE);
}

TEST_F(BadArguments, NoSlotIsLeft) {
  for (int i = 0; i < 64; ++i) (void)allocated(node());
  baton_kv_slot slot{};
  EXPECT_REFUSED(baton_kv_slot_allocate(node(), &slot), BATON_KV_NO_SLOT, "all 64 slots");
}

TEST_F(BadArguments, BlocksThatCannotBe) {
  const baton_kv_block good = filled_block(node(), 0);
  ASSERT_OK(baton_kv_lease_open(node(), transfer_, nullptr));
  const auto refused = [&](auto change, const char* text, baton_kv_status status) {
    baton_kv_block blocks[2] = {good, good};
    change(blocks[1]);
    EXPECT_REFUSED(baton_kv_lease_publish(node(), transfer_, blocks, 2), status, text);
    EXPECT_NE(std::string(baton_kv_last_error()).find("block 1: "), std::string::npos);
  };
  const auto bad = BATON_KV_INVALID_ARGUMENT;
  refused([](baton_kv_block& b) { b.bytes = 0; }, "no place in a slot", bad);
  refused([](baton_kv_block& b) { b.bytes = kSlotBytes + 1; }, "no place in a slot", bad);
  refused([](baton_kv_block& b) { b.token_count = 0; }, "cannot be", bad);
  refused([](baton_kv_block& b) { b.token_count = -1; }, "cannot be", bad);
  refused([](baton_kv_block& b) { b.first_token = -1; }, "cannot be", bad);
  refused([](baton_kv_block& b) { b.first_token = std::numeric_limits<std::int64_t>::max(); },
          "cannot be", bad);
  refused([](baton_kv_block& b) { b.reserved[1] = 1; }, "reserved", bad);
  refused([](baton_kv_block& b) { ++b.slot.generation; }, "is not the program's", BATON_KV_STALE);
  refused([](baton_kv_block& b) { b.slot.index = 64; }, "no slot of this node", BATON_KV_STALE);
  EXPECT_EQ(baton_kv_lease_publish(node(), transfer_, &good, std::size_t{1} << 40), bad);
  baton_kv_block block{};
  EXPECT_EQ(baton_kv_describe_block(node(), good.slot, kSlotBytes + 1, 0, 1, &block), bad);
  EXPECT_OK(baton_kv_lease_publish(node(), transfer_, nullptr, 0));
  EXPECT_OK(baton_kv_lease_publish(node(), transfer_, &good, 1));
}

TEST_F(BadArguments, LeasesAndReceives) {
  const auto bad = BATON_KV_INVALID_ARGUMENT;
  const baton_kv_transfer_id zero{};
  EXPECT_REFUSED(baton_kv_lease_open(node(), zero, nullptr), bad, "all zero");
  EXPECT_REFUSED(baton_kv_lease_seal(node(), zero), bad, "all zero");
  EXPECT_REFUSED(baton_kv_lease_release(node(), zero), bad, "all zero");
  auto terms = zeroed<baton_kv_lease_options>();
  terms.cached_tokens = 1;  // of none
  EXPECT_REFUSED(baton_kv_lease_open(node(), transfer_, &terms), bad, "cannot be cached");
  terms.prompt_tokens = -1;
  terms.cached_tokens = -2;
  EXPECT_REFUSED(baton_kv_lease_open(node(), transfer_, &terms), bad, "cannot be cached");
  terms.struct_size = 3;
  EXPECT_REFUSED(baton_kv_lease_open(node(), transfer_, &terms), bad, "struct_size is 3");
  for (const int reason : {0, 1, 10, 99, -1}) {
    EXPECT_REFUSED(baton_kv_lease_abort(node(), transfer_, reason, nullptr), bad, "no reason");
  }
  // Of leases that never were: nothing happens.
  EXPECT_OK(baton_kv_lease_seal(node(), transfer_));
  EXPECT_OK(baton_kv_lease_release(node(), transfer_));
  EXPECT_OK(baton_kv_lease_abort(node(), transfer_, BATON_KV_INTERNAL, nullptr));

  const auto refused = [&](auto change, const char* text) {
    auto request = request_to(node(), "engine", transfer_);
    change(request);
    std::uint64_t receive = 0;
    EXPECT_REFUSED(baton_kv_receive(node(), &request, &receive), bad, text);
    EXPECT_EQ(receive, 0u);
  };
  using Request = baton_kv_receive_options;
  refused([](Request& r) { r.peer = nullptr; }, "peer is null");
  refused([](Request& r) { r.peer = "nowhere"; }, "give host:port");
  refused([](Request& r) { r.engine_id = nullptr; }, "engine_id is null");
  refused([](Request& r) { r.transfer = {}; }, "all zero");
  refused([](Request& r) { r.from_token = -1; }, "from_token");
  static const baton_kv_slice kSlices[] = {{0, 8, 0, 1}, {8, 0, 0, 1}, {0, 8192, 8192, 2}};
  refused([](Request& r) { r.slice_count = 1; }, "slices is null");
  refused(
      [](Request& r) {
        r.slices = kSlices;
        r.slice_count = 1025;
      },
      "at most 1024");
  refused(
      [](Request& r) {
        r.slices = kSlices;
        r.slice_count = 2;
      },
      "none may be empty");
  refused(
      [](Request& r) {
        r.slices = kSlices + 2;
        r.slice_count = 1;
      },
      "16384 bytes of each block: a slot has 8192");
  EXPECT_REFUSED(baton_kv_cancel(node(), 0), bad, "no receive of this node");
}

TEST_F(BadArguments, AMetricsBufferThatIsTooSmallSaysWhatIsNeeded) {
  std::size_t needed = 0;
  EXPECT_REFUSED(baton_kv_node_metrics(node(), nullptr, 0, &needed), BATON_KV_INVALID_ARGUMENT,
                 "larger buffer");
  std::string text(needed + 4096, '?');
  ASSERT_OK(baton_kv_node_metrics(node(), text.data(), text.size(), &needed));
  EXPECT_EQ(std::strlen(text.c_str()) + 1, needed);
  EXPECT_NE(text.find("baton_kv_"), std::string::npos);
}

TEST(KvCApiTexts, NamesAndVersion) {
  EXPECT_STREQ(baton_kv_status_name(BATON_KV_OK), "ok");
  EXPECT_STREQ(baton_kv_status_name(BATON_KV_STOPPED), "stopped");
  EXPECT_STREQ(baton_kv_status_name(99), "unknown");
  EXPECT_STREQ(baton_kv_status_name(-1), "unknown");
  EXPECT_STRNE(baton_kv_version(), "");
  EXPECT_REFUSED(baton_kv_set_log_level(4), BATON_KV_INVALID_ARGUMENT, "log level 4");
  const NodePtr node = started(node_options("engine"));
  EXPECT_REFUSED(baton_kv_set_log_level(BATON_KV_LOG_INFO), BATON_KV_INVALID_ARGUMENT,
                 "before the first");
}

}  // namespace
