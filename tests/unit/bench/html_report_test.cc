#include "orchestrator/bench/report/html_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <string_view>

namespace baton::orchestrator::bench {
namespace {

using OrderedJson = nlohmann::ordered_json;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::string_view kBegin = R"(<script type="application/json" id="results">)";

OrderedJson run_with_median(double median) {
  return {{"model_id", "m"},
          {"request_rate", 5.0},
          {"completed", 10},
          {"median_ttft_ms", median},
          {"baton", {{"target", "http://127.0.0.1:1/v1"}, {"sound", true}}}};
}

// What a browser takes as the text of the results' element: up to the first "</script".
std::string embedded_text(const std::string& page) {
  const std::size_t begin = page.find(kBegin);
  if (begin == std::string::npos) return {};
  const std::size_t text = begin + kBegin.size();
  return page.substr(text, page.find("</script", text) - text);
}

OrderedJson embedded(const std::string& page) { return OrderedJson::parse(embedded_text(page)); }

TEST(HtmlReport, PageHoldsTheResult) {
  const OrderedJson run = run_with_median(12.5);
  EXPECT_EQ(embedded(html_report(run)), run);
}

TEST(HtmlReport, StringsCannotLeaveTheirElement) {
  for (const char* hostile : {"</script><script>alert(1)</script>", "<!--<script>", "<!-- --!>",
                              "]]></SCRIPT >", "@@RESULTS@@", "\"};alert(1)//", "\\u003c/script>",
                              "\xe2\x80\xa8\xe2\x80\xa9", "&lt;&amp;"}) {
    OrderedJson run = run_with_median(1);
    run["model_id"] = hostile;
    run[hostile] = hostile;
    run["baton"]["failures"] = {{{"reason", hostile}}};
    const std::string page = html_report(run);
    EXPECT_EQ(embedded(page), run) << hostile;
    EXPECT_THAT(embedded_text(page), Not(HasSubstr("<"))) << hostile;
  }
}

TEST(HtmlReport, BytesThatAreNoUtf8AreReplaced) {
  OrderedJson run = run_with_median(1);
  run["model_id"] =
      "a\xff"
      "b";
  EXPECT_EQ(embedded(html_report(run))["model_id"],
            "a\xef\xbf\xbd"
            "b");
}

TEST(HtmlReport, DetailedArraysStayOut) {
  OrderedJson run = run_with_median(1);
  const OrderedJson bare = run;
  for (const char* key :
       {"input_lens", "output_lens", "ttfts", "itls", "start_times", "generated_texts", "errors"}) {
    run[key] = {"a secret"};
  }
  run["baton"]["requests"] = {{"decode_pods", {"a secret"}}};
  const OrderedJson compare = {{"kind", "compare"}, {"sides", {{{"name", "A"}, {"runs", {run}}}}}};
  const OrderedJson swept = {{"kind", "parameter_sweep"},
                             {"points", {{{"value", 1}, {"run", run}}}}};
  for (const OrderedJson& file :
       {run, OrderedJson{{"kind", "sweep"}, {"points", {run}}}, swept, compare}) {
    EXPECT_THAT(html_report(file), Not(HasSubstr("a secret")));
  }
  EXPECT_EQ(embedded(html_report(run)), bare);
  EXPECT_EQ(embedded(html_report(compare))["sides"][0]["runs"][0], bare);
}

TEST(HtmlReport, EveryKindMakesAPage) {
  const OrderedJson run = run_with_median(3);
  const OrderedJson sweep = {
      {"kind", "sweep"}, {"points", {run, run}}, {"best", {{"request_rate", 5.0}}}};
  const OrderedJson compare = {{"kind", "compare"}, {"sides", {{{"name", "A"}, {"runs", {run}}}}}};
  for (const OrderedJson& file : {run, sweep, compare, OrderedJson::object(), OrderedJson()}) {
    const std::string page = html_report(file);
    EXPECT_EQ(embedded(page), file);
    EXPECT_TRUE(page.starts_with("<!doctype html>"));
    EXPECT_TRUE(page.ends_with("</html>\n"));
  }
}

TEST(HtmlReport, TemplateIsWholeAndLoadsNothing) {
  const std::string page(report_template());
  EXPECT_THAT(page, Not(HasSubstr("http://")));
  EXPECT_THAT(page, Not(HasSubstr("https://")));
  for (const char* loading : {"src=", "@import", "url(", "<link", "fetch(", "XMLHttpRequest"}) {
    EXPECT_THAT(page, Not(HasSubstr(loading)));
  }
  // One mark is for the results; those of the page's parts are filled.
  EXPECT_EQ(page.find("@@"), page.find("@@RESULTS@@"));
  EXPECT_EQ(page.rfind("@@"), page.find("@@RESULTS@@") + std::string_view("@@RESULTS").size());
}

TEST(HtmlReport, DataIsNeverSetAsHtml) {
  const std::string page(report_template());
  for (const char* unsafe :
       {"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("}) {
    EXPECT_THAT(page, Not(HasSubstr(unsafe)));
  }
}

}  // namespace
}  // namespace baton::orchestrator::bench
