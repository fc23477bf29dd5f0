#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "adapters/engines/mock/dress.h"
#include "adapters/engines/mock/json.h"

namespace baton::adapters::mock::vllm {

// An error object as vLLM answers it; `type` is an exception's name or an HTTP phrase.
[[nodiscard]] Answer error_answer(unsigned status, std::string_view type, std::string message,
                                  std::optional<std::string> param = std::nullopt);

// vLLM's own refusals of a request: VLLMValidationError, whose text names the parameter and, where
// it is given, the value (vllm/exceptions.py:31).
[[nodiscard]] Answer validation_error(std::string message, std::string_view param = {},
                                      std::optional<std::string> value = std::nullopt);

// The types of one request as pydantic checks them in its lax mode: numbers may come as text, and
// so on. Collects every error, as pydantic does, and answers them as vLLM's handler writes them
// (entrypoints/serve/exception_handling/handlers/validation.py).
class FieldTypes {
 public:
  explicit FieldTypes(const Json& body) : body_(body) {}

  // `body` is changed where lax mode takes a value of another type for the wanted one.
  void integer(const char* name, std::optional<std::int64_t> least = std::nullopt,
               bool nullable = true, bool of_64_bits = false);
  void number(const char* name, bool nullable = true);
  void flag(const char* name, bool nullable = true);
  void text(const char* name);
  void object(const char* name);
  void integers(const char* name);
  void texts(const char* name, bool nullable = true);
  void one_of(const char* name, std::initializer_list<std::string_view> values);
  void stop(const char* name);
  void prompt(const char* name);
  void stream_options(const char* name);
  void required_list(const char* name);
  void messages(const char* name);
  void tools(const char* name);
  void response_format(const char* name);

  void add(std::string_view type, std::string_view param, std::string_view message,
           const Json& input, std::string_view context = {});
  [[nodiscard]] std::optional<Answer> answer() const;

 private:
  [[nodiscard]] const Json* present(const char* name, bool nullable, std::string_view type,
                                    std::string_view message);
  // One error, as pydantic tells it.
  struct Found {
    std::string type;
    std::string param;
    std::string message;
    Json input;
    std::string context;
    [[nodiscard]] std::string place() const;
    [[nodiscard]] std::string text() const;
  };
  // What is wrong with a value, if anything: pydantic's type and message.
  struct Wrong {
    std::string_view type;
    std::string_view message;
  };
  void check_content(const Json& message, const std::string& at);
  static std::optional<Wrong> wrong_integer(const Json& value);
  static std::optional<Wrong> wrong_number(const Json& value);
  void add_elements(const Json& list, const std::string& param,
                    std::optional<Wrong> (*wrong)(const Json&));

  const Json& body_;
  std::vector<Found> errors_;
};

// Where Python's json module says a text is wrong: its words and the place.
struct JsonFault {
  std::string message;
  std::size_t at = 0;
};
[[nodiscard]] JsonFault python_json_fault(std::string_view text);

// A text as Python's repr() shows it, in quotes.
[[nodiscard]] std::string python_repr(std::string_view text);
// A value as Python's str() shows it.
[[nodiscard]] std::string python_str(const Json& value);

}  // namespace baton::adapters::mock::vllm
