#pragma once

#include <string>

#include "core/error.h"
#include "core/json_cursor.h"

namespace baton {

// The canonical prompt of a chat: what prefix matching compares. Two requests that a chat template
// renders alike up to some point have equal canonical texts up to about there; it is never sent to
// a model. Tools come first, as written; then each message as RS role, and for each part US and its
// text (a string content is one text part), or US type ':' and the 128-bit hash of the part's
// bytes; then other members of the message (name, tool_calls, …) as US key '=' and their bytes.
//
// Appends to `out`. Errors: kInvalidArgument with the path of what is wrong, as
// "messages[3].content[0].text". `tools` may be of kind kNull: none.
[[nodiscard]] Result<void> append_chat_text(std::string& out, JsonValue messages, JsonValue tools);

}  // namespace baton
