#pragma once

#include <gtest/gtest.h>

#include <string>

#include "core/openai_request.h"

namespace baton::adapters::testing {

// A client's request; fails the test where it is none.
inline OpenAiRequest parsed(Api api, const std::string& body) {
  auto request = OpenAiRequest::parse(api, body, {});
  EXPECT_TRUE(request.has_value()) << (request ? "" : request.error().message);
  return request.value_or(OpenAiRequest{});
}

}  // namespace baton::adapters::testing
