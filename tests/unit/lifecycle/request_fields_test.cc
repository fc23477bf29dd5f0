#include "orchestrator/http/request_fields.h"

#include <gtest/gtest.h>

#include <string>

namespace baton::orchestrator {
namespace {

TEST(RequestId, VisibleCharactersUpToALimit) {
  EXPECT_TRUE(is_safe_request_id("a"));
  EXPECT_TRUE(is_safe_request_id("req_01H.x:y/z-7+="));
  EXPECT_TRUE(is_safe_request_id(std::string(128, 'x')));
  EXPECT_FALSE(is_safe_request_id(""));
  EXPECT_FALSE(is_safe_request_id(std::string(129, 'x')));
  for (const std::string id :
       {"a b", "a\r\nb", "a\"b", "a\\b", "a\x7f", "\xc3\xa9", "a,b", "a;b"}) {
    EXPECT_FALSE(is_safe_request_id(id)) << id;
  }
}

TEST(Traceparent, IsTheW3cForm) {
  EXPECT_TRUE(is_traceparent("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"));
  for (const std::string value : {
           "",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0",
           "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
           "00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
           "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
           "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
           "00-4bf92f3577b34da6a3ce929d0e0e4736_00f067aa0ba902b7-01",
       }) {
    EXPECT_FALSE(is_traceparent(value)) << value;
  }
}

TEST(RoutingFields, AreCounted) {
  EXPECT_EQ(count_routing_fields({{"host", "a"},
                                  {"x-request-id", "r"},
                                  {"x-baton-explain", "1"},
                                  {"x-stainless-os", "Linux"}}),
            0);
  EXPECT_EQ(count_routing_fields({{"x-baton-decode", "d0"},
                                  {"x-gateway-destination-endpoint", "10.0.0.1:80"},
                                  {"x-prefiller-host-port", "10.0.0.1:80"},
                                  {"x-prefiller-url", "http://10.0.0.1"}}),
            4);
}

}  // namespace
}  // namespace baton::orchestrator
