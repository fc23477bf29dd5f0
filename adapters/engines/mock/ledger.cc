#include "adapters/engines/mock/ledger.h"

#include <algorithm>
#include <array>

namespace baton::adapters::mock {
namespace {

constexpr std::array<std::string_view, 4> kFieldsOfInterest = {"authorization", "traceparent",
                                                               "tracestate", "content-type"};

}  // namespace

Json RequestRecord::json() const {
  Json all = {{"number", number}, {"arrived", arrived}, {"method", method}, {"target", target}};
  Json headers = Json::object();
  for (const auto& [name, value] : fields) headers[name] = value;
  all["headers"] = std::move(headers);
  all["body"] = body;
  all["leg"] = name_of(leg);
  all["id"] = id;
  all["prompt_tokens"] = prompt_tokens;
  all["cached_tokens"] = cached_tokens;
  all["completion_tokens"] = completion_tokens;
  all["status"] = status;
  all["outcome"] = outcome;
  all["events"] = events;
  all["violations"] = violations;
  all["handoff"] = handoff;
  return all;
}

std::shared_ptr<RequestRecord> Ledger::open(const http::Request& request, double now) {
  auto record = std::make_shared<RequestRecord>();
  record->number = ++last_;
  record->arrived = now;
  record->method = request.method;
  record->target = request.target;
  for (const auto& [name, value] : request.fields) {
    if (name.starts_with("x-") ||
        std::ranges::find(kFieldsOfInterest, name) != kFieldsOfInterest.end()) {
      record->fields.emplace_back(name, value);
    }
  }
  record->body = Json::parse(request.body, nullptr, false);
  if (record->body.is_discarded()) record->body = nullptr;
  records_.push_back(record);
  if (records_.size() > kKept) records_.pop_front();
  return record;
}

void Ledger::violate(RequestRecord* record, std::string_view name) {
  ++violations_[std::string(name)];
  if (record != nullptr) record->violations.emplace_back(name);
}

void Ledger::clear() {
  records_.clear();
  violations_.clear();
}

Json Ledger::requests() const {
  Json list = Json::array();
  for (const auto& record : records_) list.push_back(record->json());
  return list;
}

}  // namespace baton::adapters::mock
