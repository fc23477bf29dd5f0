#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <memory>

namespace baton::kv {

// The queue of the kv thread. Shared, so that a thread of gRPC that is still inside post() keeps it
// alive while the Node that ran it goes.
using Loop = std::shared_ptr<boost::asio::io_context>;

}  // namespace baton::kv
