#include <fmt/format.h>

#include <limits>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "kv_transfer/c_api/copier.h"

namespace baton::kv::c_api {

Outcome<std::unique_ptr<baton_kv_copier>> make_copier(const cuda::DriverTable& driver,
                                                      const cuda::Copier::Options& options) {
  auto opened = cuda::Copier::open(driver, options);
  if (!opened) return failed(opened.error());
  auto made = std::make_unique<baton_kv_copier>();
  made->copier = *std::move(opened);
  return made;
}

namespace {

Outcome<std::unique_ptr<baton_kv_copier>> create(const baton_kv_copier_options* given) {
  cuda::Copier::Options options;
  if (given != nullptr) {
    const auto c = read(given, "baton_kv_copier_options");
    if (!c) return std::unexpected(c.error());
    options.device = c->device;
    options.most_blocks = c->most_blocks;
  }
  // Whoever lacks both is not sent for a driver first.
  if (options.kernels.empty()) return make_copier({}, options);
  const auto driver = cuda::load_driver();
  if (!driver) return failed(driver.error());
  return make_copier(*driver, options);
}

Outcome<std::vector<CopyRun>> runs_of(const baton_kv_copy& copy) {
  if (copy.runs == nullptr && copy.run_count != 0) return null("baton_kv_copy.runs");
  std::vector<CopyRun> runs;
  runs.reserve(copy.run_count);
  for (const baton_kv_run& run : std::span(copy.runs, copy.run_count)) {
    if (run.holder != copy.runs[0].holder) {
      return wrong(
          fmt::format("the runs are of the holders {} and {}, whose regions have numbers of their "
                      "own: begin a copy for each",
                      copy.runs[0].holder, run.holder));
    }
    runs.push_back({.source_region = run.source_region,
                    .target_region = run.target_region,
                    .source = run.source,
                    .target = run.target,
                    .bytes = run.bytes,
                    .source_stride = run.source_stride,
                    .target_stride = run.target_stride,
                    .count = run.count});
  }
  return runs;
}

Outcome<std::vector<cuda::Region>> regions_of(const baton_kv_region* given, std::size_t count,
                                              std::string_view field) {
  if (given == nullptr && count != 0) return null(field);
  std::vector<cuda::Region> regions;
  regions.reserve(count);
  for (const baton_kv_region& region : std::span(given, count)) {
    if (region.bytes != 0 &&
        (region.address == 0 ||
         region.bytes > std::numeric_limits<std::uint64_t>::max() - region.address)) {
      return wrong(fmt::format("{}[{}] has {} bytes at {:#x}, where no memory is", field,
                               regions.size(), region.bytes, region.address));
    }
    regions.push_back({region.address, region.bytes});
  }
  return regions;
}

Outcome<void> begin(baton_kv_copier& copier, const baton_kv_copy& copy, std::uint64_t& ticket) {
  const auto runs = runs_of(copy);
  if (!runs) return std::unexpected(runs.error());
  const auto sources = regions_of(copy.sources, copy.source_count, "baton_kv_copy.sources");
  if (!sources) return std::unexpected(sources.error());
  const auto targets = regions_of(copy.targets, copy.target_count, "baton_kv_copy.targets");
  if (!targets) return std::unexpected(targets.error());
  const std::lock_guard lock(copier.mutex);
  const auto begun =
      copier.copier->begin(*runs, *sources, *targets, static_cast<cuda::Event>(copy.after));
  if (!begun) return failed(begun.error());
  ticket = copier.last_ticket = *begun;
  return {};
}

// Runs what a function does with a copy that there was.
template <class Body>
baton_kv_status with_copy(baton_kv_copier* copier, std::uint64_t ticket, Body body) noexcept {
  return guarded([&]() -> Outcome<void> {
    if (copier == nullptr) return null("copier");
    const std::lock_guard lock(copier->mutex);
    if (ticket == 0 || ticket > copier->last_ticket) {
      return wrong(
          fmt::format("no copy of this copier has ticket {}: pass what "
                      "baton_kv_copier_begin() gave",
                      ticket));
    }
    const Result<void> result = body(*copier->copier);
    if (!result) return failed(result.error());
    return {};
  });
}

}  // namespace
}  // namespace baton::kv::c_api

using namespace baton::kv;  // NOLINT: the C API lives outside the namespaces
using namespace baton::kv::c_api;

extern "C" {

baton_kv_status baton_kv_copier_create(const baton_kv_copier_options* options,
                                       baton_kv_copier** copier) {
  return guarded([&]() -> Outcome<void> {
    if (copier == nullptr) return null("copier");
    auto made = create(options);
    if (!made) return std::unexpected(made.error());
    *copier = made->release();
    return {};
  });
}

void baton_kv_copier_free(baton_kv_copier* copier) { delete copier; }

baton_kv_status baton_kv_copier_begin(baton_kv_copier* copier, const baton_kv_copy* copy,
                                      uint64_t* ticket) {
  return guarded([&]() -> Outcome<void> {
    if (copier == nullptr) return null("copier");
    if (ticket == nullptr) return null("ticket");
    const auto whole = read(copy, "baton_kv_copy");
    if (!whole) return std::unexpected(whole.error());
    return c_api::begin(*copier, *whole, *ticket);
  });
}

baton_kv_status baton_kv_copier_poll(baton_kv_copier* copier, uint64_t ticket, int32_t* is_done) {
  if (is_done == nullptr) return guarded([]() -> Outcome<void> { return null("is_done"); });
  return with_copy(copier, ticket, [&](cuda::Copier& gpu) -> baton::Result<void> {
    const auto done = gpu.is_done(ticket);
    if (!done) return std::unexpected(done.error());
    *is_done = *done ? 1 : 0;
    return {};
  });
}

baton_kv_status baton_kv_copier_wait(baton_kv_copier* copier, uint64_t ticket) {
  return with_copy(copier, ticket, [&](cuda::Copier& gpu) { return gpu.wait(ticket); });
}

baton_kv_status baton_kv_copier_hold(baton_kv_copier* copier, uint64_t ticket, void* stream) {
  return with_copy(copier, ticket, [&](cuda::Copier& gpu) {
    return gpu.hold(static_cast<cuda::Stream>(stream), ticket);
  });
}
}
