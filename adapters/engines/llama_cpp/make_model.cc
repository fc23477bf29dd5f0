#include "adapters/engines/llama_cpp/make_model.h"

#include <ggml.h>
#include <gguf.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <functional>
#include <memory>
#include <set>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "adapters/engines/llama_cpp/make_model_words.h"

namespace baton::adapters {
namespace {

constexpr int kLayers = 4;
constexpr int kWidth = 256;
constexpr int kHeads = 8;
constexpr int kKvHeads = 4;
constexpr int kHeadWidth = kWidth / kHeads;
constexpr int kKvWidth = kKvHeads * kHeadWidth;
constexpr int kFeedForward = 512;
constexpr int kContext = 16384;
constexpr int kLoraRank = 8;

// Scales found by measurement: sharp enough attention that answers do not fall into cycles, a head
// wide enough that the best two logits are apart.
constexpr float kEmbeddingScale = 0.6F;
constexpr float kClassInput = 6.0F;  // one-hot of the token's class in the residual stream
constexpr float kQueryKeyScale = 0.15F;
constexpr float kValueScale = 0.0625F;
constexpr float kAttentionOutScale = 0.025F;
constexpr float kGateScale = 0.0625F;
constexpr float kDownScale = 0.05F;
constexpr float kHeadScale = 0.45F;
constexpr float kClassBonus = 14.0F;

constexpr std::string_view kChatTemplate =
    "{%- if tools %}{{ '<|im_start|>system\\nTools: ' + (tools | tojson) + '<|im_end|>\\n' }}"
    "{%- endif %}"
    "{%- for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}";

// Near-normal weights, the same on every machine: integer arithmetic and one multiplication, no
// libm.
class WeightRng {
 public:
  explicit WeightRng(std::uint64_t seed) : state_(seed) {}

  // Mean 0, deviation 1: the sum of four uniform 16-bit values (Irwin-Hall).
  float normal() {
    const std::uint64_t bits = next();
    const auto sum = static_cast<std::int64_t>((bits & 0xffff) + ((bits >> 16) & 0xffff) +
                                               ((bits >> 32) & 0xffff) + (bits >> 48));
    constexpr double kDeviation = 37837.0;  // 65536 * sqrt(4 / 12)
    return static_cast<float>(static_cast<double>(sum - 2 * 65535) * (1.0 / kDeviation));
  }

 private:
  std::uint64_t next() {  // splitmix64
    state_ += 0x9e3779b97f4a7c15ULL;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  std::uint64_t state_;
};

// The GPT-2 alphabet: each byte as a printable code point, in UTF-8.
std::string byte_symbol(unsigned byte) {
  const auto printable = [](unsigned b) {
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
  };
  unsigned point = byte;
  if (!printable(byte)) {
    point = 256;
    for (unsigned b = 0; b < byte; ++b) point += printable(b) ? 0U : 1U;
  }
  if (point < 0x80) return {static_cast<char>(point)};
  return {static_cast<char>(0xc0U | (point >> 6)), static_cast<char>(0x80U | (point & 0x3fU))};
}

struct Vocabulary {
  std::vector<std::string> tokens;
  std::vector<std::int32_t> types;
  std::vector<WordClass> classes;
  std::vector<std::string> merges;
  std::int32_t bos = 0, end = 0;

  std::int32_t add(std::string text, std::int32_t type, WordClass word_class) {
    tokens.push_back(std::move(text));
    types.push_back(type);
    classes.push_back(word_class);
    return static_cast<std::int32_t>(tokens.size()) - 1;
  }
};

// 256 bytes, every word with all its beginnings (each one merge), three control tokens.
Vocabulary make_vocabulary() {
  constexpr std::int32_t kNormal = 1, kControl = 3;  // llama_token_type
  Vocabulary v;
  for (unsigned byte = 0; byte < 256; ++byte) {
    v.add(byte_symbol(byte), kNormal, byte == '\n' ? WordClass::kNewline : WordClass::kOther);
  }
  std::set<std::string> known;
  for (const WordList& list : kWordLists) {
    for (const std::string_view word : list.words) {
      std::string beginning = byte_symbol(static_cast<unsigned char>(word[0]));
      for (std::size_t i = 1; i < word.size(); ++i) {
        const std::string symbol = byte_symbol(static_cast<unsigned char>(word[i]));
        const std::string merged = beginning + symbol;
        if (known.insert(merged).second) {
          v.merges.push_back(beginning + " " + symbol);
          v.add(merged, kNormal, WordClass::kOther);
        }
        beginning = merged;
      }
    }
  }
  for (const WordList& list : kWordLists) {
    for (const std::string_view word : list.words) {
      std::string symbols;
      for (const char c : word) symbols += byte_symbol(static_cast<unsigned char>(c));
      for (std::size_t i = 0; i < v.tokens.size(); ++i) {
        if (v.tokens[i] == symbols) v.classes[i] = list.word_class;
      }
    }
  }
  v.bos = v.add("<|bos|>", kControl, WordClass::kOther);
  v.add("<|im_start|>", kControl, WordClass::kOther);
  v.end = v.add("<|im_end|>", kControl, WordClass::kEnd);
  return v;
}

// One GGUF file being put together; owns its metadata and tensors.
class GgufFile {
 public:
  GgufFile() : gguf_(gguf_init_empty(), gguf_free) {
    ggml_init_params params{};
    params.mem_size = 64UL << 20;
    tensors_.reset(ggml_init(params));
  }

  void text(const char* key, std::string_view value) {
    gguf_set_val_str(gguf_.get(), key, std::string(value).c_str());
  }
  void number(const char* key, std::uint32_t value) { gguf_set_val_u32(gguf_.get(), key, value); }
  void real(const char* key, float value) { gguf_set_val_f32(gguf_.get(), key, value); }
  void flag(const char* key, bool value) { gguf_set_val_bool(gguf_.get(), key, value); }
  void texts(const char* key, const std::vector<std::string>& values) {
    std::vector<const char*> pointers;
    for (const std::string& value : values) pointers.push_back(value.c_str());
    gguf_set_arr_str(gguf_.get(), key, pointers.data(), pointers.size());
  }
  void integers(const char* key, const std::vector<std::int32_t>& values) {
    gguf_set_arr_data(gguf_.get(), key, GGUF_TYPE_INT32, values.data(), values.size());
  }

  void vector(const std::string& name, int width, float value) {
    ggml_tensor* tensor = ggml_new_tensor_1d(tensors_.get(), GGML_TYPE_F32, width);
    float* data = ggml_get_data_f32(tensor);
    for (int i = 0; i < width; ++i) data[i] = value;
    add(tensor, name);
  }
  // `value(row, column)` is called in storage order.
  void matrix(const std::string& name, int columns, int rows,
              const std::function<float(int, int)>& value) {
    ggml_tensor* tensor = ggml_new_tensor_2d(tensors_.get(), GGML_TYPE_F32, columns, rows);
    float* data = ggml_get_data_f32(tensor);
    for (int row = 0; row < rows; ++row) {
      for (int column = 0; column < columns; ++column) {
        data[row * columns + column] = value(row, column);
      }
    }
    add(tensor, name);
  }

  [[nodiscard]] Result<void> write(const std::string& path) const {
    if (!gguf_write_to_file(gguf_.get(), path.c_str(), false)) {
      return fail(ErrorCode::kInvalidArgument, Stage::kConfig, "cannot write " + path);
    }
    return {};
  }

 private:
  struct FreeTensors {
    void operator()(ggml_context* context) const { ggml_free(context); }
  };
  void add(ggml_tensor* tensor, const std::string& name) {
    ggml_set_name(tensor, name.c_str());
    gguf_add_tensor(gguf_.get(), tensor);
  }
  std::unique_ptr<gguf_context, void (*)(gguf_context*)> gguf_;
  std::unique_ptr<ggml_context, FreeTensors> tensors_;
};

void describe_model(GgufFile& file, const Vocabulary& vocabulary) {
  file.text("general.architecture", "llama");
  file.text("general.name", "baton made model");
  file.number("general.file_type", 1);  // mostly f16
  file.number("llama.vocab_size", static_cast<std::uint32_t>(vocabulary.tokens.size()));
  file.number("llama.context_length", kContext);
  file.number("llama.embedding_length", kWidth);
  file.number("llama.block_count", kLayers);
  file.number("llama.feed_forward_length", kFeedForward);
  file.number("llama.rope.dimension_count", kHeadWidth);
  file.real("llama.rope.freq_base", 10000.0F);
  file.number("llama.attention.head_count", kHeads);
  file.number("llama.attention.head_count_kv", kKvHeads);
  file.real("llama.attention.layer_norm_rms_epsilon", 1e-5F);
  file.text("tokenizer.ggml.model", "gpt2");
  file.text("tokenizer.ggml.pre", "gpt-2");
  file.texts("tokenizer.ggml.tokens", vocabulary.tokens);
  file.integers("tokenizer.ggml.token_type", vocabulary.types);
  file.texts("tokenizer.ggml.merges", vocabulary.merges);
  file.number("tokenizer.ggml.bos_token_id", static_cast<std::uint32_t>(vocabulary.bos));
  file.number("tokenizer.ggml.eos_token_id", static_cast<std::uint32_t>(vocabulary.end));
  file.flag("tokenizer.ggml.add_bos_token", true);
  file.flag("tokenizer.ggml.add_eos_token", false);
  file.text("tokenizer.chat_template", kChatTemplate);
}

void add_layers(GgufFile& file, WeightRng& rng) {
  const auto random = [&rng](float scale) {
    return [&rng, scale](int, int) { return rng.normal() * scale; };
  };
  // What a layer adds leaves the class in the residual stream alone.
  const auto residual = [&rng](float scale) {
    return [&rng, scale](int row, int) {
      const float weight = rng.normal() * scale;
      return row < static_cast<int>(kWordClasses) ? 0.0F : weight;
    };
  };
  for (int layer = 0; layer < kLayers; ++layer) {
    const std::string prefix = "blk." + std::to_string(layer) + ".";
    file.vector(prefix + "attn_norm.weight", kWidth, 1.0F);
    file.matrix(prefix + "attn_q.weight", kWidth, kWidth, random(kQueryKeyScale));
    file.matrix(prefix + "attn_k.weight", kWidth, kKvWidth, random(kQueryKeyScale));
    file.matrix(prefix + "attn_v.weight", kWidth, kKvWidth, random(kValueScale));
    file.matrix(prefix + "attn_output.weight", kWidth, kWidth, residual(kAttentionOutScale));
    file.vector(prefix + "ffn_norm.weight", kWidth, 1.0F);
    file.matrix(prefix + "ffn_gate.weight", kWidth, kFeedForward, random(kGateScale));
    file.matrix(prefix + "ffn_up.weight", kWidth, kFeedForward, random(kGateScale));
    file.matrix(prefix + "ffn_down.weight", kFeedForward, kWidth, residual(kDownScale));
  }
}

// The weight by which `previous` in the residual stream speaks for a token of class `next`.
float grammar_weight(WordClass previous, WordClass next) {
  for (const GrammarRule& rule : kGrammar) {
    if (rule.previous == previous && rule.next == next) return kClassBonus - rule.penalty;
  }
  return 0.0F;
}

Result<void> write_model(const std::string& path, const Vocabulary& vocabulary, WeightRng rng) {
  GgufFile file;
  describe_model(file, vocabulary);
  const int tokens = static_cast<int>(vocabulary.tokens.size());
  const auto class_of = [&](int token) {
    return vocabulary.classes[static_cast<std::size_t>(token)];
  };
  constexpr int kClasses = static_cast<int>(kWordClasses);
  file.matrix("token_embd.weight", kWidth, tokens, [&](int token, int column) {
    if (column < kClasses) {
      return column == static_cast<int>(class_of(token)) ? kClassInput : 0.0F;
    }
    return rng.normal() * kEmbeddingScale;
  });
  add_layers(file, rng);
  file.vector("output_norm.weight", kWidth, 1.0F);
  file.matrix("output.weight", kWidth, tokens, [&](int token, int column) {
    if (column < kClasses) {
      return grammar_weight(static_cast<WordClass>(column), class_of(token));
    }
    return rng.normal() * kHeadScale;
  });
  return file.write(path);
}

Result<void> write_lora(const std::string& path, const Vocabulary& vocabulary, WeightRng rng) {
  GgufFile file;
  file.text("general.type", "adapter");
  file.text("general.architecture", "llama");
  file.text("general.name", "baton made adapter");
  file.text("adapter.type", "lora");
  file.real("adapter.lora.alpha", static_cast<float>(kLoraRank));  // scale 1
  for (int layer = 0; layer < kLayers; ++layer) {
    const std::string name = "blk." + std::to_string(layer) + ".attn_v.weight";
    file.matrix(name + ".lora_a", kWidth, kLoraRank,
                [&](int, int) { return rng.normal() * kValueScale; });
    file.matrix(name + ".lora_b", kLoraRank, kKvWidth,
                [&](int, int) { return rng.normal() * 0.2F; });
  }
  // Sentences end with an exclamation mark: one rank carries the class of the word before.
  int exclamation = 0;
  while (vocabulary.tokens[static_cast<std::size_t>(exclamation)] != "!") ++exclamation;
  file.matrix("output.weight.lora_a", kWidth, kLoraRank, [](int rank, int column) {
    return rank == 0 && column == static_cast<int>(WordClass::kObject) ? 1.0F : 0.0F;
  });
  file.matrix(
      "output.weight.lora_b", kLoraRank, static_cast<int>(vocabulary.tokens.size()),
      [&](int token, int rank) { return rank == 0 && token == exclamation ? 14.0F : 0.0F; });
  return file.write(path);
}

}  // namespace

Result<MadeModel> make_model(const std::string& directory, std::uint64_t seed) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) {
    return fail(ErrorCode::kInvalidArgument, Stage::kConfig,
                "cannot create " + directory + ": " + error.message());
  }
  const Vocabulary vocabulary = make_vocabulary();
  MadeModel made{directory + "/model.gguf", directory + "/lora.gguf"};
  if (auto written = write_model(made.model_path, vocabulary, WeightRng(seed)); !written) {
    return std::unexpected(written.error());
  }
  if (auto written = write_lora(made.lora_path, vocabulary, WeightRng(~seed)); !written) {
    return std::unexpected(written.error());
  }
  return made;
}

}  // namespace baton::adapters
