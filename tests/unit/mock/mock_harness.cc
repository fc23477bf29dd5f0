#include "tests/unit/mock/mock_harness.h"

#include <gtest/gtest.h>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/co_spawn.hpp>
#include <charconv>

namespace baton::adapters::mock::testing {
namespace asio = http::asio;
namespace {

http::Task<void> fetch(http::Client* client, std::uint16_t port, http::ClientRequest request,
                       std::shared_ptr<Call> call) {
  auto answer = co_await client->send("127.0.0.1", port, std::move(request));
  if (!answer) {
    call->cut = true;
    co_return;
  }
  call->status = (*answer)->status();
  call->type = (*answer)->field("content-type");
  for (;;) {
    auto piece = co_await (*answer)->read_some();
    if (!piece) {
      call->cut = true;
      co_return;
    }
    if (piece->empty()) co_return;
    call->body += *piece;
  }
}

}  // namespace

std::vector<Json> Call::events() const {
  std::vector<Json> found;
  for (std::size_t at = 0; at < body.size();) {
    const std::size_t end = body.find("\n\n", at);
    EXPECT_NE(end, std::string::npos) << "a stream ends within an event";
    if (end == std::string::npos) break;
    EXPECT_EQ(body.substr(at, 6), "data: ");
    const std::string data = body.substr(at + 6, end - at - 6);
    found.push_back(data == "[DONE]" ? Json(data) : Json::parse(data));
    at = end + 2;
  }
  return found;
}

std::string Call::error_message() const {
  const Json parsed = json();
  const Json* error = member(parsed, "error");
  return error == nullptr ? "no error: " + body : (*error)["message"].get<std::string>();
}

Street::~Street() {
  for (const auto& call : calls_) {
    if (!call->ended) call->leave.emit(asio::cancellation_type::terminal);
  }
  EXPECT_TRUE(run_until([this] {
    for (const auto& call : calls_) {
      if (!call->ended) return false;
    }
    for (const auto& pod : pods_) {
      if (pod->parts().open_requests > 0) return false;
    }
    return true;
  })) << "a request did not end";
  client_.reset();
}

MockPod& Street::add(MockOptions options) {
  auto pod = MockPod::start(commons_, std::move(options));
  EXPECT_TRUE(pod.has_value()) << (pod ? "" : pod.error().message);
  if (!pod) throw std::runtime_error(pod.error().message);
  pods_.push_back(*pod);
  return *pods_.back();
}

MockPod& Street::prefill(MockOptions options) {
  options.role = Role::kPrefill;
  return add(std::move(options));
}

MockPod& Street::decode(MockOptions options) {
  options.role = Role::kDecode;
  return add(std::move(options));
}

std::shared_ptr<Call> Street::begin_at(std::uint16_t port, std::string method, std::string target,
                                       std::string body, http::Fields fields) {
  if (!client_) client_ = http::Client::create(io, {});
  auto call = std::make_shared<Call>();
  calls_.push_back(call);
  http::ClientRequest request{std::move(method), std::move(target), std::move(fields),
                              std::move(body)};
  asio::co_spawn(
      io, fetch(client_.get(), port, std::move(request), call),
      asio::bind_cancellation_slot(call->leave.slot(), [call](const std::exception_ptr& failure) {
        call->cut = call->cut || failure != nullptr;
        call->ended = true;
      }));
  return call;
}

std::shared_ptr<Call> Street::call(const MockPod& pod, std::string method, std::string target,
                                   std::string body, http::Fields fields) {
  if (!body.empty()) fields.emplace_back("content-type", "application/json");
  auto made = begin(pod, std::move(method), std::move(target), std::move(body), std::move(fields));
  EXPECT_TRUE(run_until([&] { return made->ended; })) << "no answer";
  return made;
}

std::shared_ptr<Call> Street::post(const MockPod& pod, std::string target, const Json& body,
                                   http::Fields fields) {
  return call(pod, "POST", std::move(target), dump(body), std::move(fields));
}

void Street::set_faults(const MockPod& pod, const std::string& faults) {
  EXPECT_EQ(post(pod, "/debug/faults", {{"faults", faults}})->status, 200U);
}

double Street::metric(const MockPod& pod, const std::string& series) {
  const std::string text = get(pod, "/metrics")->body;
  const std::size_t at = text.find("\n" + series + " ");
  if (at == std::string::npos) return -1;
  double value = -1;
  const char* begin = text.data() + at + series.size() + 2;
  std::from_chars(begin, text.data() + text.size(), value);
  return value;
}

bool Street::run_until(const std::function<bool()>& done) {
  const TimePoint deadline = Clock::now() + std::chrono::seconds(10);
  io.restart();
  while (!done()) {
    if (Clock::now() > deadline) return false;
    io.run_one_for(std::chrono::milliseconds(50));
  }
  return true;
}

Json completion(const std::string& prompt, int max_tokens) {
  return {
      {"model", "mock-model"}, {"prompt", prompt}, {"max_tokens", max_tokens}, {"temperature", 0}};
}

Json prefill_leg(Json body) {
  body["max_tokens"] = 1;
  body.erase("stream");
  body.erase("stream_options");
  body["kv_transfer_params"] = {{"do_remote_decode", true},    {"do_remote_prefill", false},
                                {"remote_engine_id", nullptr}, {"remote_block_ids", nullptr},
                                {"remote_host", nullptr},      {"remote_port", nullptr}};
  return body;
}

Json decode_leg(Json body, const Json& prefill_answer) {
  body["kv_transfer_params"] = prefill_answer["kv_transfer_params"];
  return body;
}

}  // namespace baton::adapters::mock::testing
