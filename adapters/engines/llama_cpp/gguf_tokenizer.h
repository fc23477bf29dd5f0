#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"
#include "core/tokenizer.h"

struct llama_model;
struct llama_vocab;

namespace baton::adapters {

// The vocabulary and chat template of a GGUF file, loaded without its weights. Shared by whoever
// turns text into ids; immutable after load(), so any thread may use it at once.
class GgufTokenizer final : public Tokenizer {
 public:
  // Errors: kInvalidArgument, stage kConfig, naming the file.
  [[nodiscard]] static Result<std::shared_ptr<GgufTokenizer>> load(const std::string& path);
  ~GgufTokenizer() override;

  void encode(std::string_view text, bool add_special, bool parse_special, Done done) override;
  [[nodiscard]] bool is_local() const override { return true; }
  // The same, as a value. Errors: kTooLarge beyond 2^31 bytes.
  [[nodiscard]] Result<std::vector<TokenId>> ids(std::string_view text, bool add_special,
                                                 bool parse_special) const;

  // Bytes of one token, empty for an id outside the vocabulary. They may end inside a UTF-8
  // character (Utf8Stream puts those together). Control tokens are written as in the vocabulary.
  [[nodiscard]] std::string_view piece(TokenId id) const;
  [[nodiscard]] bool is_end(TokenId id) const;
  [[nodiscard]] int size() const { return static_cast<int>(pieces_.size()); }

  // Text of BOS and EOS as a chat template writes them; empty where the model has none.
  [[nodiscard]] std::string_view bos_text() const { return bos_text_; }
  [[nodiscard]] std::string_view eos_text() const { return eos_text_; }
  // True where encode(add_special) puts BOS first.
  [[nodiscard]] bool adds_bos() const;
  // The Jinja source in the file; none: a base model.
  [[nodiscard]] std::optional<std::string> chat_template() const;

 private:
  struct FreeModel {
    void operator()(llama_model* model) const;
  };
  explicit GgufTokenizer(std::unique_ptr<llama_model, FreeModel> model);

  std::unique_ptr<llama_model, FreeModel> model_;
  const llama_vocab* vocab_;
  std::vector<std::string> pieces_;
  std::string bos_text_;
  std::string eos_text_;
};

}  // namespace baton::adapters
