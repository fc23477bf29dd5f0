#pragma once

#include <cstdio>
#include <string>
#include <string_view>

namespace baton::perf {

// What a vLLM server answers at /metrics, as far as its cost goes: the families of version 0.32.0
// with the NixlConnector, each with its help, its series and their labels, 64 KB in all.
class VllmText {
 public:
  static std::string make() {
    VllmText made;
    made.add_gauges();
    made.add_counters();
    made.add_histograms();
    made.add_configuration();
    return made.text_;
  }

 private:
  void family(std::string_view name, std::string_view kind) {
    const std::string n(name);
    text_ += "# HELP " + n + " What it counts, in a sentence or two of about the usual length for";
    text_ += " such a text in the engine.\n# TYPE " + n + " " + std::string(kind) + "\n";
  }
  void series(std::string_view name, std::string_view more, double value) {
    char number[32];
    std::snprintf(number, sizeof number, "%.1f\n", value);
    text_ += std::string(name) + "{engine=\"0\",model_name=\"llama-3.1-8b\"" + std::string(more) +
             "} " + number;
  }

  void add_gauges() {
    for (const char* name : {"process_virtual_memory_bytes", "process_resident_memory_bytes",
                             "process_start_time_seconds", "process_cpu_seconds_total"}) {
      family(name, "gauge");
      text_ += std::string(name) + " 1.79586651157e+09\n";
    }
    for (const char* name :
         {"vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"}) {
      family(name, "gauge");
      series(name, "", 0.5);
    }
    family("vllm:num_requests_waiting_by_reason", "gauge");
    for (const char* reason : {"capacity", "deferred"}) {
      series("vllm:num_requests_waiting_by_reason", ",reason=\"" + std::string(reason) + "\"", 1.0);
    }
    family("vllm:lora_requests_info", "gauge");
    for (int i = 0; i < 8; ++i) {  // old ones stay
      text_ += "vllm:lora_requests_info{max_lora=\"8\",running_lora_adapters=\"sql," +
               std::to_string(i) + "\",waiting_lora_adapters=\"\"} 1.7958665538e+09\n";
    }
  }

  void add_counters() {
    for (const char* name :
         {"nixl_num_failed_transfers", "nixl_num_failed_notifications", "nixl_num_kv_expired_reqs",
          "estimated_flops_per_gpu", "estimated_read_bytes_per_gpu",
          "estimated_write_bytes_per_gpu", "prefix_cache_queries", "prefix_cache_hits",
          "external_prefix_cache_queries", "external_prefix_cache_hits", "mm_cache_queries",
          "mm_cache_hits", "num_preemptions", "prompt_tokens", "prompt_tokens_by_source",
          "prompt_tokens_cached", "generation_tokens", "request_success", "admission_rejections"}) {
      const std::string full = "vllm:" + std::string(name);
      for (const char* suffix : {"_total", "_created"}) {
        family(full + suffix, "counter");
        series(full + suffix, "", 247.0);
        series(full + suffix, ",source=\"local_compute\"", 151.0);
      }
    }
  }

  void add_histograms() {
    for (const char* name :
         {"nixl_xfer_time_seconds",         "nixl_post_time_seconds",
          "nixl_bytes_transferred",         "nixl_num_descriptors",
          "request_prompt_tokens",          "request_generation_tokens",
          "iteration_tokens_total",         "request_max_num_generation_tokens",
          "request_params_max_tokens",      "time_to_first_token_seconds",
          "inter_token_latency_seconds",    "request_time_per_output_token_seconds",
          "e2e_request_latency_seconds",    "request_queue_time_seconds",
          "request_inference_time_seconds", "request_prefill_time_seconds",
          "request_decode_time_seconds",    "request_prefill_kv_computed_tokens",
          "request_num_preemptions",        "kv_block_lifetime"}) {
      const std::string full = "vllm:" + std::string(name);
      family(full, "histogram");
      for (int bucket = 0; bucket < 19; ++bucket) {
        series(full + "_bucket", ",le=\"" + std::to_string(bucket) + ".25\"", bucket);
      }
      series(full + "_count", "", 19.0);
      series(full + "_sum", "", 1234.5);
    }
  }

  void add_configuration() {
    family("vllm:cache_config_info", "gauge");
    std::string labels =
        ",block_size=\"16\",num_gpu_blocks=\"8192\",kv_cache_size_tokens=\"131072\"";
    for (int i = 0; i < 30; ++i) labels += ",setting_" + std::to_string(i) + "=\"None\"";
    series("vllm:cache_config_info", labels, 1.0);
  }

  std::string text_;
};

}  // namespace baton::perf
