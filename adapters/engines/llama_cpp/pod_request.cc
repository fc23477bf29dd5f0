#include "adapters/engines/llama_cpp/pod_request.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "adapters/engines/llama_cpp/pod_fields.h"

namespace baton::adapters {
namespace {

constexpr std::size_t kMaxStops = 4;
constexpr int kMaxChatLogprobs = 20;       // OpenAI's bound of top_logprobs
constexpr int kMaxCompletionLogprobs = 5;  // and of logprobs
constexpr double kMaxReal = std::numeric_limits<float>::max();

void read_model(FieldReader& reader, const ServedModels& models, PodRequest& request,
                std::optional<Error>& unknown) {
  const auto name = reader.text("model");
  if (!name) {
    reader.refuse("model", "is missing");
    return;
  }
  request.model = *name;
  if (const auto lora = models.lora_of(*name)) {
    request.lora = *lora;
  } else {
    unknown = Error{ErrorCode::kNotFound, Stage::kRouter,
                    "The model `" + *name + "` does not exist.", false, "model"};
  }
}

void read_sampling(FieldReader& reader, PodRequest& request) {
  SamplingParams& sampling = request.sampling;
  sampling.temperature = static_cast<float>(reader.number("temperature", 0.0, 2.0).value_or(1.0));
  sampling.top_p = static_cast<float>(reader.number("top_p", 0.0, 1.0).value_or(1.0));
  if (reader.find("top_p") != nullptr && sampling.top_p <= 0.0F) {
    reader.refuse("top_p", "must be above 0");
  }
  const auto top_k = reader.integer("top_k", -1, std::numeric_limits<int>::max()).value_or(0);
  sampling.top_k = static_cast<int>(std::max<std::int64_t>(top_k, 0));  // -1 and 0: off, as in vLLM
  sampling.min_p = static_cast<float>(reader.number("min_p", 0.0, 1.0).value_or(0.0));
  if (const OrderedJson* seed = reader.find("seed")) {
    if (!seed->is_number_integer()) {
      reader.refuse("seed", "must be an integer");
    } else if (seed->is_number_unsigned()) {
      sampling.seed = seed->get<std::uint64_t>();
    } else {
      sampling.seed = static_cast<std::uint64_t>(seed->get<std::int64_t>());
    }
  }
  sampling.ignore_eos = reader.flag("ignore_eos", false);
}

void read_max_tokens(FieldReader& reader, PodRequest& request) {
  constexpr int kMost = std::numeric_limits<int>::max();
  const auto older = reader.integer("max_tokens", 1, kMost);
  const auto newer =
      request.api == Api::kChat ? reader.integer("max_completion_tokens", 1, kMost) : std::nullopt;
  const auto chosen = newer ? newer : older;
  if (chosen) request.max_tokens = static_cast<int>(*chosen);
}

void read_stop(FieldReader& reader, PodRequest& request) {
  const OrderedJson* stop = reader.find("stop");
  if (stop == nullptr) return;
  const OrderedJson one = OrderedJson::array({*stop});
  const OrderedJson& list = stop->is_string() ? one : *stop;
  if (!list.is_array()) return reader.refuse("stop", "must be a string or an array of strings");
  if (list.size() > kMaxStops) return reader.refuse("stop", "must hold at most 4 strings");
  for (const OrderedJson& entry : list) {
    if (!entry.is_string()) return reader.refuse("stop", "must hold strings only");
    if (entry.get_ref<const std::string&>().empty()) {
      return reader.refuse("stop", "must not hold an empty string");
    }
    request.stop.push_back(entry.get<std::string>());
  }
}

void read_streaming(FieldReader& reader, PodRequest& request) {
  request.stream = reader.flag("stream", false);
  const OrderedJson* options = reader.object("stream_options");
  if (options == nullptr) return;
  if (!request.stream) return reader.refuse("stream_options", "is allowed with stream only");
  FieldReader inner(*options);
  request.include_usage = inner.flag("include_usage", false);
  if (inner.error()) reader.refuse("stream_options.include_usage", "must be true or false");
}

void read_logprobs(FieldReader& reader, PodRequest& request) {
  if (request.api == Api::kCompletions) {
    const auto wanted = reader.integer("logprobs", 0, kMaxCompletionLogprobs);
    request.sampling.logprobs = static_cast<int>(wanted.value_or(-1));
    return;
  }
  const bool wanted = reader.flag("logprobs", false);
  const auto top = reader.integer("top_logprobs", 0, kMaxChatLogprobs);
  if (top.value_or(0) > 0 && !wanted) {
    reader.refuse("top_logprobs", "needs logprobs to be true");
  }
  if (wanted) request.sampling.logprobs = static_cast<int>(top.value_or(0));
}

// What this engine does not do is refused, so that nobody believes it was done.
void refuse_unsupported(FieldReader& reader, Api api) {
  if (reader.integer("n", 1, 128).value_or(1) != 1) {
    reader.refuse("n", "must be 1: this engine makes one answer for each request");
  }
  const std::pair<const char*, double> neutral_numbers[] = {
      {"presence_penalty", 0.0}, {"frequency_penalty", 0.0}, {"repetition_penalty", 1.0},
      {"min_tokens", 0.0},       {"best_of", 1.0},
  };
  for (const auto& [name, neutral] : neutral_numbers) {
    const auto value = reader.number(name, -kMaxReal, kMaxReal);
    if (value && *value != neutral) reader.refuse(name, "is not supported by this engine");
  }
  for (const char* name : {"logit_bias", "guided_json", "structured_outputs"}) {
    const OrderedJson* value = reader.find(name);
    if (value != nullptr && !value->empty()) reader.refuse(name, "is not supported by this engine");
  }
  if (const OrderedJson* format = reader.object("response_format")) {
    if (FieldReader(*format).text("type") != "text") {
      reader.refuse("response_format", "must be of type text");
    }
  }
  if (api == Api::kCompletions) {
    if (reader.flag("echo", false)) reader.refuse("echo", "is not supported by this engine");
    if (!reader.text("suffix").value_or("").empty()) {
      reader.refuse("suffix", "is not supported by this engine");
    }
    return;
  }
  if (const OrderedJson* choice = reader.find("tool_choice");
      choice != nullptr && *choice != "auto" && *choice != "none") {
    reader.refuse("tool_choice", "must be auto or none");
  }
  if (reader.flag("continue_final_message", false)) {
    reader.refuse("continue_final_message", "is not supported by this engine");
  }
}

std::optional<ChatPrompt> read_chat(FieldReader& reader) {
  ChatPrompt chat;
  const OrderedJson* messages = reader.array("messages");
  if (messages == nullptr) {
    reader.refuse("messages", "is missing");
    return std::nullopt;
  }
  chat.messages = messages->dump();
  const OrderedJson* choice = reader.find("tool_choice");
  const OrderedJson* tools = reader.array("tools");
  if (tools != nullptr && !tools->empty() && (choice == nullptr || *choice != "none")) {
    chat.tools = tools->dump();
  }
  if (const OrderedJson* kwargs = reader.object("chat_template_kwargs")) {
    chat.kwargs = kwargs->dump();
  }
  chat.add_generation_prompt = reader.flag("add_generation_prompt", true);
  return chat;
}

void read_ids(FieldReader& reader, const OrderedJson& list, PodRequest& request) {
  for (const OrderedJson& id : list) {
    if (!id.is_number_integer() || id.get<std::int64_t>() < 0 ||
        id.get<std::int64_t>() > std::numeric_limits<TokenId>::max()) {
      return reader.refuse("prompt", "must hold token ids only");
    }
    request.ids.push_back(id.get<TokenId>());
  }
  if (request.ids.empty()) reader.refuse("prompt", "must hold at least one token");
}

void read_prompt(FieldReader& reader, PodRequest& request) {
  const OrderedJson* prompt = reader.find("prompt");
  if (prompt == nullptr) return reader.refuse("prompt", "is missing");
  if (prompt->is_array() && !prompt->empty() && !prompt->front().is_number()) {
    if (prompt->size() > 1) {
      return reader.refuse("prompt", "must be one prompt: this engine takes no batches");
    }
    prompt = &prompt->front();
  }
  if (prompt->is_string()) {
    request.text = prompt->get<std::string>();
  } else if (prompt->is_array()) {
    read_ids(reader, *prompt, request);
  } else {
    reader.refuse("prompt", "must be a string or an array of token ids");
  }
}

void read_handoff(FieldReader& reader, PodRequest& request) {
  constexpr const char* kName = "kv_transfer_params";
  const OrderedJson* params = reader.object(kName);
  if (params == nullptr) return;
  const auto found = params->find("baton");
  if (found == params->end() || !found->is_object()) {
    return reader.refuse(kName, "must have a member baton");
  }
  FieldReader baton(*found);
  const std::string role = baton.text("role").value_or("");
  const auto id = Id128::parse(baton.text("transfer_id").value_or(""));
  if (!id || id->is_zero()) return reader.refuse(kName, "has no transfer_id of 32 hex digits");
  if (role == "producer") {
    request.producer = *id;
  } else if (role == "consumer") {
    HandoffSource source;
    source.kv_address = baton.text("kv_address").value_or("");
    source.engine_id = baton.text("engine_id").value_or("");
    source.transfer_id = *id;
    const OrderedJson* epoch = baton.find("epoch");
    if (source.kv_address.empty() || epoch == nullptr || !epoch->is_number_integer()) {
      return reader.refuse(kName, "of a consumer needs kv_address, engine_id and epoch");
    }
    source.epoch = epoch->get<std::uint64_t>();
    request.consumer = std::move(source);
  } else {
    reader.refuse(kName, "has a role other than producer and consumer");
  }
  if (baton.error()) reader.refuse(kName, "has a member of the wrong type");
}

}  // namespace

std::optional<int> ServedModels::lora_of(std::string_view name) const {
  if (std::ranges::find(base, name) != base.end()) return -1;
  const auto lora = std::ranges::find(loras, name);
  if (lora == loras.end()) return std::nullopt;
  return static_cast<int>(lora - loras.begin());
}

Result<PodRequest> parse_pod_request(Api api, std::string_view body, const ServedModels& models) {
  const auto parsed = parse_body(body);
  if (!parsed) return std::unexpected(parsed.error());
  FieldReader reader(*parsed);
  PodRequest request;
  request.api = api;
  std::optional<Error> unknown_model;
  read_model(reader, models, request, unknown_model);
  if (api == Api::kChat) {
    request.chat = read_chat(reader);
  } else {
    read_prompt(reader, request);
  }
  read_max_tokens(reader, request);
  read_sampling(reader, request);
  read_stop(reader, request);
  read_streaming(reader, request);
  read_logprobs(reader, request);
  refuse_unsupported(reader, api);
  request.cache_salt = reader.text("cache_salt").value_or("");
  read_handoff(reader, request);
  if (reader.error()) return std::unexpected(*reader.error());
  if (unknown_model) return std::unexpected(*unknown_model);
  return request;
}

Result<TokenizeRequest> parse_tokenize_request(std::string_view body, const ServedModels& models) {
  const auto parsed = parse_body(body);
  if (!parsed) return std::unexpected(parsed.error());
  FieldReader reader(*parsed);
  TokenizeRequest request;
  if (reader.find("messages") != nullptr) {
    request.chat = read_chat(reader);
  } else if (const auto text = reader.text("prompt")) {
    request.text = *text;
  } else {
    reader.refuse("prompt", "is missing");
  }
  request.add_special = reader.flag("add_special_tokens", true);
  request.want_strings = reader.flag("return_token_strs", false);
  const auto model = reader.text("model");
  if (reader.error()) return std::unexpected(*reader.error());
  if (model && !models.lora_of(*model)) {
    return fail(ErrorCode::kNotFound, Stage::kRouter, "The model `" + *model + "` does not exist.",
                false, "model");
  }
  return request;
}

}  // namespace baton::adapters
