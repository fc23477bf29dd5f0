#include "adapters/engines/mock/shaped_text.h"

namespace baton::adapters::mock {
namespace {

constexpr int kDeepest = 16;

class Shaper {
 public:
  Shaper(std::uint64_t content, const MockTokenizer& tokenizer)
      : state_(content), tokenizer_(tokenizer) {}

  Json value(const Json& schema, int depth) {
    if (depth > kDeepest || !schema.is_object()) return word();
    if (const Json* fixed = member(schema, "const")) return *fixed;
    if (const Json* choices = member(schema, "enum"); choices && !choices->empty()) {
      return (*choices)[draw(choices->size())];
    }
    for (const char* any : {"anyOf", "oneOf", "allOf"}) {
      const Json* options = member(schema, any);
      if (options && options->is_array() && !options->empty()) {
        return value(options->front(), depth + 1);
      }
    }
    return of_type(type_of(schema), schema, depth);
  }

 private:
  static std::string type_of(const Json& schema) {
    const Json* type = member(schema, "type");
    if (type && type->is_array() && !type->empty()) type = &type->front();
    if (type && type->is_string()) return type->get<std::string>();
    return member(schema, "properties") ? "object" : "string";
  }

  Json of_type(const std::string& type, const Json& schema, int depth) {
    if (type == "integer") return draw(100);
    if (type == "number") return static_cast<double>(draw(1000)) / 8;
    if (type == "boolean") return draw(2) == 1;
    if (type == "null") return nullptr;
    if (type == "array") {
      const Json* items = member(schema, "items");
      return Json::array({value(items ? *items : Json(), depth + 1)});
    }
    if (type != "object") return word();
    Json object = Json::object();
    if (const Json* properties = member(schema, "properties")) {
      for (const auto& [name, shape] : properties->items()) object[name] = value(shape, depth + 1);
    }
    return object;
  }

  std::string word() {
    const auto span =
        static_cast<std::size_t>(tokenizer_.answer_last() - tokenizer_.answer_first());
    const auto token = tokenizer_.answer_first() + static_cast<TokenId>(draw(span));
    return std::string(tokenizer_.piece(token).substr(1));
  }

  std::size_t draw(std::size_t below) {
    state_ = state_ * 6364136223846793005ULL + 1442695040888963407ULL;
    return static_cast<std::size_t>(state_ >> 33) % below;
  }

  std::uint64_t state_;
  const MockTokenizer& tokenizer_;
};

}  // namespace

std::string shaped_text(const Json& schema, std::uint64_t content, const MockTokenizer& tokenizer) {
  Shaper shaper(content, tokenizer);
  if (schema.is_null()) {
    return dump(shaper.value({{"properties", {{"answer", {{"type", "string"}}}}}}, 0));
  }
  return dump(shaper.value(schema, 0));
}

}  // namespace baton::adapters::mock
