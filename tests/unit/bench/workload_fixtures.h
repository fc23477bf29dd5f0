#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "orchestrator/bench/workload/workloads.h"
#include "tests/unit/bench/toy_tokenizers.h"

namespace baton::orchestrator::bench {

using Count = int (*)(std::string_view);

inline PromptBuilder builder_of(Count count, std::uint64_t seed = 1) {
  auto builder = PromptBuilder::from_vocabulary(std::make_shared<ToyTokenizer>(count), "toy", seed);
  EXPECT_TRUE(builder) << builder.error().message;
  builder->set_overhead(0);
  return std::move(*builder);
}

inline std::unique_ptr<Workload> made(const WorkloadSpec& spec, const PromptBuilder& prompts) {
  auto workload = make_workload(spec, prompts);
  EXPECT_TRUE(workload) << workload.error().message;
  return workload ? std::move(*workload) : nullptr;
}

inline std::string problem_of(const WorkloadSpec& spec, const PromptBuilder& prompts) {
  const auto workload = make_workload(spec, prompts);
  if (workload) return "";
  EXPECT_EQ(workload.error().code, ErrorCode::kInvalidArgument);
  return workload.error().message;
}

inline WorkloadRequest nth(Workload& workload, std::size_t index) {
  auto request = workload.request(index);
  EXPECT_TRUE(request) << request.error().message;
  return std::move(*request);
}

inline std::string text_of(Workload& workload, std::size_t index) {
  const WorkloadRequest request = nth(workload, index);
  EXPECT_EQ(request.turns.size(), 1);
  return request.turns.at(0).text;
}

// A folder of files for one test.
class TestFolder {
 public:
  TestFolder()
      : path_(std::filesystem::path(testing::TempDir()) /
              ("workloads_" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(path_);
  }
  ~TestFolder() { std::filesystem::remove_all(path_); }
  TestFolder(const TestFolder&) = delete;
  TestFolder& operator=(const TestFolder&) = delete;
  [[nodiscard]] std::string add(const std::string& name, const std::string& text) const {
    std::ofstream(path_ / name, std::ios::binary) << text;
    return path_ / name;
  }

 private:
  std::filesystem::path path_;
};

inline constexpr const char* kMooncake =
    R"({"timestamp": 0, "input_length": 1300, "output_length": 20, "hash_ids": [7, 8, 9]}
{"timestamp": 1000, "input_length": 1025, "output_length": 0, "hash_ids": [7, 8, 10]}
{"timestamp": 4000, "input_length": 600, "output_length": 400, "hash_ids": [7, 11]}
{"timestamp": 5000, "input_length": 90, "output_length": 4}
)";
inline constexpr const char* kAzure =
    "TIMESTAMP,ContextTokens,GeneratedTokens\n"
    "2023-11-16 18:17:03.5,4808,10\n"
    "2023-11-16 18:17:03.0,318,8\n"
    "2023-11-16 18:17:07.0,40,80\n";
inline constexpr const char* kShareGpt =
    R"([{"conversations":[{"from":"human","value":"tell me of the sea"},
                          {"from":"gpt","value":"it is wide and blue"}]},
       {"conversations":[{"from":"human","value":"hi"},{"from":"gpt","value":"hello my friend there"}]},
       {"conversations":[{"from":"human","value":"one two three four five six seven eight"},
                         {"from":"gpt","value":"a b c d e f"}]}])";
inline constexpr const char* kCustom =
    R"({"prompt":"what is it","output_tokens":12,"timestamp":100}
{"messages":[{"role":"system","content":"s"},{"role":"user","content":"u"}],"model":"own","priority":4,"timestamp":300}
)";

inline WorkloadSpec sessions_spec() {
  WorkloadSpec spec;
  spec.kind = WorkloadKind::kSessions;
  spec.sessions = 3;
  spec.turns = 3;
  spec.first_tokens = 50;
  spec.turn_tokens = 10;
  spec.think_time = std::chrono::seconds(2);
  return spec;
}

}  // namespace baton::orchestrator::bench
