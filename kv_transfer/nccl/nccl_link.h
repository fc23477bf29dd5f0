#pragma once

#include <array>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "core/error.h"
#include "kv_transfer/loop.h"
#include "kv_transfer/nccl/control_stream.h"
#include "kv_transfer/nccl/nccl_channel.h"
#include "kv_transfer/nccl/nccl_context.h"
#include "kv_transfer/nccl/nccl_frame.h"
#include "kv_transfer/piece_queue.h"
#include "kv_transfer/transport.h"
#include "kv_transfer/wire.h"

namespace baton::kv {

// The reader's end of the nccl transport: asks for pieces over the control connection, is told in
// which packs they come, and has the channel take each pack into the pieces' places. Known to its
// transport until it is gone. On the kv thread.
class NcclLink final : public Link, public std::enable_shared_from_this<NcclLink> {
 public:
  static constexpr int kMaxOutstanding = 128;

  // `gone` runs once, when nothing of the link is under way any more.
  NcclLink(Loop loop, std::shared_ptr<const NcclContext> context, std::function<void()> gone);

  // `done` runs once, in a later turn: kUnavailable (nobody there, or not in time), kUnsupported
  // (another NCCL there than here).
  void begin(const TransportOffer& offer, TimePoint deadline, Transport::Connected done);

  void fetch(const FetchTerms& terms, std::vector<BlockRead> reads, PieceDone done) override;
  [[nodiscard]] bool failed() const override { return failure_.has_value(); }
  void close() override;
  // Ends it at once.
  void give_up(const Error& reason);

 private:
  struct Asked {
    Piece piece;
    std::uint64_t tag = 0;
    std::uint64_t checksum = 0;  // that the answer has
  };

  void connected(boost::asio::ip::tcp::socket socket, const std::string& token);
  void welcomed();
  void joined(const Result<void>& result);
  void ask();
  [[nodiscard]] std::size_t room() const;
  void await_pack();
  void pack_announced();
  void pack_described();
  // Whether headers_ say what was asked for, in that order.
  [[nodiscard]] bool is_answer() const;
  void receive(std::vector<Asked> good);
  void received(const std::vector<Asked>& good, const Result<void>& result);
  void report_connected();

  const Loop loop_;
  const std::shared_ptr<const NcclContext> context_;
  std::function<void()> gone_;
  boost::asio::ip::tcp::socket socket_;  // until it is connected
  boost::asio::ip::tcp::resolver resolver_;
  boost::asio::steady_timer timer_;
  Transport::Connected connected_;
  std::shared_ptr<ControlStream> control_;
  std::shared_ptr<NcclChannel> channel_;
  std::optional<Error> failure_;
  wire::NcclWelcome welcome_;
  wire::PackHeader pack_;
  std::vector<wire::PieceHeader> headers_;  // of the pack
  std::uint64_t last_tag_ = 0;
  PieceQueue queue_;
  std::deque<Asked> asked_;            // in this order in the packs to come
  std::size_t in_channel_ = 0;         // pieces whose pack the channel takes in
  std::size_t outstanding_bytes_ = 0;  // of these and of what is asked for
};

}  // namespace baton::kv
