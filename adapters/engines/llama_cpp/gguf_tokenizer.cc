#include "adapters/engines/llama_cpp/gguf_tokenizer.h"

#include <llama.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <limits>
#include <utility>

#include "adapters/engines/llama_cpp/llama_handles.h"

namespace baton::adapters {
namespace {

std::string piece_of(const llama_vocab* vocab, TokenId id) {
  std::string piece(32, '\0');
  int size = llama_token_to_piece(vocab, id, piece.data(), static_cast<int>(piece.size()), 0, true);
  if (size < 0) {
    piece.resize(static_cast<std::size_t>(-size));
    size = llama_token_to_piece(vocab, id, piece.data(), -size, 0, true);
  }
  piece.resize(static_cast<std::size_t>(size < 0 ? 0 : size));
  return piece;
}

std::string text_of(const llama_vocab* vocab, TokenId id) {
  return id == LLAMA_TOKEN_NULL ? std::string() : std::string(llama_vocab_get_text(vocab, id));
}

}  // namespace

void GgufTokenizer::FreeModel::operator()(llama_model* model) const { llama_model_free(model); }

Result<std::shared_ptr<GgufTokenizer>> GgufTokenizer::load(const std::string& path) {
  init_llama();
  const auto bad = [&path](const std::string& reason) {
    return fail(ErrorCode::kInvalidArgument, Stage::kConfig, path + ": " + reason, false, "model");
  };
  if (access(path.c_str(), R_OK) != 0) return bad(std::strerror(errno));
  llama_model_params params = llama_model_default_params();
  params.vocab_only = true;
  LlamaComplaints complaints;
  std::unique_ptr<llama_model, FreeModel> model(llama_model_load_from_file(path.c_str(), params));
  if (model == nullptr) return bad("not a GGUF model: " + complaints.take_reason());
  if (llama_vocab_type(llama_model_get_vocab(model.get())) == LLAMA_VOCAB_TYPE_NONE) {
    return bad("the file has no tokenizer");
  }
  return std::shared_ptr<GgufTokenizer>(new GgufTokenizer(std::move(model)));
}

GgufTokenizer::GgufTokenizer(std::unique_ptr<llama_model, FreeModel> model)
    : model_(std::move(model)), vocab_(llama_model_get_vocab(model_.get())) {
  const int tokens = llama_vocab_n_tokens(vocab_);
  pieces_.reserve(static_cast<std::size_t>(tokens));
  for (TokenId id = 0; id < tokens; ++id) pieces_.push_back(piece_of(vocab_, id));
  bos_text_ = text_of(vocab_, llama_vocab_bos(vocab_));
  eos_text_ = text_of(vocab_, llama_vocab_eos(vocab_));
}

GgufTokenizer::~GgufTokenizer() = default;

void GgufTokenizer::encode(std::string_view text, bool add_special, bool parse_special, Done done) {
  done(ids(text, add_special, parse_special));
}

Result<std::vector<TokenId>> GgufTokenizer::ids(std::string_view text, bool add_special,
                                                bool parse_special) const {
  if (text.size() > static_cast<std::size_t>(std::numeric_limits<std::int32_t>::max()) - 16) {
    return fail(ErrorCode::kTooLarge, Stage::kRouter, "the prompt is larger than 2 GiB");
  }
  const int size = static_cast<int>(text.size());
  std::vector<TokenId> out(text.size() + 2);  // a token stands for one byte or more
  int count = llama_tokenize(vocab_, text.data(), size, out.data(), static_cast<int>(out.size()),
                             add_special, parse_special);
  if (count < 0) {  // some vocabularies write more tokens than bytes
    out.resize(static_cast<std::size_t>(-count));
    count =
        llama_tokenize(vocab_, text.data(), size, out.data(), -count, add_special, parse_special);
  }
  out.resize(static_cast<std::size_t>(count));
  return out;
}

std::string_view GgufTokenizer::piece(TokenId id) const {
  if (id < 0 || id >= size()) return {};
  return pieces_[static_cast<std::size_t>(id)];
}

bool GgufTokenizer::is_end(TokenId id) const {
  return id >= 0 && id < size() && llama_vocab_is_eog(vocab_, id);
}

bool GgufTokenizer::adds_bos() const { return llama_vocab_get_add_bos(vocab_); }

std::optional<std::string> GgufTokenizer::chat_template() const {
  const char* source = llama_model_chat_template(model_.get(), nullptr);
  if (source == nullptr) return std::nullopt;
  return source;
}

}  // namespace baton::adapters
