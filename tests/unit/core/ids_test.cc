#include "core/ids.h"

#include <gtest/gtest.h>

namespace baton {
namespace {

TEST(Id128, ReadsBackWhatItWrites) {
  std::mt19937_64 rng(7);
  for (int i = 0; i < 100; ++i) {
    const Id128 id = Id128::draw(rng);
    EXPECT_EQ(id.str().size(), 32U);
    EXPECT_EQ(Id128::parse(id.str()), id);
  }
}

TEST(Id128, RefusesWhatIsNotThirtyTwoHexDigits) {
  EXPECT_FALSE(Id128::parse("").has_value());
  EXPECT_FALSE(Id128::parse(std::string(31, 'a')).has_value());
  EXPECT_FALSE(Id128::parse(std::string(32, 'g')).has_value());
  EXPECT_FALSE(Id128::parse("+" + std::string(31, '0')).has_value());
}

}  // namespace
}  // namespace baton
