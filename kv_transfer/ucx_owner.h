#pragma once

#include <ucp/api/ucp.h>

#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/error.h"
#include "core/ids.h"
#include "kv_transfer/one_time_tokens.h"
#include "kv_transfer/published_blocks.h"
#include "kv_transfer/ucx_worker.h"
#include "kv_transfer/wire.h"

namespace baton::kv {

inline constexpr unsigned kUcxFetchMessage = 1;  // reader to owner: wire::FetchHeader, Wanted[]
inline constexpr unsigned kUcxPieceMessage = 2;  // owner to reader: wire::PieceHeader, bytes
inline constexpr int kUcxMaxOutstanding = 64;

// The owner's half of the ucx transport: listens, and answers what readers ask for from the leases
// that are open. Owned by the transport, used on the kv thread only. Promises: a slot is pinned
// from the check of its generation until UCX no longer reads it; at most 64 answers to a reader at
// once, none of them for long after it has stopped to take any.
class UcxOwner {
 public:
  UcxOwner(Loop loop, UcxWorker& worker, BlockArena& arena);
  ~UcxOwner();

  [[nodiscard]] Result<void> listen(const std::string& host);
  [[nodiscard]] const std::string& address() const { return address_; }

  [[nodiscard]] OneTimeTokens& tokens() { return tokens_; }
  [[nodiscard]] PublishedBlocks& blocks() { return blocks_; }

  void stop(std::function<void()> done);

 private:
  struct Guest;  // one reader's connection
  struct Answer;
  struct Request {
    TransferId transfer;
    wire::Wanted wanted;
    Slices slices;
  };

  static void on_connect(ucp_conn_request_h request, void* self);
  static void on_error(void* guest, ucp_ep_h endpoint, ucs_status_t status);
  static ucs_status_t on_fetch(void* self, const void* header, std::size_t header_bytes, void* body,
                               std::size_t body_bytes, const ucp_am_recv_param_t* param);
  static void on_sent(void* request, ucs_status_t status, void* answer);

  void accept(ucp_conn_request_h request);
  void serve(const std::shared_ptr<Guest>& guest);
  void answer(const std::shared_ptr<Guest>& guest, const Request& request);
  // Drops a reader whose greeting has no valid token.
  void greet(const std::shared_ptr<Guest>& guest, std::span<const std::byte> token);
  void send(Answer* answer);
  void sent(Answer* answer);
  // Drops readers that take none of what they asked for, as long as somebody is owed something.
  void watch();
  void drop(const std::shared_ptr<Guest>& guest);
  void settle();

  const Loop loop_;
  UcxWorker& worker_;
  OneTimeTokens tokens_{"ucx"};
  PublishedBlocks blocks_;
  ucp_listener_h listener_ = nullptr;
  std::string address_;
  std::unordered_map<ucp_ep_h, std::shared_ptr<Guest>> guests_;
  boost::asio::steady_timer watch_;
  bool watching_ = false;
  int under_way_ = 0;  // answers that UCX has, endpoints that it closes
  std::function<void()> stopped_;
};

}  // namespace baton::kv
