#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <memory>
#include <string>
#include <unordered_set>

#include "core/error.h"
#include "kv_transfer/acceptor.h"
#include "kv_transfer/loop.h"
#include "kv_transfer/one_time_tokens.h"
#include "kv_transfer/published_blocks.h"

namespace baton::kv {

class TcpGuest;

// The owner's half of the tcp transport: listens, and answers what readers with a token ask for
// from the leases that are open. Owned by the transport, used on the kv thread only.
class TcpOwner {
 public:
  TcpOwner(Loop loop, BlockArena& arena);
  ~TcpOwner();

  [[nodiscard]] Result<void> listen(const std::string& host);
  [[nodiscard]] const std::string& address() const { return address_; }
  [[nodiscard]] OneTimeTokens& tokens() { return tokens_; }
  [[nodiscard]] PublishedBlocks& blocks() { return blocks_; }

  void stop();

 private:
  friend class TcpGuest;

  void welcome(boost::asio::ip::tcp::socket socket);

  const Loop loop_;
  PublishedBlocks blocks_;
  OneTimeTokens tokens_{"tcp"};
  Acceptor<boost::asio::ip::tcp> acceptor_;
  std::string address_;
  std::unordered_set<std::shared_ptr<TcpGuest>> guests_;
};

}  // namespace baton::kv
