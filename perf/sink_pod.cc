// A pod that computes nothing: it answers each OpenAI request at once with a fixed text, in the
// form that the router in front of it expects of its engine, so that what is measured is the
// router. usage: perf_sink_pod PORT NAME PREFILL|DECODE [EVENTS [vllm]]
// EVENTS: tokens in a streamed answer (default 8); with `vllm` it has the metrics of a vLLM. Prints
// "ready PORT".
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <charconv>
#include <iostream>
#include <string>
#include <string_view>

#include "adapters/http/server.h"
#include "perf/vllm_text.h"

namespace baton::perf {
namespace {

namespace http = adapters::http;

struct Answers {
  std::string facts;
  std::string metrics = "{}";  // none
  std::string whole;           // application/json
  std::string events;          // text/event-stream
};

Answers make_answers(std::string_view name, std::string_view role, int events) {
  Answers answers;
  answers.facts = R"({"engine_id":")" + std::string(name) +
                  R"(","epoch":1,"engine_version":"sink 1","model_hash":"sink",)"
                  R"("layout_hash":"0000000000000001","kv_address":"127.0.0.1:1",)"
                  R"("block_tokens":64,"max_context":131072,"bytes_per_token":2048,"role":")" +
                  std::string(role) + R"(","max_running":100000,"loras":[]})";
  const std::string usage =
      R"("usage":{"prompt_tokens":16,"completion_tokens":1,"total_tokens":17,)"
      R"("prompt_tokens_details":{"cached_tokens":0}})";
  answers.whole =
      R"({"id":"cmpl-1","object":"chat.completion","created":1,"model":"sink","choices":[{"index":0,)"
      R"("message":{"role":"assistant","content":"ok"},"finish_reason":"stop"}],)" +
      usage +
      R"(,"kv_transfer_params":{"do_remote_prefill":true,"do_remote_decode":false,)"
      R"("remote_engine_id":"sink","remote_block_ids":[1],"remote_host":"127.0.0.1",)"
      R"("remote_port":1,"tp_size":1,"remote_request_id":"1"}})";
  for (int i = 0; i < events; ++i) {
    answers.events +=
        R"(data: {"id":"cmpl-1","object":"chat.completion.chunk","created":1,"model":"sink",)"
        R"("choices":[{"index":0,"delta":{"content":"ok "},"finish_reason":null}]})"
        "\n\n";
  }
  answers.events += R"(data: {"id":"cmpl-1","object":"chat.completion.chunk","created":1,)"
                    R"("model":"sink","choices":[],)" +
                    usage + "}\n\ndata: [DONE]\n\n";
  return answers;
}

http::Task<void> answer(const Answers& answers, http::Exchange& exchange) {
  const http::Request& request = exchange.request();
  http::Fields json{{"content-type", "application/json"}};
  if (request.method == "GET") {
    if (request.path() == "/baton/facts") {
      (void)co_await exchange.send(200, std::move(json), answers.facts);
    } else if (request.path() == "/v1/models") {
      std::string models =
          R"({"object":"list","data":[{"id":"sink","object":"model","root":"sink"}]})";
      (void)co_await exchange.send(200, std::move(json), std::move(models));
    } else if (request.path() == "/metrics") {
      (void)co_await exchange.send(200, std::move(json), answers.metrics);
    } else {
      std::string empty = "{}";
      (void)co_await exchange.send(200, std::move(json), std::move(empty));
    }
    co_return;
  }
  const bool stream = request.body.find("\"stream\":true") != std::string::npos;
  if (!stream) {
    (void)co_await exchange.send(200, std::move(json), answers.whole);
    co_return;
  }
  http::Fields sse{{"content-type", "text/event-stream"}};
  if (!co_await exchange.start(200, std::move(sse))) co_return;
  std::string_view rest = answers.events;
  while (!rest.empty()) {
    const std::size_t end = rest.find("\n\n") + 2;
    if (!co_await exchange.write(rest.substr(0, end))) co_return;
    rest.remove_prefix(end);
  }
  (void)co_await exchange.finish();
}

int run(int argc, char** argv) {
  int port = 0;
  int events = 8;
  if (argc < 4) {
    std::cerr << "usage: perf_sink_pod PORT NAME PREFILL|DECODE [EVENTS [vllm]]\n";
    return 2;
  }
  const std::string_view port_text = argv[1];
  std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
  if (argc > 4) {
    const std::string_view text = argv[4];
    std::from_chars(text.data(), text.data() + text.size(), events);
  }
  Answers answers = make_answers(argv[2], argv[3], events);
  if (argc > 5 && std::string_view(argv[5]) == "vllm") answers.metrics = VllmText::make();
  boost::asio::io_context io(1);
  http::ServerLimits limits;
  limits.idle_time = std::chrono::hours(1);
  auto server = http::Server::listen(
      io, "127.0.0.1", static_cast<std::uint16_t>(port), limits,
      [&answers](http::Exchange& exchange) { return answer(answers, exchange); });
  if (!server) {
    std::cerr << server.error().message << '\n';
    return 2;
  }
  boost::asio::signal_set signals(io, SIGTERM, SIGINT);
  signals.async_wait([&](boost::system::error_code, int) { io.stop(); });
  std::cout << "ready " << (*server)->port() << std::endl;
  io.run();
  return 0;
}

}  // namespace
}  // namespace baton::perf

int main(int argc, char** argv) { return baton::perf::run(argc, argv); }
