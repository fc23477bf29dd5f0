#pragma once

#include <gtest/gtest.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_future.hpp>
#include <chrono>
#include <functional>
#include <future>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "adapters/engines/llama_cpp/pod.h"
#include "adapters/http/client.h"
#include "tests/unit/pod/made_model_files.h"

namespace baton::adapters {

namespace asio = boost::asio;
using Json = nlohmann::json;

inline constexpr std::chrono::seconds kPodTestLimit{10};

// Waits for what other threads bring about; false after the limit.
inline bool eventually(const std::function<bool()>& happened) {
  const TimePoint until = Clock::now() + kPodTestLimit;
  while (!happened()) {
    if (Clock::now() > until) return false;
    std::this_thread::yield();
  }
  return true;
}

// An io_context on a thread of its own.
class IoThread {
 public:
  IoThread() : work_(asio::make_work_guard(io_)), thread_([this] { io_.run(); }) {}
  IoThread(const IoThread&) = delete;
  IoThread& operator=(const IoThread&) = delete;
  ~IoThread() { stop(); }
  asio::io_context& io() { return io_; }
  // Runs `work` there and waits for it.
  void run(std::function<void()> work) {
    std::promise<void> done;
    asio::post(io_, [&] {
      work();
      done.set_value();
    });
    done.get_future().get();
  }
  void stop() {
    io_.stop();
    if (thread_.joinable()) thread_.join();
  }

 private:
  asio::io_context io_;
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  std::thread thread_;
};

// A pod of the generated model, in this process, on port 0.
class RunningPod {
 public:
  explicit RunningPod(PodOptions options) {
    thread_.run([&] {
      auto started = Pod::start(thread_.io(), std::move(options));
      EXPECT_TRUE(started.has_value()) << (started ? "" : started.error().message);
      if (started) pod_ = std::move(*started);
    });
  }
  RunningPod(const RunningPod&) = delete;
  RunningPod& operator=(const RunningPod&) = delete;
  ~RunningPod() {
    thread_.run([&] { pod_.reset(); });
  }
  Pod& operator*() { return *pod_; }
  Pod* operator->() { return pod_.get(); }
  IoThread& thread() { return thread_; }
  [[nodiscard]] bool quiet() const {
    const EngineStats& stats = pod_->stats();
    return stats.running == 0 && stats.waiting == 0 && stats.blocks_pinned == 0;
  }

 private:
  IoThread thread_;
  std::unique_ptr<Pod> pod_;
};

struct HttpAnswer {
  unsigned status = 0;
  std::string type;
  std::string timing;
  std::string body;
  [[nodiscard]] Json json() const { return Json::parse(body, nullptr, false); }
  // The events of a stream; "[DONE]" as that string.
  [[nodiscard]] std::vector<Json> events() const {
    std::vector<Json> out;
    std::size_t at = 0;
    while (at < body.size()) {
      const std::size_t end = body.find("\n\n", at);
      EXPECT_NE(end, std::string::npos);
      EXPECT_EQ(body.substr(at, 6), "data: ");
      const std::string data = body.substr(at + 6, end - at - 6);
      out.push_back(data == "[DONE]" ? Json(data) : Json::parse(data));
      at = end + 2;
    }
    return out;
  }
};

// Calls a pod as any HTTP client would, and waits for the answer.
class PodCaller {
 public:
  explicit PodCaller(std::uint16_t port) : port_(port) {
    thread_.run([&] { client_ = http::Client::create(thread_.io(), {}); });
  }
  ~PodCaller() {
    thread_.run([&] { client_.reset(); });
  }
  PodCaller(const PodCaller&) = delete;
  PodCaller& operator=(const PodCaller&) = delete;

  std::future<HttpAnswer> begin(std::string method, std::string target, std::string body = {}) {
    http::ClientRequest request{std::move(method), std::move(target), {}, std::move(body)};
    return asio::co_spawn(thread_.io(), fetch(*client_, port_, std::move(request)),
                          asio::use_future);
  }
  HttpAnswer call(std::string method, std::string target, std::string body = {}) {
    return begin(std::move(method), std::move(target), std::move(body)).get();
  }
  HttpAnswer get(std::string target) { return call("GET", std::move(target)); }
  HttpAnswer post(std::string target, const Json& body) {
    return call("POST", std::move(target), body.dump());
  }
  // Reads the first piece of the answer, then closes the connection.
  std::string leave_after_first_piece(std::string target, const Json& body) {
    http::ClientRequest request{"POST", std::move(target), {}, body.dump()};
    return asio::co_spawn(thread_.io(), fetch_piece(*client_, port_, std::move(request)),
                          asio::use_future)
        .get();
  }

 private:
  static http::Task<HttpAnswer> fetch(http::Client& client, std::uint16_t port,
                                      http::ClientRequest request) {
    HttpAnswer answer;
    auto exchange = co_await client.send("127.0.0.1", port, std::move(request));
    if (!exchange) co_return answer;
    answer.status = (*exchange)->status();
    answer.type = (*exchange)->field("content-type");
    answer.timing = (*exchange)->field("x-baton-timing");
    auto body = co_await (*exchange)->read_all(Bytes(64 << 20));
    answer.body = body ? *body : "CUT SHORT: " + body.error().message;
    co_return answer;
  }
  static http::Task<std::string> fetch_piece(http::Client& client, std::uint16_t port,
                                             http::ClientRequest request) {
    auto exchange = co_await client.send("127.0.0.1", port, std::move(request));
    if (!exchange) co_return "";
    auto piece = co_await (*exchange)->read_some();
    co_return piece ? std::string(*piece) : "";
  }

  IoThread thread_;
  std::uint16_t port_;
  std::unique_ptr<http::Client> client_;
};

}  // namespace baton::adapters
