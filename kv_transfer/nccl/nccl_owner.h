#pragma once

#include <boost/asio/ip/tcp.hpp>
#include <functional>
#include <memory>
#include <string>
#include <unordered_set>

#include "core/error.h"
#include "kv_transfer/acceptor.h"
#include "kv_transfer/loop.h"
#include "kv_transfer/nccl/nccl_context.h"
#include "kv_transfer/one_time_tokens.h"
#include "kv_transfer/published_blocks.h"

namespace baton::kv {

class NcclGuest;

// The owner's half of the nccl transport: listens, makes a communicator with each reader that has
// a token, and answers what it asks for from the leases that are open. Owned by the transport, used
// on the kv thread only. Promises: a slot is pinned from the check of its generation until its
// bytes have been copied out of it.
class NcclOwner {
 public:
  NcclOwner(Loop loop, BlockArena& arena, std::shared_ptr<const NcclContext> context);
  ~NcclOwner();

  [[nodiscard]] Result<void> listen(const std::string& host);
  [[nodiscard]] const std::string& address() const { return address_; }
  [[nodiscard]] OneTimeTokens& tokens() { return tokens_; }
  [[nodiscard]] PublishedBlocks& blocks() { return blocks_; }

  // `done` runs when no communicator is left.
  void stop(std::function<void()> done);

 private:
  friend class NcclGuest;

  void welcome(boost::asio::ip::tcp::socket socket);
  void gone(const std::shared_ptr<NcclGuest>& guest);

  const Loop loop_;
  const std::shared_ptr<const NcclContext> context_;
  PublishedBlocks blocks_;
  OneTimeTokens tokens_{"nccl"};
  Acceptor<boost::asio::ip::tcp> acceptor_;
  std::string address_;
  std::unordered_set<std::shared_ptr<NcclGuest>> guests_;
  std::function<void()> stopped_;
};

}  // namespace baton::kv
