#include "kv_transfer/layout.h"

#include <fmt/format.h>
#include <xxhash.h>

namespace baton::kv {
namespace {

void add(std::string& text, std::string_view name, std::string_view value) {
  text += fmt::format("{}={}:{};", name, value.size(), value);
}

}  // namespace

std::string KvLayout::canonical() const {
  std::string text = "baton-kv-layout-1;";
  add(text, "engine", engine);
  add(text, "model", model);
  add(text, "key_type", key_type);
  add(text, "value_type", value_type);
  add(text, "order", order);
  add(text, "extra", extra);
  text += fmt::format(
      "flash_attention={};unified={};layers={};kv_heads={};key_dim={};"
      "value_dim={};block_tokens={};",
      flash_attention, unified, layers, kv_heads, key_dim, value_dim, block_tokens);
  return text;
}

std::uint64_t KvLayout::hash() const {
  const std::string text = canonical();
  const std::uint64_t hash = XXH3_64bits(text.data(), text.size());
  return hash == 0 ? 1 : hash;
}

}  // namespace baton::kv
