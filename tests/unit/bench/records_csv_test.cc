#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "orchestrator/bench/results/summary.h"
#include "tests/unit/bench/test_records.h"

namespace baton::orchestrator::bench {
namespace {

std::vector<std::string> lines_of(const std::string& csv) {
  std::vector<std::string> lines;
  std::size_t begin = 0;
  for (std::size_t end = csv.find("\r\n"); end != std::string::npos;
       end = csv.find("\r\n", begin)) {
    lines.push_back(csv.substr(begin, end - begin));
    begin = end + 2;
  }
  EXPECT_EQ(begin, csv.size()) << "the last line has no end";
  return lines;
}

TEST(Csv, HasALinePerRequestUnderOneHeader) {
  auto records = three_requests();
  records[0].text = "secret";
  const auto lines = lines_of(records_csv(records));
  ASSERT_EQ(lines.size(), 4U);
  const auto commas = std::ranges::count(lines[0], ',');
  for (const std::string& line : lines) EXPECT_EQ(std::ranges::count(line, ','), commas) << line;
  EXPECT_THAT(lines[1], testing::StartsWith("0,completed,200,,0.000,0.000,100.000,100.000,130.000,"
                                            "130.000,100.000,15.000,130.000,100.000,130.000,20.000,"
                                            "3,10,3,"));
  EXPECT_THAT(lines[3], testing::StartsWith("2,rejected,429,429 queue_full,1999.000,1999.000,,,,"));
  EXPECT_THAT(lines[1], testing::Not(testing::HasSubstr("secret")));
}

TEST(Csv, QuotesAsTheRfcSays) {
  auto records = three_requests();
  records[2].reason = "says \"no\", twice";
  const auto lines = lines_of(records_csv(records));
  EXPECT_THAT(lines[3], testing::HasSubstr(R"(,"says ""no"", twice",)"));
}

TEST(Csv, TellsTheStages) {
  const auto lines = lines_of(records_csv({split_request(0)}));
  EXPECT_THAT(lines[1],
              testing::EndsWith("1.000,9.000,60.000,50.000,10.000,5.000,1000,1,shm,p0,d0,"));
}

}  // namespace
}  // namespace baton::orchestrator::bench
