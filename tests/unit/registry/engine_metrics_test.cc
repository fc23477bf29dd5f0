#include "orchestrator/registry/engine_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace baton::orchestrator {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

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

// The lines are those of vLLM 0.32.0 with two engines, but for the values and most of the labels
// of the configuration.
TEST(ReadEngineMetrics, AddsUpTheEnginesOfADataParallelVllm) {
  const auto metrics = read_engine_metrics(
      "process_start_time_seconds 1.79586651157e+09\n"
      "vllm:num_requests_running{engine=\"0\",model_name=\"tiny\"} 3.0\n"
      "vllm:num_requests_running{engine=\"1\",model_name=\"tiny\"} 4.0\n"
      "vllm:num_requests_waiting{engine=\"0\",model_name=\"tiny\"} 9.0\n"
      "vllm:num_requests_waiting{engine=\"1\",model_name=\"tiny\"} 1.0\n"
      "vllm:num_requests_waiting_by_reason{engine=\"0\",model_name=\"tiny\",reason=\"capacity\"} "
      "2.0\n"
      "vllm:num_requests_waiting_by_reason{engine=\"1\",model_name=\"tiny\",reason=\"capacity\"} "
      "1.0\n"
      "vllm:num_requests_waiting_by_reason{engine=\"0\",model_name=\"tiny\",reason=\"deferred\"} "
      "7.0\n"
      "vllm:num_requests_waiting_by_reason{engine=\"1\",model_name=\"tiny\",reason=\"deferred\"} "
      "0.0\n"
      "vllm:engine_sleep_state{engine=\"0\",model_name=\"tiny\",sleep_state=\"awake\"} 1.0\n"
      "vllm:kv_cache_usage_perc{engine=\"0\",model_name=\"tiny\"} 0.25\n"
      "vllm:kv_cache_usage_perc{engine=\"1\",model_name=\"tiny\"} 0.5\n"
      "vllm:prefix_cache_queries_total{engine=\"0\",model_name=\"tiny\"} 247.0\n"
      "vllm:prefix_cache_queries_total{engine=\"1\",model_name=\"tiny\"} 3.0\n"
      "vllm:prefix_cache_queries_created{engine=\"0\",model_name=\"tiny\"} 1.7958665538071463e+09\n"
      "vllm:prefix_cache_hits_total{engine=\"0\",model_name=\"tiny\"} 96.0\n"
      "vllm:external_prefix_cache_hits_total{engine=\"0\",model_name=\"tiny\"} 1000.0\n"
      "vllm:cache_config_info{block_size=\"32\",cache_dtype=\"auto\",engine=\"0\","
      "kv_cache_size_tokens=\"262144\",num_gpu_blocks=\"8192\",num_gpu_blocks_override=\"None\"} "
      "1.0\n"
      "vllm:cache_config_info{block_size=\"32\",cache_dtype=\"auto\",engine=\"1\","
      "kv_cache_size_tokens=\"262144\",num_gpu_blocks=\"8192\",num_gpu_blocks_override=\"None\"} "
      "1.0\n");
  ASSERT_TRUE(metrics);
  EXPECT_EQ(metrics->started_at, 1'795'866'511'570U);
  EXPECT_EQ(metrics->block_tokens, Tokens(32));
  EXPECT_EQ(metrics->state.running, 7);
  EXPECT_EQ(metrics->state.waiting, 3) << "for capacity, not for KV of another pod";
  EXPECT_EQ(metrics->state.deferred, 7);
  EXPECT_DOUBLE_EQ(metrics->state.kv_usage, 0.5);
  EXPECT_EQ(metrics->state.kv_capacity, Tokens(2 * 262'144));
  EXPECT_EQ(metrics->state.prefix_queries, Tokens(250));
  EXPECT_EQ(metrics->state.prefix_hits, Tokens(96));
}

TEST(ReadEngineMetrics, ReadsTheNamesOfOlderVllm) {
  const auto metrics = read_engine_metrics(
      "vllm:num_requests_waiting{model_name=\"m\"} 2.0\n"
      "vllm:gpu_cache_usage_perc{model_name=\"m\"} 0.125\n"
      "vllm:gpu_prefix_cache_queries_total{model_name=\"m\"} 40\n"
      "vllm:gpu_prefix_cache_hits_total{model_name=\"m\"} 10\n"
      "vllm:cache_config_info{block_size=\"16\",num_gpu_blocks=\"100\"} 1\n");
  ASSERT_TRUE(metrics);
  EXPECT_EQ(metrics->state.waiting, 2);
  EXPECT_EQ(metrics->state.deferred, 0);
  EXPECT_DOUBLE_EQ(metrics->state.kv_usage, 0.125);
  EXPECT_EQ(metrics->state.kv_capacity, Tokens(1600));
  EXPECT_EQ(metrics->state.prefix_queries, Tokens(40));
  EXPECT_EQ(metrics->state.prefix_hits, Tokens(10));
  const auto without_suffix =
      read_engine_metrics("vllm:prefix_cache_queries 8\nvllm:prefix_cache_hits 4\n");
  ASSERT_TRUE(without_suffix);
  EXPECT_EQ(without_suffix->state.prefix_hits, Tokens(4));
}

// vLLM pull requests 51433 and 54830: names of adapters that are loaded, whether used or not.
TEST(ReadEngineMetrics, TellsResidentAdaptersFromActiveOnes) {
  const auto metrics = read_engine_metrics(
      "vllm:lora_requests_info{max_lora=\"2\",running_lora_adapters=\"sql\","
      "waiting_lora_adapters=\"\"} 1795866700.5\n"
      "vllm:lora_adapter_loaded{adapter_name=\"sql\",engine=\"0\",level=\"gpu\",pinned=\"false\"} "
      "1\n"
      "vllm:lora_adapter_loaded{adapter_name=\"sql\",engine=\"1\",level=\"gpu\",pinned=\"false\"} "
      "1\n"
      "vllm:lora_adapter_loaded{adapter_name=\"law\",engine=\"0\",level=\"gpu\",pinned=\"true\"} "
      "1\n"
      "vllm:lora_adapter_loaded{adapter_name=\"gone\",engine=\"0\",level=\"gpu\",pinned=\"false\"} "
      "0\n"
      "vllm:lora_adapter_loaded{adapter_name=\"host\",engine=\"0\",level=\"cpu\",pinned=\"false\"} "
      "1\n"
      "vllm:num_gpu_loaded_lora_adapters{engine=\"0\"} 2\n"
      "vllm:max_gpu_lora_adapters{engine=\"0\"} 4\n");
  ASSERT_TRUE(metrics);
  EXPECT_THAT(metrics->state.running_loras, ElementsAre("sql"));
  EXPECT_THAT(metrics->state.resident_loras, ElementsAre("sql", "law"));
  EXPECT_EQ(metrics->state.lora_slots_used, 2);
  EXPECT_EQ(metrics->state.max_loras, 4);
}

// sglang/srt/observability/metrics_collector.py: with --enable-metrics-for-all-schedulers every
// tensor-parallel rank tells the figures of its data-parallel rank.
TEST(ReadEngineMetrics, CountsEachDataParallelRankOfSglangOnce) {
  const auto rank = [](int dp, int tp) {
    const std::string labels =
        "engine_type=\"decode\",model_name=\"m\",moe_ep_rank=\"0\",pp_rank=\"0\","
        "tp_rank=\"" +
        std::to_string(tp) + "\",dp_rank=\"" + std::to_string(dp) + "\"";
    return "sglang:num_running_reqs{" + labels + "} " + std::to_string(3 + dp) + ".0\n" +
           "sglang:num_queue_reqs{" + labels + "} 1.0\n" + "sglang:num_grammar_queue_reqs{" +
           labels + "} 0.0\n" + "sglang:num_prefill_inflight_queue_reqs{" + labels + "} 100.0\n" +
           "sglang:num_prefill_bootstrap_queue_reqs{" + labels + "} 0.0\n" +
           "sglang:num_decode_prealloc_queue_reqs{" + labels + "} 2.0\n" +
           "sglang:num_decode_transfer_queue_reqs{" + labels + "} 5.0\n" + "sglang:token_usage{" +
           labels + "} 0." + std::to_string(25 * (1 + 2 * dp)) + "\n" +
           "sglang:max_total_num_tokens{" + labels + "} 471258.0\n" + "sglang:page_size{" + labels +
           "} 64.0\nsglang:num_pages{" + labels + "} 7363.0\n" + "sglang:lora_pool_slots_used{" +
           labels + "} 1.0\n" + "sglang:lora_pool_slots_total{" + labels + "} 4.0\n";
  };
  const auto metrics = read_engine_metrics(
      rank(0, 0) + rank(0, 1) + rank(1, 2) + rank(1, 3) +
      "sglang:prompt_tokens_total{model_name=\"m\"} 1000.0\n"
      "sglang:cached_tokens_total{cache_source=\"device\",model_name=\"m\"} 400.0\n"
      "sglang:cached_tokens_total{cache_source=\"host\",model_name=\"m\"} 50.0\n");
  ASSERT_TRUE(metrics);
  EXPECT_EQ(metrics->state.running, 7);
  EXPECT_EQ(metrics->state.waiting, 2 * (1 + 2)) << "in the queue and for preallocation";
  EXPECT_EQ(metrics->state.deferred, 2 * 5) << "for KV on its way";
  EXPECT_DOUBLE_EQ(metrics->state.kv_usage, 0.75);
  EXPECT_EQ(metrics->state.kv_capacity, Tokens(2 * 471'258));
  EXPECT_EQ(metrics->block_tokens, Tokens(64));
  EXPECT_EQ(metrics->state.prefix_queries, Tokens(1000));
  EXPECT_EQ(metrics->state.prefix_hits, Tokens(450));
  EXPECT_EQ(metrics->state.lora_slots_used, 2);
  EXPECT_EQ(metrics->state.max_loras, 8);
}

// The same file, _log_gauge_queue_count: the total has an empty priority.
TEST(ReadEngineMetrics, DoesNotCountThePrioritiesOfSglangBesideTheirTotal) {
  const auto metrics = read_engine_metrics(
      "sglang:num_queue_reqs{model_name=\"m\",priority=\"\",tp_rank=\"0\"} 5.0\n"
      "sglang:num_queue_reqs{model_name=\"m\",priority=\"0\",tp_rank=\"0\"} 3.0\n"
      "sglang:num_queue_reqs{model_name=\"m\",priority=\"10\",tp_rank=\"0\"} 2.0\n");
  ASSERT_TRUE(metrics);
  EXPECT_EQ(metrics->state.waiting, 5);
}

// tensorrt_llm/metrics/collector.py, and the metrics that the docs of tensorrtllm_backend show.
TEST(ReadEngineMetrics, ReadsTensorRtLlmAndTriton) {
  const auto trtllm = read_engine_metrics(
      "trtllm_num_requests_running{engine_type=\"trtllm\",model_name=\"m\"} 6.0\n"
      "trtllm_num_requests_waiting{engine_type=\"trtllm\",model_name=\"m\"} 2.0\n"
      "trtllm_kv_cache_utilization{engine_type=\"trtllm\",model_name=\"m\"} 0.5\n"
      "trtllm_kv_cache_hit_rate{engine_type=\"trtllm\",model_name=\"m\"} 0.25\n"
      "trtllm_kv_cache_max_blocks{engine_type=\"trtllm\",model_name=\"m\"} 1000.0\n"
      "trtllm_kv_cache_tokens_per_block{engine_type=\"trtllm\",model_name=\"m\"} 32.0\n"
      "trtllm_kv_cache_reused_blocks_total{engine_type=\"trtllm\",model_name=\"m\"} 10.0\n"
      "trtllm_kv_cache_iter_reused_blocks_total{engine_type=\"trtllm\",model_name=\"m\"} 9.0\n"
      "trtllm_kv_cache_missed_blocks_total{engine_type=\"trtllm\",model_name=\"m\"} 30.0\n");
  ASSERT_TRUE(trtllm);
  EXPECT_EQ(trtllm->state.running, 6);
  EXPECT_EQ(trtllm->state.waiting, 2);
  EXPECT_DOUBLE_EQ(trtllm->state.kv_usage, 0.5);
  EXPECT_EQ(trtllm->state.kv_capacity, Tokens(32'000));
  EXPECT_EQ(trtllm->state.prefix_queries, Tokens(40 * 32));
  EXPECT_EQ(trtllm->state.prefix_hits, Tokens(10 * 32));

  const auto triton = read_engine_metrics(
      "nv_trt_llm_request_metrics{model=\"tensorrt_llm\",request_type=\"waiting\",version=\"1\"} "
      "1\n"
      "nv_trt_llm_request_metrics{model=\"tensorrt_llm\",request_type=\"context\",version=\"1\"} "
      "1\n"
      "nv_trt_llm_request_metrics{model=\"tensorrt_llm\",request_type=\"scheduled\",version=\"1\"} "
      "4\n"
      "nv_trt_llm_request_metrics{model=\"tensorrt_llm\",request_type=\"max\",version=\"1\"} 512\n"
      "nv_trt_llm_request_metrics{model=\"tensorrt_llm\",request_type=\"active\",version=\"1\"} 5\n"
      "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"tokens_per\",model=\"tensorrt_llm\","
      "version=\"1\"} 64\n"
      "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"used\",model=\"tensorrt_llm\","
      "version=\"1\"} 1\n"
      "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"max\",model=\"tensorrt_llm\","
      "version=\"1\"} 6239\n"
      "nv_trt_llm_kv_cache_block_metrics{kv_cache_block_type=\"fraction\",model=\"tensorrt_llm\","
      "version=\"1\"} 0.125\n");
  ASSERT_TRUE(triton);
  EXPECT_EQ(triton->state.running, 4);
  EXPECT_EQ(triton->state.waiting, 1);
  EXPECT_DOUBLE_EQ(triton->state.kv_usage, 0.125);
  EXPECT_EQ(triton->block_tokens, Tokens(64));
  EXPECT_EQ(triton->state.kv_capacity, Tokens(6239 * 64));
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
      "vllm:lora_requests_info{max_lora=\"99999999999999\",running_lora_adapters=\",, ,\"} 1\n"
      "vllm:lora_requests_info{max_lora=\"7\",running_lora_adapters=\"x\"} NaN\n"
      "trtllm_kv_cache_tokens_per_block 1e300\ntrtllm_kv_cache_max_blocks 1e300\n"
      "trtllm_kv_cache_reused_blocks_total 1e300\ntrtllm_kv_cache_missed_blocks_total 1e300\n");
  ASSERT_TRUE(metrics);
  EXPECT_EQ(metrics->state.running, 1'000'000'000);
  EXPECT_EQ(metrics->state.waiting, 0);
  EXPECT_EQ(metrics->state.kv_usage, 0.0);
  EXPECT_THAT(metrics->state.running_loras, IsEmpty());
  EXPECT_EQ(metrics->state.kv_capacity, Tokens(1'000'000'000'000'000));
  EXPECT_EQ(metrics->state.prefix_hits, Tokens(1'000'000'000'000'000));
  EXPECT_EQ(metrics->state.max_loras, 1'000'000'000);
}

TEST(ReadEngineMetrics, SaysWhenThereIsNothing) {
  EXPECT_FALSE(read_engine_metrics(""));
  EXPECT_FALSE(read_engine_metrics("<html>not found</html>\nprocess_cpu_seconds_total 1\n"));
}

}  // namespace
}  // namespace baton::orchestrator
