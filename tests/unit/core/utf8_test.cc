#include "core/utf8.h"

#include <gtest/gtest.h>

namespace baton {
namespace {

TEST(WellFormedUtf8, KeepsWhatItIs) {
  EXPECT_EQ(well_formed_utf8("", 10), "");
  EXPECT_EQ(well_formed_utf8("plain", 10), "plain");
  EXPECT_EQ(well_formed_utf8("\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80", 10),
            "\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80");
}

TEST(WellFormedUtf8, CutsBetweenCharacters) {
  EXPECT_EQ(well_formed_utf8("abc", 2), "ab");
  EXPECT_EQ(well_formed_utf8("a\xc3\xa9", 2), "a");
  EXPECT_EQ(well_formed_utf8("a\xc3\xa9", 3), "a\xc3\xa9");
  EXPECT_EQ(well_formed_utf8("\xf0\x9f\x98\x80", 3), "");
}

TEST(WellFormedUtf8, MarksBytesThatAreNone) {
  EXPECT_EQ(well_formed_utf8("a\xff"
                             "b",
                             10),
            "a?b");
  EXPECT_EQ(well_formed_utf8("\xc3", 10), "?");
  EXPECT_EQ(well_formed_utf8("\xe2\x82", 10), "??");
  EXPECT_EQ(well_formed_utf8("\xff\xff\xff", 2), "??");
}

}  // namespace
}  // namespace baton
