#include "orchestrator/registry/engine_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

namespace baton::orchestrator {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

std::vector<std::string> read_all(std::string_view text) {
  std::vector<std::string> all;
  for_each_sample(text, [&](const MetricSample& sample) {
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

TEST(ReadEngineMetrics, ReadsVllmNames) {
  const auto metrics = read_engine_metrics(
      "vllm:num_requests_running{engine=\"0\",model_name=\"m\"} 3.0\n"
      "vllm:num_requests_running{engine=\"1\",model_name=\"m\"} 4.0\n"
      "vllm:num_requests_waiting{model_name=\"m\"} 2.0\n"
      "vllm:kv_cache_usage_perc{model_name=\"m\"} 0.25\n"
      "vllm:lora_requests_info{max_lora=\"4\",running_lora_adapters=\"old\","
      "waiting_lora_adapters=\"\"} 100\n"
      "vllm:lora_requests_info{max_lora=\"4\",running_lora_adapters=\"sql, chat\","
      "waiting_lora_adapters=\"law\"} 200\n"
      "vllm:lora_requests_info{max_lora=\"4\",running_lora_adapters=\"older\","
      "waiting_lora_adapters=\"\"} 50\n");
  ASSERT_TRUE(metrics);
  EXPECT_EQ(metrics->state.running, 7);
  EXPECT_EQ(metrics->state.waiting, 2);
  EXPECT_DOUBLE_EQ(metrics->state.kv_usage, 0.25);
  EXPECT_THAT(metrics->state.running_loras, ElementsAre("sql", "chat"));
  EXPECT_THAT(metrics->state.waiting_loras, ElementsAre("law"));
  EXPECT_EQ(metrics->state.max_loras, 4);
}

struct EngineCase {
  const char* text;
  int running, waiting;
  double kv_usage;
};
// SGLang over its ranks, TensorRT-LLM's server, and Triton, which tells kinds of requests apart.
constexpr EngineCase kEngines[] = {
    {"# TYPE sglang:num_running_reqs gauge\n"
     "sglang:num_running_reqs{engine_type=\"decode\",dp_rank=\"0\",tp_rank=\"0\"} 3.0\n"
     "sglang:num_running_reqs{engine_type=\"decode\",dp_rank=\"1\",tp_rank=\"0\"} 4.0\n"
     "sglang:num_queue_reqs{dp_rank=\"0\"} 1.0\n"
     "sglang:num_decode_prealloc_queue_reqs{dp_rank=\"0\"} 2.0\n"
     "sglang:num_decode_transfer_queue_reqs{dp_rank=\"0\"} 5.0\n"
     "sglang:num_prefill_inflight_queue_reqs{dp_rank=\"0\"} 100.0\n"
     "sglang:token_usage{dp_rank=\"0\"} 0.25\n"
     "sglang:token_usage{dp_rank=\"1\"} 0.75\n",
     7, 8, 0.75},
    {"trtllm_num_requests_running{model_name=\"m\"} 6\n"
     "trtllm_num_requests_waiting{model_name=\"m\"} 2\n"
     "trtllm_kv_cache_utilization{model_name=\"m\"} 0.5\n",
     6, 2, 0.5},
    {"nv_trt_llm_request_metrics{model=\"m\",request_type=\"waiting\",version=\"1\"} 1\n"
     "nv_trt_llm_request_metrics{model=\"m\",request_type=\"scheduled\",version=\"1\"} 4\n"
     "nv_trt_llm_request_metrics{model=\"m\",request_type=\"max\",version=\"1\"} 512\n"
     "nv_trt_llm_request_metrics{model=\"m\",request_type=\"active\",version=\"1\"} 5\n"
     "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"max\",model=\"m\"} 6239\n"
     "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"fraction\",model=\"m\"} 0.125\n",
     4, 1, 0.125},
};

TEST(ReadEngineMetrics, ReadsTheNamesOfOtherEngines) {
  for (const EngineCase& engine : kEngines) {
    const auto metrics = read_engine_metrics(engine.text);
    ASSERT_TRUE(metrics.has_value()) << engine.text;
    EXPECT_EQ(metrics->state.running, engine.running) << engine.text;
    EXPECT_EQ(metrics->state.waiting, engine.waiting) << engine.text;
    EXPECT_DOUBLE_EQ(metrics->state.kv_usage, engine.kv_usage) << engine.text;
  }
}

TEST(ReadEngineMetrics, ReadsTheBlockSizeAndTheStartOfTheProcess) {
  const auto block = [](const std::string& line) {
    const auto metrics = read_engine_metrics("vllm:num_requests_running 0\n" + line);
    return metrics ? metrics->block_tokens : Tokens(-1);
  };
  EXPECT_EQ(block(""), Tokens(0));
  EXPECT_EQ(block("vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"9\"} 1\n"),
            Tokens(16));
  EXPECT_EQ(block("vllm:cache_config_info{block_size=\"None\"} 1\n"), Tokens(0));
  EXPECT_EQ(block("sglang:cache_config_info{page_size=\"64\",num_pages=\"9\"} 1\n"), Tokens(64));
  EXPECT_EQ(block("trtllm_kv_cache_tokens_per_block 32\n"), Tokens(32));
  EXPECT_EQ(block("nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"tokens_per\"} 64\n"),
            Tokens(64));
  const auto metrics = read_engine_metrics(
      "process_start_time_seconds 1.79570493599e+09\nvllm:num_requests_running 0\n");
  ASSERT_TRUE(metrics.has_value());
  EXPECT_EQ(metrics->started_at, 1'795'704'935'990U);
}

TEST(ReadEngineMetrics, KeepsHostileValuesInRange) {
  const auto metrics = read_engine_metrics(
      "vllm:num_requests_running 1e308\nvllm:num_requests_waiting -5\n"
      "vllm:gpu_cache_usage_perc NaN\n"
      "vllm:lora_requests_info{max_lora=\"99999999999999\",running_lora_adapters=\",, ,\"} NaN\n");
  ASSERT_TRUE(metrics);
  EXPECT_EQ(metrics->state.running, 1'000'000'000);
  EXPECT_EQ(metrics->state.waiting, 0);
  EXPECT_EQ(metrics->state.kv_usage, 0.0);
  EXPECT_THAT(metrics->state.running_loras, IsEmpty());
  EXPECT_EQ(metrics->state.max_loras, 0);
}

TEST(ReadEngineMetrics, SaysWhenThereIsNothing) {
  EXPECT_FALSE(read_engine_metrics(""));
  EXPECT_FALSE(read_engine_metrics("<html>not found</html>\nprocess_cpu_seconds_total 1\n"));
}

}  // namespace
}  // namespace baton::orchestrator
