#include "orchestrator/lifecycle/legs.h"

#include <charconv>
#include <utility>

namespace baton::orchestrator {
namespace {

bool is_short(std::string_view content_length, Bytes limit) {
  std::int64_t length = 0;
  const char* end = content_length.data() + content_length.size();
  const auto [at, failure] = std::from_chars(content_length.data(), end, length);
  return failure == std::errc() && at == end && length <= limit.count();
}

}  // namespace

Task<void> run_leg(http::Client* client, std::shared_ptr<Leg> leg, http::ClientRequest request,
                   Bytes whole_up_to) {
  if (leg->cancelled) co_return;
  leg->sent_at = Clock::now();
  const Pod& pod = leg->pod->pod;
  auto sent = co_await client->send(pod.host, pod.port, std::move(request));
  if (!sent) {
    leg->error = std::move(sent.error());
    co_return;
  }
  std::unique_ptr<http::ClientExchange> answer = std::move(*sent);
  leg->head_at = Clock::now();
  leg->content_type = answer->field("content-type");
  leg->timing = answer->field("x-baton-timing");
  if (leg->stage != Stage::kPrefill && answer->status() == 200 &&
      !is_short(answer->field("content-length"), whole_up_to)) {
    leg->status = 200;
    leg->answer = std::move(answer);
    co_return;
  }
  auto body = co_await answer->read_all(kWholeAnswer);
  if (!body) {
    leg->error = std::move(body.error());
    co_return;
  }
  leg->status = answer->status();
  leg->body = std::move(*body);
}

}  // namespace baton::orchestrator
