#include "orchestrator/kv_perf/measure.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <istream>
#include <random>
#include <utility>

#include "kv_transfer/address.h"
#include "kv_transfer/measure/sample_hand_off.h"
#include "orchestrator/bench/results/statistics.h"
#include "orchestrator/kv_perf/words.h"

namespace baton::orchestrator::kv_perf {
namespace {

using boost::asio::ip::tcp;

constexpr auto kConnectLimit = std::chrono::seconds(10);
constexpr auto kBlocksLimit = std::chrono::minutes(2);  // until they are made, and others measured
constexpr auto kFetchLimit = std::chrono::minutes(1);

// A connection to a Server. Blocks.
class Connection {
 public:
  Result<void> open(const std::string& server) {
    const auto address = kv::split_address(server);
    if (!address || address->host.empty() || address->port.empty()) {
      return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
                  server + ": must be HOST:PORT of a `baton kv-perf --serve`");
    }
    server_ = server;
    stream_.expires_after(kConnectLimit);
    stream_.connect(address->host, address->port);
    if (stream_) return {};
    return fail(ErrorCode::kUnavailable, Stage::kHandoff,
                fmt::format("{} is not reached ({}): start `baton kv-perf --serve --listen "
                            "HOST:PORT` there",
                            server, stream_.error().message()));
  }

  // The answer to a line.
  Result<std::string> ask(const std::string& line, Duration limit) {
    stream_.expires_after(limit);
    stream_ << line << std::flush;
    std::string answer;
    for (char c = 0; answer.size() < kLongestLine && stream_.get(c);) {
      if (c == '\n') return answer;
      answer += c;
    }
    return fail(ErrorCode::kUnavailable, Stage::kHandoff,
                fmt::format("{} gave no answer ({})", server_,
                            stream_.error() ? stream_.error().message() : "it hung up"));
  }

  // The address by which this host reaches the server.
  std::string own_host() {
    boost::system::error_code error;
    const auto here = stream_.socket().local_endpoint(error).address();
    return here.is_v6() ? "[" + here.to_string() + "]" : here.to_string();
  }

 private:
  tcp::iostream stream_;
  std::string server_;
};

// Fills in a row; what stops it is its error.
class RowMeasurement {
 public:
  RowMeasurement(Connection& connection, Row& row, int repetitions)
      : connection_(connection), row_(row), repetitions_(repetitions) {}

  template <class BeforeFetch>
  Result<void> run(BeforeFetch before_fetch) {
    const auto answer = connection_.ask(Request{row_.transport, row_.shape}.line(), kBlocksLimit);
    if (!answer) return std::unexpected(answer.error());
    const auto ready = read_ready(*answer);
    if (!ready) return std::unexpected(ready.error());
    auto consumer = kv::SampleConsumer::start(
        {.listen = connection_.own_host() + ":0", .transport = row_.transport}, row_.shape);
    if (!consumer) return std::unexpected(consumer.error());
    for (int i = 0; i <= repetitions_; ++i) {
      before_fetch(i + 1, repetitions_ + 1);
      const auto seconds = fetch(*consumer, *ready);
      if (!seconds) return std::unexpected(seconds.error());
      if (i == 0) {
        row_.first = *seconds;
      } else {
        row_.seconds.push_back(*seconds);
      }
    }
    return {};
  }

 private:
  Result<double> fetch(kv::SampleConsumer& consumer, const Ready& ready) {
    const TransferId transfer = TransferId::draw(random_);
    const auto answer = connection_.ask(offer_line(transfer), kBlocksLimit);
    if (!answer) return std::unexpected(answer.error());
    if (auto offered = read_offered(*answer, transfer); !offered) {
      return std::unexpected(offered.error());
    }
    const auto summary = consumer.fetch(ready.address, ready.epoch, transfer, kFetchLimit);
    if (!summary) return std::unexpected(summary.error());
    if (summary->blocks == row_.shape.blocks && summary->bytes == row_.shape.total()) {
      return to_seconds(summary->total);
    }
    return fail(ErrorCode::kUpstream, Stage::kHandoff,
                fmt::format("{} blocks came, not {}", summary->blocks, row_.shape.blocks));
  }

  Connection& connection_;
  Row& row_;
  const int repetitions_;
  std::random_device random_;
};

}  // namespace

double Row::best() const { return std::ranges::min(seconds); }

double Row::median() const { return bench::Sample(seconds).median(); }

double Row::gb_per_s(double the_seconds) const {
  return static_cast<double>(shape.total().count()) / the_seconds / 1e9;
}

Result<std::vector<Row>> measure(const Plan& plan, const Progress& progress) {
  std::vector<Row> rows;
  const std::size_t count = plan.shapes.size() * plan.transports.size();
  for (const kv::BlockShape& shape : plan.shapes) {
    for (const std::string& transport : plan.transports) {
      Row row{.shape = shape, .transport = transport};
      Connection connection;
      if (auto opened = connection.open(plan.server); !opened) {
        return std::unexpected(opened.error());
      }
      const auto measured =
          RowMeasurement(connection, row, plan.repetitions).run([&](int fetch, int fetches) {
            progress(row, rows.size() + 1, count, fetch, fetches);
          });
      if (!measured) row.error = measured.error();
      rows.push_back(std::move(row));
    }
  }
  return rows;
}

}  // namespace baton::orchestrator::kv_perf
