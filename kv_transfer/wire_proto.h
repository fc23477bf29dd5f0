#pragma once

#include "kv_transfer/control.pb.h"
#include "kv_transfer/wire.h"

// Between the messages of control.proto and checked values (kv_transfer/wire.h).
namespace baton::kv::wire {

[[nodiscard]] Result<Hello> decode(const v1::HandshakeRequest& message);
// A refusal decodes to the peer's error.
[[nodiscard]] Result<Welcome> decode(const v1::HandshakeReply& message);
[[nodiscard]] Result<Follow> decode(const v1::FollowRequest& message);
[[nodiscard]] Result<Event> decode(const v1::FollowEvent& message);
[[nodiscard]] Result<Release> decode(const v1::ReleaseRequest& message);

void encode(const Hello& value, v1::HandshakeRequest& message);
void encode(const Result<Welcome>& value, v1::HandshakeReply& message);
void encode(const Follow& value, v1::FollowRequest& message);
void encode(const Event& value, v1::FollowEvent& message);
void encode(const Release& value, v1::ReleaseRequest& message);

}  // namespace baton::kv::wire
