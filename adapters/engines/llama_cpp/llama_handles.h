#pragma once

#include <llama.h>

#include <memory>
#include <string>
#include <vector>

namespace baton::adapters {

// Owning pointers to libllama's objects.
struct LlamaDeleter {
  void operator()(llama_model* model) const { llama_model_free(model); }
  void operator()(llama_context* context) const { llama_free(context); }
  void operator()(llama_sampler* sampler) const { llama_sampler_free(sampler); }
};
using LlamaModelPtr = std::unique_ptr<llama_model, LlamaDeleter>;
using LlamaContextPtr = std::unique_ptr<llama_context, LlamaDeleter>;
using LlamaSamplerPtr = std::unique_ptr<llama_sampler, LlamaDeleter>;

// Once per process, before the first model: starts ggml, sends libllama's warnings and errors to
// core/log.h, and keeps a failed assertion of ggml from starting a debugger on the process.
void init_llama();

// While one lives, what libllama complains of on this thread is kept, so that a failure can be one
// line. What nobody asked for is logged at its end. Not nested.
class LlamaComplaints {
 public:
  LlamaComplaints();
  LlamaComplaints(const LlamaComplaints&) = delete;
  LlamaComplaints& operator=(const LlamaComplaints&) = delete;
  ~LlamaComplaints();
  // The first error, which is the cause of those after it; a general word where there is none.
  [[nodiscard]] std::string take_reason();

 private:
  friend struct LlamaLog;
  struct Line {
    ggml_log_level level;
    std::string text;
  };
  std::vector<Line> lines_;
};

}  // namespace baton::adapters
