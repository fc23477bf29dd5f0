#include <fmt/format.h>

#include <string_view>

#include "orchestrator/bench/results/measured.h"
#include "orchestrator/bench/results/summary.h"

namespace baton::orchestrator::bench {
namespace {

constexpr std::string_view kHeader =
    "index,outcome,status,reason,scheduled_ms,sent_ms,first_event_ms,first_token_ms,last_token_ms,"
    "ended_ms,ttft_ms,tpot_ms,e2el_ms,ttft_from_schedule_ms,e2el_from_schedule_ms,max_gap_ms,"
    "token_events,prompt_tokens,output_tokens,cached_tokens,asked_tokens,built_tokens,"
    "usage_reported,usage_reports,model,priority,session,streamed,request_id,plan_ms,"
    "prefill_queue_ms,prefill_ms,decode_queue_ms,exposed_transfer_ms,first_step_ms,kv_bytes,"
    "retries,transport,prefill_pod,decode_pod,run\r\n";
constexpr int kStageColumns = 11;

// One line under construction.
class Line {
 public:
  void text(std::string_view value) {
    begin_field();
    if (value.find_first_of(",\"\r\n") == std::string_view::npos) {
      line_ += value;
      return;
    }
    line_ += '"';
    for (const char c : value) line_.append(c == '"' ? 2 : 1, c);
    line_ += '"';
  }
  template <class Integer>
  void count(Integer value) {
    begin_field();
    fmt::format_to(std::back_inserter(line_), "{}", value);
  }
  void flag(bool value) { text(value ? "1" : "0"); }
  void ms(const std::optional<double>& value) {
    begin_field();
    if (value) fmt::format_to(std::back_inserter(line_), "{:.3f}", *value);
  }
  void time(Duration when) {
    ms(when < Duration::zero() ? std::nullopt : std::optional(to_ms(when)));
  }
  [[nodiscard]] std::string end() && { return std::move(line_) + "\r\n"; }

 private:
  void begin_field() {
    if (!first_) line_ += ',';
    first_ = false;
  }
  std::string line_;
  bool first_ = true;
};

std::optional<double> longest_gap_ms(const RequestRecord& record) {
  if (record.gaps_us.empty()) return std::nullopt;
  return std::ranges::max(record.gaps_us) / 1e3;
}

void put_times(Line& line, const RequestRecord& record) {
  line.time(record.scheduled);
  line.time(record.sent);
  line.time(record.first_event);
  line.time(record.first_token);
  line.time(record.last_token);
  line.time(record.ended);
  line.ms(ttft_ms(record));
  line.ms(tpot_ms(record));
  line.ms(e2el_ms(record));
  line.ms(ttft_from_schedule_ms(record));
  line.ms(e2el_from_schedule_ms(record));
  line.ms(longest_gap_ms(record));
}

void put_tokens(Line& line, const RequestRecord& record) {
  line.count(record.token_events);
  line.count(record.prompt_tokens);
  line.count(record.output_tokens);
  line.count(record.cached_tokens);
  line.count(record.asked_tokens);
  line.count(record.built_tokens);
  line.flag(record.usage_reported);
  line.count(record.usage_reports);
}

void put_stages(Line& line, const std::optional<StageTimes>& stages) {
  if (!stages) {
    for (int i = 0; i < kStageColumns; ++i) line.text({});
    return;
  }
  line.ms(stages->plan_ms);
  line.ms(stages->prefill_queue_ms);
  line.ms(stages->prefill_ms);
  line.ms(stages->decode_queue_ms);
  line.ms(stages->exposed_transfer_ms);
  line.ms(stages->first_step_ms);
  line.count(stages->kv_bytes);
  line.count(stages->retries);
  line.text(stages->transport);
  line.text(stages->prefill_pod);
  line.text(stages->decode_pod);
}

std::string csv_line(const RequestRecord& record) {
  Line line;
  line.count(record.index);
  line.text(name_of(record.outcome));
  line.count(record.status);
  line.text(record.reason);
  put_times(line, record);
  put_tokens(line, record);
  line.text(record.model);
  line.count(record.priority);
  if (record.session < 0) {
    line.text({});
  } else {
    line.count(record.session);
  }
  line.flag(record.streamed);
  line.text(record.request_id);
  put_stages(line, record.stages);
  line.text(record.run);
  return std::move(line).end();
}

}  // namespace

std::string records_csv(const std::vector<RequestRecord>& records) {
  std::string csv(kHeader);
  for (const RequestRecord& record : records) csv += csv_line(record);
  return csv;
}

}  // namespace baton::orchestrator::bench
