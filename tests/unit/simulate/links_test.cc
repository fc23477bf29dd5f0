#include "orchestrator/simulate/links.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace baton::orchestrator::simulate {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;

constexpr TimePoint kStart = TimePoint{} + std::chrono::hours(1);

TEST(LinksTest, TransfersOfOtherPodsDoNotMeet) {
  Links links(4);
  links.begin(1, 0, 1, milliseconds(10), kStart);
  links.begin(2, 2, 3, milliseconds(10), kStart);
  EXPECT_EQ(links.next()->at, kStart + milliseconds(10));
  EXPECT_THAT(links.arrived(kStart + milliseconds(10)), ElementsAre(1, 2));
  EXPECT_FALSE(links.next());
}

TEST(LinksTest, TransfersOnOneLinkShareIt) {
  Links links(3);
  links.begin(1, 0, 1, milliseconds(10), kStart);
  links.begin(2, 0, 2, milliseconds(10), kStart + milliseconds(5));
  // Half of the first is done; the rest takes twice as long beside the other one.
  EXPECT_EQ(links.next()->at, kStart + milliseconds(15));
  EXPECT_THAT(links.arrived(kStart + milliseconds(15)), ElementsAre(1));
  // That had 5 of its 10 ms by then, and is alone again.
  EXPECT_EQ(links.next()->at, kStart + milliseconds(20));
  EXPECT_THAT(links.arrived(kStart + milliseconds(20)), ElementsAre(2));
  EXPECT_EQ(links.active(), 0U);
}

TEST(LinksTest, APodThatDiesTakesItsTransfersWithIt) {
  Links links(3);
  links.begin(1, 0, 1, milliseconds(10), kStart);
  links.begin(2, 1, 2, milliseconds(10), kStart);
  links.begin(3, 0, 2, milliseconds(10), kStart);
  EXPECT_THAT(links.cut(1, kStart), ElementsAre(1, 2));
  EXPECT_EQ(links.next()->at, kStart + milliseconds(10));
  EXPECT_THAT(links.arrived(kStart + milliseconds(10)), ElementsAre(3));
}

}  // namespace
}  // namespace baton::orchestrator::simulate
