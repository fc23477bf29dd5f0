#pragma once

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "core/openai_request.h"

namespace baton::adapters::testing {

// A client's request; fails the test where it is none.
inline OpenAiRequest parsed(Api api, const std::string& body) {
  auto request = OpenAiRequest::parse(api, body, {});
  EXPECT_TRUE(request.has_value()) << (request ? "" : request.error().message);
  return request.value_or(OpenAiRequest{});
}

// Parameters with one member replaced; a discarded value: left out.
inline std::string params_with(const std::string& params, const std::string& key,
                               const nlohmann::json& value) {
  nlohmann::json changed = nlohmann::json::parse(params);
  if (value.is_discarded()) {
    changed.erase(key);
  } else {
    changed[key] = value;
  }
  return changed.dump();
}

}  // namespace baton::adapters::testing
