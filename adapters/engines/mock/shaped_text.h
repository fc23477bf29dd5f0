#pragma once

#include <cstdint>
#include <string>

#include "adapters/engines/mock/json.h"
#include "adapters/engines/mock/tokenizer.h"

namespace baton::adapters::mock {

// JSON text that obeys the plain parts of a JSON schema (type, properties, items, enum, const,
// anyOf), with words and numbers that follow from `content`. A null schema: any object.
[[nodiscard]] std::string shaped_text(const Json& schema, std::uint64_t content,
                                      const MockTokenizer& tokenizer);

}  // namespace baton::adapters::mock
