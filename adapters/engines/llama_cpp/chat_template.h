#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "core/error.h"

namespace baton::adapters {

struct ChatPrompt {
  std::string messages;  // JSON array as the client sent it; checked by the caller to be one
  std::string tools;     // JSON array, or empty
  std::string kwargs;    // JSON object of further variables (chat_template_kwargs), or empty
  bool add_generation_prompt = true;
};

// A model's own chat template, rendered by llama.cpp's Jinja engine. Owned by one pod and used by
// its HTTP thread alone. Templates come from model files: whatever one does, render() returns.
class ChatTemplate {
 public:
  // Errors: kInvalidArgument, stage kConfig, with what the Jinja parser says.
  [[nodiscard]] static Result<ChatTemplate> parse(const std::string& source,
                                                  std::string_view bos_text,
                                                  std::string_view eos_text);
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;
  ~ChatTemplate();

  // The prompt as text. A message's content may be a string, null or an array of text parts, which
  // are joined where the template wants strings. Errors: kInvalidArgument, `param` "messages", also
  // where the template itself refuses (raise_exception).
  [[nodiscard]] Result<std::string> render(const ChatPrompt& prompt) const;

 private:
  struct Parsed;
  explicit ChatTemplate(std::unique_ptr<Parsed> parsed);
  std::unique_ptr<Parsed> parsed_;
};

}  // namespace baton::adapters
