#pragma once

#include <llama.h>

#include <memory>

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

}  // namespace baton::adapters
