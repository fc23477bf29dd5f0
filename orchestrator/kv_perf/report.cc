#include "orchestrator/kv_perf/report.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "orchestrator/build_info.h"

namespace baton::orchestrator::kv_perf {
namespace {

using Json = nlohmann::ordered_json;

std::string size_words(std::uint32_t bytes) {
  if (bytes >= (1U << 20) && bytes % (1U << 20) == 0) return fmt::format("{} MiB", bytes >> 20);
  if (bytes >= 1024 && bytes % 1024 == 0) return fmt::format("{} KiB", bytes >> 10);
  return fmt::format("{} B", bytes);
}

std::string rate_words(double gb_per_s) {
  return gb_per_s < 0.001 ? "-" : fmt::format("{:.3f}", gb_per_s);
}

Json measured(const Row& row) {
  return {{"transport", row.transport},
          {"blocks", row.shape.blocks},
          {"block_bytes", row.shape.bytes},
          {"bytes", row.shape.total().count()},
          {"first_seconds", row.first},
          {"seconds", row.seconds},
          {"best_seconds", row.best()},
          {"median_seconds", row.median()},
          {"best_gb_per_s", row.gb_per_s(row.best())},
          {"median_gb_per_s", row.gb_per_s(row.median())}};
}

Json not_measured(const Row& row) {
  return {{"transport", row.transport},
          {"blocks", row.shape.blocks},
          {"block_bytes", row.shape.bytes},
          {"code", name_of(row.error->code)},
          {"reason", row.error->message}};
}

}  // namespace

std::string shape_words(const kv::BlockShape& shape) {
  return fmt::format("{} x {}", shape.blocks, size_words(shape.bytes));
}

std::string time_words(double seconds) {
  if (seconds < 1e-3) return fmt::format("{:.1f} us", seconds * 1e6);
  if (seconds < 1) return fmt::format("{:.2f} ms", seconds * 1e3);
  return fmt::format("{:.2f} s", seconds);
}

std::string table(const std::vector<Row>& rows) {
  std::string text =
      fmt::format("{:<16} {:<9} {:>12} {:>12} {:>12} {:>12} {:>12}\n", "blocks", "transport",
                  "median", "best", "median GB/s", "best GB/s", "first");
  std::string reasons;
  for (const Row& row : rows) {
    text += fmt::format("{:<16} {:<9} ", shape_words(row.shape), row.transport);
    if (row.error) {
      text += fmt::format("{:>12}\n", "not measured");
      reasons += fmt::format("{}, {}: {}: {}\n", shape_words(row.shape), row.transport,
                             name_of(row.error->code), row.error->message);
      continue;
    }
    text += fmt::format("{:>12} {:>12} {:>12} {:>12} {:>12}\n", time_words(row.median()),
                        time_words(row.best()), rate_words(row.gb_per_s(row.median())),
                        rate_words(row.gb_per_s(row.best())), time_words(row.first));
  }
  return text + reasons;
}

std::string json(const std::vector<Row>& rows, const std::string& server, bool local) {
  Json results = Json::array();
  Json others = Json::array();
  for (const Row& row : rows) {
    if (row.error) {
      others.push_back(not_measured(row));
    } else {
      results.push_back(measured(row));
    }
  }
  const Json all = {{"kind", "kv-perf"},
                    {"version", build_info().version},
                    {"commit", build_info().commit},
                    {"server", local ? Json(nullptr) : Json(server)},
                    {"results", std::move(results)},
                    {"not_measured", std::move(others)}};
  return all.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace baton::orchestrator::kv_perf
