#include "orchestrator/explain/ask_router.h"

#include <fmt/format.h>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <exception>
#include <utility>

#include "adapters/http/client.h"

namespace baton::orchestrator {
namespace {

namespace asio = boost::asio;
namespace http = adapters::http;

constexpr Bytes kMostAnswer{256LL << 20};

http::Task<Result<RouterAnswer>> exchange(http::Client* client, PodUrl admin,
                                          http::ClientRequest request) {
  auto answer = co_await client->send(admin.host, admin.port, std::move(request));
  if (!answer) co_return std::unexpected(std::move(answer.error()));
  RouterAnswer read{(*answer)->status(), {}};
  auto body = co_await (*answer)->read_all(kMostAnswer);
  if (!body) co_return std::unexpected(std::move(body.error()));
  read.body = std::move(*body);
  co_return read;
}

}  // namespace

Result<RouterAnswer> ask_router(const PodUrl& admin, std::string method, std::string target,
                                std::string body, http::Fields fields) {
  http::ClientLimits limits;
  limits.header_time = std::chrono::seconds(30);
  asio::io_context io(1);
  const auto client = http::Client::create(io, limits);
  http::ClientRequest request{std::move(method), std::move(target), std::move(fields),
                              std::move(body)};
  if (!request.body.empty()) request.fields.emplace_back("content-type", "application/json");
  Result<RouterAnswer> got = fail(ErrorCode::kInternal, Stage::kRouter, "no answer");
  std::exception_ptr failure;
  asio::co_spawn(io, exchange(client.get(), admin, std::move(request)),
                 [&](std::exception_ptr failed, Result<RouterAnswer> answer) {
                   failure = std::move(failed);
                   got = std::move(answer);
                   io.stop();  // a kept connection would hold it
                 });
  io.run();
  if (failure) std::rethrow_exception(failure);
  if (!got) {
    got.error().message =
        fmt::format("no router at {}:{}: {}", admin.host, admin.port, got.error().message);
  }
  return got;
}

}  // namespace baton::orchestrator
