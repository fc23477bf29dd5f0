#pragma once

#include <cstdint>
#include <string>

namespace baton::kv {

// How KV bytes lie in a block, declared by the engine. Two pods exchange KV only if the hashes of
// their layouts agree, since the bytes of another layout would be accepted and mean something else.
struct KvLayout {
  std::string engine{};      // format of a block's bytes, with version, as "llama-state/3"
  std::string model{};       // fingerprint of the weights
  std::string key_type{};    // element type of K, as "f16"
  std::string value_type{};  // element type of V
  std::string order{};       // how layers, K and V, heads and tokens nest, as "layer,kv,token,head"
  bool flash_attention = false;  // decides whether llama.cpp stores V transposed
  bool unified = false;          // one cell pool for all sequences
  int layers = 0;
  int kv_heads = 0;
  int key_dim = 0;    // elements of one K head
  int value_dim = 0;  // elements of one V head
  int block_tokens = 0;
  std::string extra{};  // whatever else must agree, as RoPE scaling

  // Every field as one line of text with lengths, so that no two layouts read alike.
  [[nodiscard]] std::string canonical() const;
  // XXH3-64 of canonical(); never 0.
  [[nodiscard]] std::uint64_t hash() const;
};

}  // namespace baton::kv
