#include "adapters/kv_events/event_encoder.h"

#include <nlohmann/json.hpp>
#include <variant>
#include <vector>

namespace baton::adapters {
namespace {

using Json = nlohmann::json;

class Encoder {
 public:
  explicit Encoder(KvEventEncoding encoding) : encoding_(encoding) {}

  [[nodiscard]] Json operator()(const KvBlocksStored& event) const {
    const Json lora_id = event.lora.empty() ? Json() : Json(1);
    const Json lora_name = event.lora.empty() ? Json() : Json(event.lora);
    const Json parent = event.parent ? hash(*event.parent) : Json();
    if (encoding_ == KvEventEncoding::kSglang) {
      Json out = {"BlockStored", hashes(event.blocks),     parent, event.tokens, event.block_tokens,
                  Json(),        medium(event.is_resident)};
      if (!event.salt.empty()) out.push_back(Json{{"cache_salt", event.salt}});
      return out;
    }
    if (encoding_ == KvEventEncoding::kVllmArray) {
      return {"BlockStored",
              hashes(event.blocks),
              parent,
              event.tokens,
              event.block_tokens,
              lora_id,
              medium(event.is_resident),
              lora_name,
              extra_keys(event),
              event.group};
    }
    Json out = {{"type", "BlockStored"},
                {"block_hashes", hashes(event.blocks)},
                {"parent_block_hash", parent},
                {"token_ids", event.tokens},
                {"block_size", event.block_tokens},
                {"lora_id", lora_id},
                {"medium", medium(event.is_resident)},
                {"lora_name", lora_name},
                {"group_idx", event.group}};
    if (Json keys = extra_keys(event); !keys.is_null()) out["extra_keys"] = std::move(keys);
    return out;
  }

  [[nodiscard]] Json operator()(const KvBlocksRemoved& event) const {
    switch (encoding_) {
      case KvEventEncoding::kSglang:
        return {"BlockRemoved", hashes(event.blocks), medium(event.is_resident)};
      case KvEventEncoding::kVllmArray:
        return {"BlockRemoved", hashes(event.blocks), medium(event.is_resident), group(event)};
      default:
        return {{"type", "BlockRemoved"},
                {"block_hashes", hashes(event.blocks)},
                {"medium", medium(event.is_resident)},
                {"group_idx", group(event)}};
    }
  }

  [[nodiscard]] Json operator()(const KvBlocksCleared&) const {
    const bool is_map =
        encoding_ == KvEventEncoding::kVllmMap || encoding_ == KvEventEncoding::kVllmBytes;
    return is_map ? Json{{"type", "AllBlocksCleared"}} : Json::array({"AllBlocksCleared"});
  }

 private:
  [[nodiscard]] Json hash(std::uint64_t value) const {
    if (encoding_ == KvEventEncoding::kSglang) return static_cast<std::int64_t>(value);
    if (encoding_ != KvEventEncoding::kVllmBytes) return value;
    std::vector<std::uint8_t> bytes(32);
    for (std::size_t i = 32; i-- > 24; value >>= 8) bytes[i] = value & 0xFF;
    return Json::binary(std::move(bytes));
  }
  [[nodiscard]] Json hashes(std::span<const std::uint64_t> values) const {
    Json out = Json::array();
    for (const std::uint64_t value : values) out.push_back(hash(value));
    return out;
  }
  [[nodiscard]] const char* medium(bool is_resident) const {
    if (is_resident) return "GPU";
    return encoding_ == KvEventEncoding::kSglang ? "CPU_PINNED" : "CPU";
  }
  [[nodiscard]] static Json group(const KvBlocksRemoved& event) {
    return event.group ? Json(*event.group) : Json();
  }
  // As vLLM has them: the adapter's name for every block, the salt for a prompt's first.
  [[nodiscard]] static Json extra_keys(const KvBlocksStored& event) {
    if (event.lora.empty() && (event.salt.empty() || event.parent)) return {};
    Json out = Json::array();
    for (std::size_t i = 0; i < event.blocks.size(); ++i) {
      Json keys = Json::array();
      if (!event.lora.empty()) keys.push_back(event.lora);
      if (i == 0 && !event.parent && !event.salt.empty()) keys.push_back(event.salt);
      out.push_back(keys.empty() ? Json() : std::move(keys));
    }
    return out;
  }

  KvEventEncoding encoding_;
};

}  // namespace

std::string encode_kv_events(std::span<const KvEvent> events, double seconds, int rank,
                             KvEventEncoding encoding) {
  const Encoder encode(encoding);
  Json list = Json::array();
  for (const KvEvent& event : events) list.push_back(std::visit(encode, event));
  std::string payload;
  Json::to_msgpack(Json{seconds, std::move(list), rank}, payload);
  return payload;
}

}  // namespace baton::adapters
