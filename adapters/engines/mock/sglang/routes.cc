#include <fmt/format.h>

#include "adapters/engines/mock/openai_answers.h"
#include "adapters/engines/mock/openai_fields.h"
#include "adapters/engines/mock/sglang/sglang_dress.h"

namespace baton::adapters::mock::sglang {
namespace {

// http_server.py:536: FastAPI's own words, in the server's form.
Answer not_found() { return error_answer(404, "404", "Not Found"); }
Answer wrong_method() { return error_answer(405, "405", "Method Not Allowed"); }

Answer plain(unsigned status, std::string body = {}) {
  return {status, std::move(body), {{"content-type", "text/plain; charset=utf-8"}}};
}

constexpr std::string_view kReadable[] = {"/health",          "/health_generate", "/server_info",
                                          "/get_server_info", "/model_info",      "/get_model_info",
                                          "/v1/models",       "/v1/loads",        "/get_load",
                                          "/metrics",         "/flush_cache"};
constexpr std::string_view kWritable[] = {"/abort_request",  "/flush_cache",
                                          "/tokenize",       "/v1/tokenize",
                                          "/v1/completions", "/v1/chat/completions"};

template <class Paths>
bool has(const Paths& paths, std::string_view path) {
  return std::find(std::begin(paths), std::end(paths), path) != std::end(paths);
}

}  // namespace

http::Task<Answer> SglangDress::other(const http::Request& request) {
  const std::string_view path = request.path();
  const bool reads = request.method == "GET" || request.method == "HEAD";
  if (reads ? !has(kReadable, path) : request.method != "POST" || !has(kWritable, path)) {
    co_return has(kReadable, path) || has(kWritable, path) ? wrong_method() : not_found();
  }
  // The real server has its engine make a token for either path, which takes a second.
  if (path == "/health" || path == "/health_generate") {
    co_return plain(parts_.dead || parts_.starting() ? 503 : 200);
  }
  if (parts_.starting()) co_return unavailable();
  if (path == "/metrics") {
    co_return Answer{200,
                     metrics_.text(rooms_.waiting()),
                     {{"content-type", "text/plain; version=0.0.4; charset=utf-8"}}};
  }
  if (path == "/v1/models") co_return models();
  if (path == "/model_info" || path == "/get_model_info") co_return model_info();
  if (path == "/server_info" || path == "/get_server_info") co_return server_info();
  if (path == "/v1/loads" || path == "/get_load") co_return loads();
  if (path == "/flush_cache") co_return flush_cache();
  auto body = parse_body(request);
  if (!body) co_return std::move(body.error());
  co_return path == "/abort_request" ? abort_request(*body) : tokenize(*body);
}

// http_server.py:1823.
Answer SglangDress::models() const {
  const MockOptions& options = parts_.options;
  Json data = Json::array();
  const auto card = [&](const std::string& id, const std::string& root, Json parent, Json length) {
    data.push_back({{"id", id},
                    {"object", "model"},
                    {"created", unix_seconds()},
                    {"owned_by", "sglang"},
                    {"root", root},
                    {"parent", std::move(parent)},
                    {"max_model_len", std::move(length)}});
  };
  card(options.model, options.model, nullptr, options.max_model_len.count());
  for (const auto& [name, path] : options.loras) card(name, path, options.model, nullptr);
  return {200, dump({{"object", "list"}, {"data", std::move(data)}})};
}

// http_server.py:707.
Answer SglangDress::model_info() const {
  return {200, dump({{"model_path", parts_.options.model},
                     {"tokenizer_path", parts_.options.model},
                     {"is_generation", true},
                     {"preferred_sampling_params", nullptr},
                     {"weight_version", "default"},
                     {"has_image_understanding", false},
                     {"has_audio_understanding", false},
                     {"model_type", "mock"},
                     {"architectures", Json::array({"MockForCausalLM"})}})};
}

// http_server.py:757: all server arguments (server_args.py), of which these are what routers read.
Answer SglangDress::server_info() const {
  const MockOptions& options = parts_.options;
  const auto& model = options.model_options;
  Json states = Json::array();
  for (const auto& rank : parts_.ranks) {
    states.push_back(
        {{"last_gen_throughput", 0.0},
         {"memory_usage", {{"token_capacity", model.blocks * model.block_tokens.count()}}},
         {"live_requests", rank->engine().live()}});
  }
  return {200, dump({{"model_path", options.model},
                     {"tokenizer_path", options.model},
                     {"served_model_name", options.model},
                     {"host", options.host},
                     {"port", options.port},
                     {"dtype", "auto"},
                     {"kv_cache_dtype", "auto"},
                     {"tp_size", 1},
                     {"pp_size", 1},
                     {"dp_size", options.data_parallel_size},
                     {"page_size", model.block_tokens.count()},
                     {"context_length", options.max_model_len.count()},
                     {"max_running_requests", model.max_num_seqs},
                     {"enable_metrics", true},
                     {"enable_cache_report", options.prompt_tokens_details},
                     {"random_seed", static_cast<std::int64_t>(options.seed >> 2U)},
                     {"disaggregation_mode", mode_of(options.role)},
                     {"disaggregation_transfer_backend", "mooncake"},
                     {"disaggregation_bootstrap_port", options.side_channel_port},
                     {"max_total_num_tokens", model.blocks * model.block_tokens.count()},
                     {"startup_time", {{"total", parts_.started_at}}},
                     {"internal_states", std::move(states)},
                     {"version", kVersion},
                     {"kv_events", nullptr}})};
}

// entrypoints/v1_loads.py, in its "core" section.
Answer SglangDress::loads() const {
  Json all = Json::array();
  const auto block = parts_.options.model_options.block_tokens.count();
  for (std::size_t i = 0; i < parts_.ranks.size(); ++i) {
    const auto load = parts_.ranks[i]->engine().load();
    const auto& pool = parts_.ranks[i]->engine().pool();
    all.push_back({{"dp_rank", i},
                   {"num_running_reqs", load.running},
                   {"num_waiting_reqs", load.waiting},
                   {"num_used_tokens", pool.used_blocks() * block},
                   {"num_total_tokens", pool.used_blocks() * block},
                   {"max_total_num_tokens", pool.size() * block},
                   {"token_usage", load.kv_usage},
                   {"gen_throughput", 0.0},
                   {"max_running_requests", parts_.options.model_options.max_num_seqs}});
  }
  return {200, dump({{"timestamp", unix_seconds()},
                     {"version", kVersion},
                     {"accelerator", nullptr},
                     {"num_accelerators", 1},
                     {"loads", std::move(all)}})};
}

Answer SglangDress::flush_cache() {
  bool all = true;
  for (const auto& rank : parts_.ranks) all = rank->reset_prefix_cache() && all;
  if (!all) return plain(400, "Flush cache failed.\n");
  return plain(
      200,
      "Cache flushed.\nPlease check backend logs for more details. (When there are running "
      "or waiting requests, the operation will not be performed.)\n");
}

// http_server.py:1587; managers/scheduler.py:4335 matches the beginning of ids. Its text is that of
// a request that ends with finish_reason abort; here the request fails.
Answer SglangDress::abort_request(const Json& body) {
  const std::string id = text_of(body, "rid");
  const bool all = is_true(body, "abort_all");
  for (Work* work : std::set<Work*>(works_)) {
    if (!all && (id.empty() || !work->wanted.id.starts_with(id))) continue;
    work->record->note("aborted by request");
    work->fail(engine_failure(500, "Aborted by AbortReq."));
  }
  return plain(200);
}

Answer SglangDress::tokenize(const Json& body) const {
  const bool chat = member(body, "messages") != nullptr;
  if (!chat && text_of(body, "prompt").empty()) {
    return error_answer(400, "Bad Request", "prompt: Field required");
  }
  const std::string text = chat ? render_chat(body) : text_of(body, "prompt");
  const auto ids = parts_.tokenizer.encode(text, !chat);
  return {200, dump({{"tokens", ids},
                     {"count", ids.size()},
                     {"max_model_len", parts_.options.max_model_len.count()}})};
}

}  // namespace baton::adapters::mock::sglang
