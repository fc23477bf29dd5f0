#include "orchestrator/bench/generator/stage_times.h"

#include <charconv>
#include <string>

#include "core/json_cursor.h"
#include "core/json_fields.h"

namespace baton::orchestrator::bench {
namespace {

constexpr std::size_t kTimesDepth = 8;

// The members of one x-baton-timing; a text that is no JSON has none.
class Timing {
 public:
  explicit Timing(std::string_view text) : text_(text) {
    if (auto fields = JsonFields::scan(text, kTimesDepth)) fields_ = std::move(*fields);
  }
  [[nodiscard]] double number(std::string_view key) const {
    double value = 0;
    const JsonField* field = fields_.find(key);
    if (field == nullptr || field->kind != JsonKind::kNumber) return value;
    const std::string_view digits = value_of(*field, text_).text;
    std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return value > 0 ? value : 0;
  }
  [[nodiscard]] std::string text(std::string_view key) const {
    const JsonField* field = fields_.find(key);
    if (field == nullptr || field->kind != JsonKind::kString) return {};
    return json_unquote(value_of(*field, text_).text);
  }

 private:
  std::string_view text_;
  JsonFields fields_;
};

}  // namespace

std::optional<StageTimes> read_stage_times(std::string_view timing, std::string_view prefill_pod,
                                           std::string_view decode_pod) {
  if (timing.empty() && decode_pod.empty()) return std::nullopt;
  const Timing from(timing);
  const bool split = !prefill_pod.empty();
  StageTimes times;
  times.plan_ms = from.number("plan_us") / 1e3;
  if (split) times.prefill_queue_ms = from.number("prefill_pod_queue_ms");
  times.prefill_ms = from.number(split ? "prefill_pod_prefill_ms" : "prefill_ms");
  times.decode_queue_ms = from.number("queue_ms");
  times.exposed_transfer_ms = from.number("exposed_transfer_ms");
  times.first_step_ms = from.number("first_step_ms");
  times.kv_bytes = static_cast<std::int64_t>(from.number("kv_bytes"));
  times.retries = static_cast<int>(from.number("retries"));
  times.transport = from.text("transport");
  times.prefill_pod = prefill_pod;
  times.decode_pod = decode_pod;
  return times;
}

}  // namespace baton::orchestrator::bench
