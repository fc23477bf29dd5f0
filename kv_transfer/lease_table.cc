#include "kv_transfer/lease_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace baton::kv {
namespace {

using Kind = LeaseAction::Kind;

Error stale(TransferId id) {
  return {ErrorCode::kStale, Stage::kHandoff,
          fmt::format("the lease of transfer {} has ended", id.str()), true};
}

Error too_many() {
  return {ErrorCode::kUnavailable, Stage::kHandoff, "too many leases are open", true};
}

}  // namespace

std::string_view name_of(LeaseState state) {
  switch (state) {
    case LeaseState::kReserved: return "reserved";
    case LeaseState::kStreaming: return "streaming";
    case LeaseState::kSealed: return "sealed";
    case LeaseState::kCommitted: return "committed";
    case LeaseState::kAborting: return "aborting";
    case LeaseState::kQuarantined: return "quarantined";
    case LeaseState::kFreed: return "freed";
  }
  return "unknown";
}

LeaseTable::Actions LeaseTable::open(TransferId id, LeaseTerms terms, TimePoint now) {
  Actions out;
  if (ended_.contains(id)) return out;
  if (!leases_.contains(id) && leases_.size() >= options_.max_leases) {
    remember(id, LeaseState::kFreed, too_many());
    return out;
  }
  Lease& lease = leases_[id];
  if (lease.state != LeaseState::kReserved) return out;
  lease.state = LeaseState::kStreaming;
  lease.terms = terms;
  lease.expires.reset();
  lease.opened = now;
  lease.margin = options_.ttl;
  return out;
}

LeaseTable::Actions LeaseTable::publish(TransferId id, std::vector<BlockDescriptor> blocks) {
  Actions out;
  const auto it = leases_.find(id);
  const bool accepts = it != leases_.end() && it->second.state == LeaseState::kStreaming &&
                       it->second.blocks.size() + blocks.size() <= options_.max_blocks;
  if (!accepts) {
    out.push_back({.kind = Kind::kUnpin, .id = id, .blocks = std::move(blocks)});
    return out;
  }
  Lease& lease = it->second;
  const auto first = static_cast<std::uint32_t>(lease.blocks.size());
  lease.blocks.insert(lease.blocks.end(), blocks.begin(), blocks.end());
  out.push_back({.kind = Kind::kOffer, .id = id, .first_index = first, .blocks = blocks});
  if (lease.reader != 0) {
    out.push_back({.kind = Kind::kPublish,
                   .id = id,
                   .reader = lease.reader,
                   .first_index = first,
                   .blocks = std::move(blocks)});
  }
  return out;
}

LeaseTable::Actions LeaseTable::seal(TransferId id, TimePoint now) {
  Actions out;
  const auto it = leases_.find(id);
  if (it == leases_.end() || it->second.state != LeaseState::kStreaming) return out;
  Lease& lease = it->second;
  lease.state = LeaseState::kSealed;
  if (lease.reader == 0) {
    lease.expires = now + options_.ttl;
  } else {
    out.push_back({.kind = Kind::kSeal,
                   .id = id,
                   .reader = lease.reader,
                   .total_blocks = static_cast<std::uint32_t>(lease.blocks.size()),
                   .terms = lease.terms});
  }
  return out;
}

LeaseTable::Actions LeaseTable::abort(TransferId id, Error reason, TimePoint now) {
  Actions out;
  const auto it = leases_.find(id);
  if (it == leases_.end()) {
    remember(id, LeaseState::kFreed, std::move(reason));
  } else {
    begin_abort(it, std::move(reason), now, out);
  }
  return out;
}

LeaseTable::Actions LeaseTable::release(TransferId id, TimePoint now) {
  const auto it = leases_.find(id);
  if (it != leases_.end() && it->second.state == LeaseState::kSealed && it->second.reader == 0) {
    Actions out;
    end(it, LeaseState::kCommitted, stale(id), now, out);
    return out;
  }
  return abort(id,
               {ErrorCode::kCancelled, Stage::kHandoff,
                fmt::format("the lease of transfer {} was given back", id.str())},
               now);
}

LeaseTable::Actions LeaseTable::follow(TransferId id, ReaderKey reader, TimePoint now) {
  Actions out;
  if (const auto ended = ended_.find(id); ended != ended_.end()) {
    refuse_reader(id, reader, ended->second.reason, out);
    return out;
  }
  const auto [it, is_new] = leases_.try_emplace(id);
  Lease& lease = it->second;
  if (is_new && leases_.size() > options_.max_leases) {
    leases_.erase(it);
    refuse_reader(id, reader,
                  {ErrorCode::kUnavailable, Stage::kHandoff, "too many leases are open", true},
                  out);
    return out;
  }
  if (lease.state == LeaseState::kAborting || lease.state == LeaseState::kQuarantined) {
    refuse_reader(id, reader, lease.reason, out);
    return out;
  }
  if (lease.reader == reader) return out;
  if (lease.reader != 0) {
    refuse_reader(id, lease.reader,
                  {ErrorCode::kCancelled, Stage::kHandoff, "another reader took over the lease"},
                  out);
  }
  lease.reader = lease.last_reader = reader;
  if (lease.expires) lease.margin = std::max(*lease.expires - now, Duration::zero());
  lease.expires.reset();
  if (lease.state == LeaseState::kReserved) {
    lease.expires = now + options_.wait_for_open;
    return out;
  }
  if (!lease.blocks.empty()) {
    out.push_back({.kind = Kind::kPublish, .id = id, .reader = reader, .blocks = lease.blocks});
  }
  if (lease.state == LeaseState::kSealed) {
    out.push_back({.kind = Kind::kSeal,
                   .id = id,
                   .reader = reader,
                   .total_blocks = static_cast<std::uint32_t>(lease.blocks.size()),
                   .terms = lease.terms});
  }
  return out;
}

LeaseTable::Actions LeaseTable::told(TransferId id, ReaderKey reader) {
  const auto it = leases_.find(id);
  if (it != leases_.end() && it->second.reader == reader &&
      it->second.state == LeaseState::kAborting) {
    it->second.state = LeaseState::kQuarantined;
  }
  return {};
}

LeaseTable::Actions LeaseTable::lost(TransferId id, ReaderKey reader, TimePoint now) {
  Actions out;
  const auto it = leases_.find(id);
  if (it == leases_.end() || it->second.reader != reader) return out;
  Lease& lease = it->second;
  lease.reader = 0;
  switch (lease.state) {
    case LeaseState::kReserved: leases_.erase(it); break;
    case LeaseState::kStreaming: break;  // the engine ends it by seal() or abort()
    case LeaseState::kSealed: lease.expires = now + options_.ttl; break;
    case LeaseState::kAborting:
    case LeaseState::kQuarantined: end(it, LeaseState::kFreed, lease.reason, now, out); break;
    case LeaseState::kCommitted:
    case LeaseState::kFreed: break;
  }
  return out;
}

LeaseTable::Actions LeaseTable::acknowledge(TransferId id, ReaderKey reader, TimePoint now) {
  Actions out;
  const auto it = leases_.find(id);
  if (it == leases_.end() || it->second.state != LeaseState::kSealed) return out;
  if (it->second.last_reader != reader) return out;
  end(it, LeaseState::kCommitted, stale(id), now, out);
  return out;
}

LeaseTable::Actions LeaseTable::cancel(TransferId id, ReaderKey reader, TimePoint now) {
  const auto it = leases_.find(id);
  if (it != leases_.end() && it->second.reader != 0 && it->second.reader != reader) return {};
  Actions out = release(id, now);
  // A reader that cancels has stopped copying, so its lease needs no quarantine.
  for (LeaseAction& action : lost(id, reader, now)) out.push_back(std::move(action));
  return out;
}

LeaseTable::Actions LeaseTable::expire(TimePoint now) {
  Actions out;
  for (auto it = leases_.begin(); it != leases_.end();) {
    const auto here = it++;
    Lease& lease = here->second;
    if (!lease.expires || *lease.expires > now) continue;
    if (lease.state == LeaseState::kReserved) {
      refuse_reader(here->first, lease.reader,
                    {ErrorCode::kTimeout, Stage::kHandoff, "prefill did not begin in time", true},
                    out);
      leases_.erase(here);
    } else {
      // Sealed with no reader for the time to live, or in quarantine for long enough.
      const bool was_sealed = lease.state == LeaseState::kSealed;
      end(here, LeaseState::kFreed, was_sealed ? stale(here->first) : lease.reason, now, out);
    }
  }
  return out;
}

std::optional<LeaseState> LeaseTable::state(TransferId id) const {
  if (const auto it = leases_.find(id); it != leases_.end()) return it->second.state;
  if (const auto it = ended_.find(id); it != ended_.end()) return it->second.state;
  return std::nullopt;
}

std::vector<TransferId> LeaseTable::ids() const {
  std::vector<TransferId> ids;
  ids.reserve(leases_.size());
  for (const auto& [id, lease] : leases_) ids.push_back(id);
  return ids;
}

void LeaseTable::begin_abort(Leases::iterator it, Error reason, TimePoint now, Actions& out) {
  Lease& lease = it->second;
  if (lease.state == LeaseState::kAborting || lease.state == LeaseState::kQuarantined) return;
  if (lease.reader == 0) {
    end(it, LeaseState::kFreed, std::move(reason), now, out);
    return;
  }
  lease.state = LeaseState::kAborting;
  lease.reason = std::move(reason);
  lease.expires = now + options_.quarantine;
  out.push_back({.kind = Kind::kWithdraw, .id = it->first});
  out.push_back(
      {.kind = Kind::kAbort, .id = it->first, .reader = lease.reader, .reason = lease.reason});
}

void LeaseTable::end(Leases::iterator it, LeaseState state, Error reason, TimePoint now,
                     Actions& out) {
  const TransferId id = it->first;
  Lease& lease = it->second;
  out.push_back({.kind = Kind::kWithdraw, .id = id});
  if (lease.reader != 0) out.push_back({.kind = Kind::kClose, .id = id, .reader = lease.reader});
  if (!lease.blocks.empty()) {
    out.push_back({.kind = Kind::kUnpin, .id = id, .blocks = std::move(lease.blocks)});
  }
  out.push_back({.kind = Kind::kEnd,
                 .id = id,
                 .reason = reason,
                 .state = state,
                 .held = now - lease.opened,
                 .margin = lease.margin});
  leases_.erase(it);
  remember(id, state, std::move(reason));
}

void LeaseTable::remember(TransferId id, LeaseState state, Error reason) {
  if (!ended_.try_emplace(id, state, std::move(reason)).second) return;
  ended_order_.push_back(id);
  if (ended_order_.size() <= options_.remembered) return;
  ended_.erase(ended_order_.front());
  ended_order_.pop_front();
}

void LeaseTable::refuse_reader(TransferId id, ReaderKey reader, Error reason, Actions& out) const {
  out.push_back({.kind = Kind::kAbort, .id = id, .reader = reader, .reason = std::move(reason)});
  out.push_back({.kind = Kind::kClose, .id = id, .reader = reader});
}

}  // namespace baton::kv
