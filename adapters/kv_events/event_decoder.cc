#include "adapters/kv_events/event_decoder.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "adapters/kv_events/msgpack_reader.h"

namespace baton::adapters {
namespace {

using Value = MsgpackReader::Kind;

enum class Member : std::uint8_t {
  kNone,  // of no use here
  kHashes,
  kParent,
  kTokens,
  kBlockSize,
  kLoraId,
  kMedium,
  kLoraName,
  kExtraKeys,
  kGroup,
  kLocality,
  kSalt,
};

struct NamedMember {
  std::string_view name;
  Member member;
};

constexpr std::array kMembers = {
    NamedMember{"block_hashes", Member::kHashes}, NamedMember{"parent_block_hash", Member::kParent},
    NamedMember{"token_ids", Member::kTokens},    NamedMember{"block_size", Member::kBlockSize},
    NamedMember{"lora_id", Member::kLoraId},      NamedMember{"medium", Member::kMedium},
    NamedMember{"lora_name", Member::kLoraName},  NamedMember{"extra_keys", Member::kExtraKeys},
    NamedMember{"group_idx", Member::kGroup},     NamedMember{"locality", Member::kLocality},
    NamedMember{"cache_salt", Member::kSalt},
};

// By their place behind the type, in the order of the classes' members.
constexpr std::array kStoredPlaces = {
    Member::kHashes, Member::kParent, Member::kTokens,   Member::kBlockSize,
    Member::kLoraId, Member::kMedium, Member::kLoraName, Member::kExtraKeys,
    Member::kGroup,  Member::kNone,   Member::kNone,     Member::kLocality,
};
constexpr std::array kRemovedPlaces = {Member::kHashes, Member::kMedium, Member::kGroup,
                                       Member::kLocality};

Member member_of(std::string_view name) {
  const auto found = std::ranges::find(kMembers, name, &NamedMember::name);
  return found == kMembers.end() ? Member::kNone : found->member;
}

// What went into a block's hash beside its tokens and the blocks before it.
struct BlockKeys {
  std::vector<std::string_view> texts;
  bool has_others = false;
};

// All that an event of any type can say. Texts are views of the payload.
struct RawEvent {
  std::vector<std::uint64_t> hashes;
  std::optional<std::uint64_t> parent;
  std::vector<TokenId> tokens;
  bool tokens_are_ids = true;
  std::uint64_t block_size = 0;
  bool has_lora_id = false;
  std::string_view lora_name;
  std::string_view salt;
  std::vector<BlockKeys> keys;
  std::optional<std::uint32_t> group;
  bool is_resident = true;
};

std::optional<std::uint64_t> read_hash(MsgpackReader& in) {
  if (in.next() == Value::kInteger) return in.integer();
  const auto bytes = in.binary();
  if (!bytes || bytes->empty()) return std::nullopt;
  std::uint64_t hash = 0;
  for (const char byte : bytes->substr(bytes->size() - std::min<std::size_t>(bytes->size(), 8))) {
    hash = hash << 8 | static_cast<unsigned char>(byte);
  }
  return hash;
}

bool read_hashes(MsgpackReader& in, std::vector<std::uint64_t>& hashes) {
  const auto count = in.array();
  if (!count) return false;
  hashes.clear();
  hashes.reserve(*count);
  for (std::uint32_t i = 0; i < *count; ++i) {
    const auto hash = read_hash(in);
    if (!hash) return false;
    hashes.push_back(*hash);
  }
  return true;
}

// Pairs of ids, which SGLang stores with EAGLE (mem_cache/events.py, is_bigram), are no prompt.
bool read_tokens(MsgpackReader& in, RawEvent& event) {
  const auto count = in.array();
  if (!count) return false;
  event.tokens.clear();
  event.tokens.reserve(*count);
  for (std::uint32_t i = 0; i < *count; ++i) {
    const auto id = in.integer();
    if (id && *id <= std::uint64_t{std::numeric_limits<TokenId>::max()}) {
      event.tokens.push_back(static_cast<TokenId>(*id));
      continue;
    }
    event.tokens_are_ids = false;
    if (!id && !in.skip()) return false;
  }
  return true;
}

bool read_keys_of_block(MsgpackReader& in, BlockKeys& keys) {
  if (in.nil()) return true;
  const auto count = in.array();
  if (!count) return false;
  for (std::uint32_t i = 0; i < *count; ++i) {
    if (const auto text = in.string()) {
      keys.texts.push_back(*text);
      continue;
    }
    keys.has_others = true;
    if (!in.skip()) return false;
  }
  return true;
}

bool read_keys(MsgpackReader& in, std::vector<BlockKeys>& keys) {
  if (in.nil()) return true;
  const auto count = in.array();
  if (!count) return false;
  keys.clear();
  for (std::uint32_t i = 0; i < *count; ++i) {
    if (!read_keys_of_block(in, keys.emplace_back())) return false;
  }
  return true;
}

// A text, or nil in place of `absent`.
std::optional<std::string_view> read_text(MsgpackReader& in, std::string_view absent) {
  return in.nil() ? absent : in.string();
}

// False: the value is not of the member's type, or the payload ends within it.
bool read_member(MsgpackReader& in, Member member, RawEvent& event) {
  switch (member) {
    case Member::kNone: return in.skip();
    case Member::kHashes: return read_hashes(in, event.hashes);
    case Member::kParent:
      if (in.nil()) return true;
      event.parent = read_hash(in);
      return event.parent.has_value();
    case Member::kTokens: return read_tokens(in, event);
    case Member::kBlockSize: {
      const auto size = in.integer();
      event.block_size = size.value_or(0);
      return size.has_value();
    }
    case Member::kLoraId:
      if (in.nil()) return true;
      event.has_lora_id = true;
      return in.integer().has_value();
    case Member::kMedium: {
      const auto medium = read_text(in, "GPU");
      if (medium != "GPU") event.is_resident = false;
      return medium.has_value();
    }
    case Member::kLocality: {
      const auto locality = read_text(in, "LOCAL");
      if (locality != "LOCAL") event.is_resident = false;
      return locality.has_value();
    }
    case Member::kLoraName: {
      const auto name = read_text(in, "");
      event.lora_name = name.value_or("");
      return name.has_value();
    }
    case Member::kSalt: {
      const auto salt = read_text(in, "");
      event.salt = salt.value_or("");
      return salt.has_value();
    }
    case Member::kExtraKeys: return read_keys(in, event.keys);
    case Member::kGroup: {
      if (in.nil()) return true;
      const auto group = in.integer();
      if (!group || *group > std::numeric_limits<std::uint32_t>::max()) return false;
      event.group = static_cast<std::uint32_t>(*group);
      return true;
    }
  }
  return false;
}

bool read_map_members(MsgpackReader& in, std::uint32_t count, RawEvent& event) {
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto key = in.string();
    if (!key && !in.skip()) return false;
    if (!read_member(in, key ? member_of(*key) : Member::kNone, event)) return false;
  }
  return true;
}

bool read_array_members(MsgpackReader& in, std::uint32_t count, std::span<const Member> places,
                        RawEvent& event) {
  for (std::uint32_t i = 0; i < count; ++i) {
    if (in.next() == Value::kMap) {  // further members, by name
      const auto pairs = in.map();
      if (!pairs || !read_map_members(in, *pairs, event)) return false;
      continue;
    }
    const Member member = i < places.size() ? places[i] : Member::kNone;
    if (!read_member(in, member, event)) return false;
  }
  return true;
}

// vLLM's keys of a block, untagged (v1/core/kv_cache_utils.py, to_event_extra_keys): the adapter's
// name, pairs of an input's hash and offset, the salt in a prompt's first block, digests of
// embeddings.
void settle_keys(const RawEvent& raw, KvBlocksStored& stored) {
  if (!raw.tokens_are_ids || (raw.has_lora_id && raw.lora_name.empty())) stored.plain_blocks = 0;
  const std::size_t blocks = std::min(raw.keys.size(), stored.blocks.size());
  for (std::size_t i = 0; i < blocks && i < stored.plain_blocks; ++i) {
    std::span<const std::string_view> texts = raw.keys[i].texts;
    if (!raw.lora_name.empty() && !texts.empty() && texts.front() == raw.lora_name) {
      texts = texts.subspan(1);
    }
    const bool begins_prompt = i == 0 && !stored.parent;
    if (begins_prompt && texts.size() == 1 && stored.salt.empty()) {
      stored.salt = texts.front();
      texts = {};
    }
    if (!texts.empty() || raw.keys[i].has_others) stored.plain_blocks = i;
  }
}

KvEvent stored_event(RawEvent raw) {
  KvBlocksStored stored;
  stored.blocks = std::move(raw.hashes);
  stored.parent = raw.parent;
  stored.tokens = std::move(raw.tokens);
  stored.block_tokens = raw.block_size;
  stored.is_resident = raw.is_resident;
  stored.lora = raw.lora_name;
  stored.salt = raw.salt;
  stored.group = raw.group.value_or(0);
  settle_keys(raw, stored);
  return stored;
}

struct EventType {
  std::string_view name;
  std::span<const Member> places;
  KvEvent (*make)(RawEvent raw);
};

constexpr std::array<EventType, 3> kTypes = {{
    {"BlockStored", kStoredPlaces, stored_event},
    {"BlockRemoved", kRemovedPlaces,
     [](RawEvent raw) -> KvEvent {
       return KvBlocksRemoved{std::move(raw.hashes), raw.is_resident, raw.group};
     }},
    {"AllBlocksCleared", {}, [](RawEvent) -> KvEvent { return KvBlocksCleared(); }},
}};

const EventType* type_of(std::string_view name) {
  const auto found = std::ranges::find(kTypes, name, &EventType::name);
  return found == kTypes.end() ? nullptr : &*found;
}

// The type may stand anywhere in the map: it is looked for first, on a reader of its own.
std::optional<std::string_view> type_in_map(MsgpackReader in, std::uint32_t count) {
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto key = in.string();
    if (key == "type") return in.string();
    if ((!key && !in.skip()) || !in.skip()) break;
  }
  return std::nullopt;
}

bool read_event(MsgpackReader& in, KvEventBatch& batch) {
  const bool is_map = in.next() == Value::kMap;
  MsgpackReader whole = in;
  const auto count = is_map ? in.map() : in.array();
  if (!count || *count == 0) return false;
  const auto name = is_map ? type_in_map(in, *count) : in.string();
  if (!name) return false;
  const EventType* type = type_of(*name);
  if (type == nullptr) {
    ++batch.unknown_events;
    in = whole;
    return in.skip();
  }
  RawEvent raw;
  const bool good = is_map ? read_map_members(in, *count, raw)
                           : read_array_members(in, *count - 1, type->places, raw);
  if (good) batch.events.push_back(type->make(std::move(raw)));
  return good;
}

}  // namespace

Result<KvEventBatch> decode_kv_events(std::string_view payload) {
  const auto malformed = [] {
    return fail(ErrorCode::kUpstream, Stage::kRouter, "KV events that cannot be read", true);
  };
  MsgpackReader in(payload);
  const auto members = in.array();
  if (!members || *members < 2 || !in.skip()) return malformed();
  const auto count = in.array();
  if (!count) return malformed();
  KvEventBatch batch;
  for (std::uint32_t i = 0; i < *count; ++i) {
    if (!read_event(in, batch)) return malformed();
  }
  for (std::uint32_t i = 2; i < *members; ++i) {
    if (!in.skip()) return malformed();
  }
  return batch;
}

}  // namespace baton::adapters
