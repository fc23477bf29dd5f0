#include "orchestrator/registry/exposition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace baton::orchestrator {
namespace {

using testing::ElementsAre;

bool any_name(std::string_view) { return true; }

std::vector<std::string> read_all(std::string_view text,
                                  bool (*wanted)(std::string_view) = any_name) {
  std::vector<std::string> all;
  for_each_sample(text, wanted, [&](const MetricSample& sample) {
    std::string line(sample.name);
    for (const auto& [name, value] : sample.labels) {
      line.append("|").append(name).append("=").append(value);
    }
    all.push_back(line + " " + std::to_string(sample.value));
  });
  return all;
}

TEST(ForEachSample, ReadsLabelsEscapesAndTimestamps) {
  EXPECT_THAT(read_all("# HELP a b\n# TYPE a gauge\n"
                       "a 1\n"
                       "a{} 2 1700000000000\n"
                       "a{x=\"1\",y=\"q\\\"\\\\\\n\",} 3.5e2\r\n"
                       "  a { x = \"1\" , y = \"}\" }\t+4\n"
                       "b:c_total -0.5"),
              ElementsAre("a 1.000000", "a 2.000000", "a|x=1|y=q\"\\\n 350.000000",
                          "a|x=1|y=} 4.000000", "b:c_total -0.500000"));
  EXPECT_THAT(read_all("a +Inf\na NaN"), ElementsAre("a inf", "a nan"));
}

TEST(ForEachSample, ReadsOnlyWhatIsWanted) {
  const auto wanted = [](std::string_view name) { return name == "a_total" || name == "b"; };
  EXPECT_THAT(read_all("# TYPE b gauge\na 1\na_total{x=\"1\"} 2\na_total_x 3\nb 4\nba 5\n", wanted),
              ElementsAre("a_total|x=1 2.000000", "b 4.000000"));
}

TEST(ForEachSample, LeavesOutBadLinesAlone) {
  EXPECT_THAT(read_all("a\na{\na{x\na{x=\na{x=\"\na{x=\"1\na{x=\"1\"\na{x=\"\\\na{=\"1\"} 1\n"
                       "{x=\"1\"} 1\na{x=\"1\"} one\na 1x\na 0x10\n\n\t\ngood 7\n"),
              ElementsAre("good 7.000000"));
}

TEST(ForEachSample, SurvivesRandomBytes) {
  std::mt19937 random(7);
  constexpr std::string_view kAlphabet = "ab:_{}=\",\\ \t\n\r#+-.0123456789eE";
  for (int round = 0; round < 2'000; ++round) {
    std::string text(random() % 200, ' ');
    for (char& c : text) {
      c = random() % 16 == 0 ? static_cast<char>(random()) : kAlphabet[random() % kAlphabet.size()];
    }
    read_all(text);
  }
}

}  // namespace
}  // namespace baton::orchestrator
