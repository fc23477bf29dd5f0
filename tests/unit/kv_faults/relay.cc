#include "tests/unit/kv_faults/relay.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/redirect_error.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <future>
#include <string_view>
#include <utility>

namespace baton::kv {

namespace asio = boost::asio;
using boost::system::error_code;

namespace {

constexpr std::string_view kProducerHost = "127.0.0.1:";
constexpr auto kDelay = std::chrono::milliseconds(100);
constexpr std::size_t kPiece = 64;  // that is doubled, or changes its place with the next one

auto into(error_code& error) { return asio::redirect_error(asio::use_awaitable, error); }

void counts_what_escapes(const std::exception_ptr& escaped) {
  if (escaped) ADD_FAILURE() << "a relay's coroutine threw";
}

}  // namespace

std::string LinkFault::str() const {
  static constexpr const char* kNames[] = {"flip", "cut", "duplicate", "delay", "reorder"};
  return fmt::format("{} of {} to the {} after {} bytes", kNames[static_cast<int>(kind)],
                     on_data ? "data" : "control", to_reader ? "reader" : "producer", at);
}

LinkFault LinkFault::draw(std::mt19937_64& random, bool on_data) {
  LinkFault fault{
      .kind = static_cast<Kind>(random() % 5), .on_data = on_data, .to_reader = random() % 3 != 0};
  // What matters is early, and what is late is rarely reached.
  const std::uint64_t most = fault.on_data && fault.to_reader ? 1 << 20 : 1 << 11;
  fault.at = random() % (std::uint64_t{2} << (random() % std::bit_width(most)));
  return fault;
}

struct Relay::Line {
  tcp::socket reader;
  tcp::socket producer;
  bool is_data = false;

  void close() {
    error_code ignored;
    reader.close(ignored);
    producer.close(ignored);
  }
};

Relay::Relay(const std::string& producer) {
  const auto port = static_cast<std::uint16_t>(std::stoi(producer.substr(kProducerHost.size())));
  auto acceptor = listen(0);
  address_ = fmt::format("127.0.0.2:{}", acceptor.local_endpoint().port());
  asio::co_spawn(loop_, accept(std::move(acceptor), port, false), counts_what_escapes);
  thread_ = std::jthread([this] { loop_.run(); });
}

Relay::~Relay() {
  loop_.stop();
  thread_.join();
}

template <class Work>
void Relay::run(Work work) {
  std::promise<void> done;
  asio::post(loop_, [&] {
    work();
    done.set_value();
  });
  done.get_future().wait();
}

void Relay::strike(const LinkFault& fault) {
  run([&] {
    fault_ = fault;
    passed_ = 0;
    is_due_ = true;
  });
}

bool Relay::calm() {
  bool has_happened = false;
  run([&] { has_happened = !std::exchange(is_due_, false); });
  return has_happened;
}

void Relay::cut_all() {
  run([&] {
    for (const auto& known : std::exchange(lines_, {})) {
      if (const auto line = known.lock()) line->close();
    }
  });
}

Relay::tcp::acceptor Relay::listen(std::uint16_t port) {
  return {loop_, tcp::endpoint(asio::ip::make_address_v4("127.0.0.2"), port)};
}

asio::awaitable<void> Relay::accept(tcp::acceptor acceptor, std::uint16_t port, bool is_data) {
  for (;;) {
    error_code error;
    const auto line = std::make_shared<Line>(
        Line{co_await acceptor.async_accept(into(error)), tcp::socket(loop_), is_data});
    if (error) co_return;
    co_await line->producer.async_connect({asio::ip::address_v4::loopback(), port}, into(error));
    if (error) continue;  // which closes the reader's
    error_code ignored;
    line->reader.set_option(tcp::no_delay(true), ignored);
    line->producer.set_option(tcp::no_delay(true), ignored);
    std::erase_if(lines_, [](const auto& known) { return known.expired(); });
    lines_.insert(line);
    asio::co_spawn(loop_, pump(line, true), counts_what_escapes);
    asio::co_spawn(loop_, pump(line, false), counts_what_escapes);
  }
}

asio::awaitable<void> Relay::pump(std::shared_ptr<Line> line, bool to_reader) {
  tcp::socket& from = to_reader ? line->producer : line->reader;
  tcp::socket& to = to_reader ? line->reader : line->producer;
  std::vector<char> bytes;
  for (;;) {
    error_code error;
    bytes.resize(16 * 1024);
    const std::size_t got = co_await from.async_read_some(asio::buffer(bytes), into(error));
    if (error) break;
    bytes.resize(got);
    if (to_reader && !line->is_data) send_elsewhere(bytes);
    const Consequence next = suffer(*line, to_reader, bytes);
    if (next.wait) {
      asio::steady_timer timer(loop_, kDelay);
      co_await timer.async_wait(into(error));
    }
    co_await asio::async_write(to, asio::buffer(bytes), into(error));
    if (error || next.cut) break;
  }
  line->close();
}

Relay::Consequence Relay::suffer(const Line& line, bool to_reader, std::vector<char>& bytes) {
  if (!is_due_ || line.is_data != fault_.on_data || to_reader != fault_.to_reader) return {};
  const std::uint64_t before = passed_;
  passed_ += bytes.size();
  if (passed_ <= fault_.at) return {};
  is_due_ = false;
  const auto at = static_cast<std::ptrdiff_t>(fault_.at - before);
  const auto piece = bytes.begin() + at;
  const auto left = std::min<std::ptrdiff_t>(bytes.end() - piece, kPiece);
  switch (fault_.kind) {
    case LinkFault::Kind::kFlip:
      *piece = static_cast<char>(*piece ^ (1 << (fault_.at % 8)));
      return {};
    case LinkFault::Kind::kCut: bytes.erase(piece, bytes.end()); return {.cut = true};
    case LinkFault::Kind::kDuplicate: {
      const std::vector<char> twice(piece, piece + left);
      bytes.insert(piece, twice.begin(), twice.end());
      return {};
    }
    case LinkFault::Kind::kDelay: return {.wait = true};
    case LinkFault::Kind::kReorder: std::rotate(piece, piece + left / 2, piece + left); return {};
  }
  return {};
}

void Relay::send_elsewhere(std::vector<char>& bytes) {
  const auto found = std::ranges::search(bytes, kProducerHost);
  if (found.empty()) return;
  const std::string digits(found.end(), std::find_if_not(found.end(), bytes.end(), [](char c) {
                             return c >= '0' && c <= '9';
                           }));
  if (digits.empty() || digits.size() > 5) return;
  const auto port = static_cast<std::uint16_t>(std::stoi(digits));
  if (data_ports_.insert(port).second) {
    asio::co_spawn(loop_, accept(listen(port), port, true), counts_what_escapes);
  }
  *(found.end() - 2) = '2';
}

}  // namespace baton::kv
