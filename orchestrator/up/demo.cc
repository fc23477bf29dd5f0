#include "orchestrator/up/demo.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <utility>
#include <vector>

#include "adapters/http/client.h"
#include "orchestrator/build_info.h"
#include "orchestrator/up/demo_client.h"

namespace baton::orchestrator {
namespace {

namespace http = adapters::http;
using OrderedJson = nlohmann::ordered_json;

constexpr int kAnswerTokens = 48;
constexpr std::size_t kTextColumns = 84;
constexpr const char* kIndent = "    ";

struct DemoRequest {
  std::string title;
  std::string target;
  OrderedJson body;
};

// About `sentences` times nine tokens of the made model's vocabulary.
std::string tale(int sentences) {
  constexpr std::array kSubjects = {"sailor", "baker", "fox", "gardener", "owl", "weaver", "poet"};
  constexpr std::array kVerbs = {"carries", "finds", "paints", "repairs", "hides", "sells"};
  constexpr std::array kObjects = {"lantern", "bridge", "letter", "kettle", "boat",
                                   "basket",  "clock",  "map",    "bell",   "mirror"};
  std::string text;
  for (int i = 0; i < sentences; ++i) {
    const auto at = static_cast<std::size_t>(i);
    text += fmt::format("{}The old {} slowly {} the wooden {}.", i == 0 ? "" : " ",
                        kSubjects[at % kSubjects.size()], kVerbs[at % kVerbs.size()],
                        kObjects[at % kObjects.size()]);
  }
  return text;
}

OrderedJson base_body(const std::string& model) {
  return {{"model", model},
          {"max_tokens", kAnswerTokens},
          {"temperature", 0},
          {"stream", true},
          {"stream_options", {{"include_usage", true}}}};
}

DemoRequest chat(std::string title, const std::string& model, const std::string& words) {
  OrderedJson body = base_body(model);
  body["messages"] = OrderedJson::array({{{"role", "user"}, {"content", words}}});
  return {std::move(title), "/v1/chat/completions", std::move(body)};
}

DemoRequest completion(std::string title, const std::string& model, const std::string& prompt) {
  OrderedJson body = base_body(model);
  body["prompt"] = prompt;
  return {std::move(title), "/v1/completions", std::move(body)};
}

std::vector<DemoRequest> demo_requests(const DemoPlan& plan) {
  constexpr int kLongTale = 166;  // about 1,500 tokens
  const std::string question = "Where does the river go after the mill?";
  std::vector<DemoRequest> requests = {
      chat("Chat", plan.model, question),
      completion("Completion", plan.model, "The baker opened the door and"),
      completion("Long prompt", plan.model, tale(kLongTale)),
      completion("The same prompt and one more sentence: its beginning is held", plan.model,
                 tale(kLongTale + 1))};
  if (!plan.lora.empty()) {
    requests.push_back(
        chat("The first question, to the LoRA adapter " + plan.lora, plan.lora, question));
  }
  return requests;
}

double number(const OrderedJson& timing, const char* key) {
  const auto found = timing.find(key);
  return found != timing.end() && found->is_number() ? found->get<double>() : 0.0;
}

std::string milliseconds(double ms) {
  return ms < 9.95 ? fmt::format("{:.2f} ms", ms) : fmt::format("{:.1f} ms", ms);
}

std::string kilobytes(double bytes) {
  if (bytes >= 1 << 20) return fmt::format("{:.2f} MiB", bytes / (1 << 20));
  return fmt::format("{:.1f} KiB", bytes / (1 << 10));
}

std::string counted(double count, const char* thing) {
  return fmt::format("{} {}{}", count, thing, count == 1 ? "" : "s");
}

void print_row(const char* name, const std::string& text) {
  std::printf("%s%-10s%s\n", kIndent, name, text.c_str());
}

// Words on lines of kTextColumns; control characters, which could play tricks on a terminal, as
// dots.
void print_text(std::string text) {
  std::ranges::replace_if(
      text, [](char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7F; }, '.');
  const char* name = "text";
  std::string_view rest = text;
  rest.remove_prefix(std::min(rest.find_first_not_of(' '), rest.size()));
  do {
    std::size_t length = std::min(rest.size(), kTextColumns);
    if (length < rest.size()) {
      const std::size_t space = rest.rfind(' ', length);
      if (space != std::string_view::npos && space > 0) length = space;
    }
    print_row(name, std::string(rest.substr(0, length)));
    rest.remove_prefix(length);
    while (rest.starts_with(' ')) rest.remove_prefix(1);
    name = "";
  } while (!rest.empty());
}

void print_answer(const StreamedAnswer& answer) {
  const OrderedJson timing =
      OrderedJson::parse(answer.timing.empty() ? "{}" : answer.timing, nullptr, false);
  print_row("prompt", fmt::format("{} tokens, {} of them held already", answer.prompt_tokens,
                                  answer.cached_tokens));
  print_row("pods", (answer.prefill_pod.empty() ? "none" : answer.prefill_pod) + " -> " +
                        answer.decode_pod);
  print_row("KV moved", fmt::format("{} in {} by {}; the decode pod had {} already",
                                    kilobytes(number(timing, "kv_bytes")),
                                    counted(number(timing, "kv_blocks"), "block"),
                                    timing.value("transport", std::string("nothing")),
                                    counted(number(timing, "kv_held_blocks"), "block")));
  const int steps = std::max(1, answer.completion_tokens - 1);
  print_row("time", fmt::format("queue {}, prefill {}, exposed transfer {}, first decode step {}",
                                milliseconds(number(timing, "prefill_pod_queue_ms")),
                                milliseconds(number(timing, "prefill_pod_prefill_ms")),
                                milliseconds(number(timing, "exposed_transfer_ms")),
                                milliseconds(number(timing, "first_step_ms"))));
  print_row("", fmt::format("TTFT {}, then {} per token (TPOT), {} tokens",
                            milliseconds(to_ms(answer.first_token)),
                            milliseconds(to_ms(answer.last_token - answer.first_token) / steps),
                            answer.completion_tokens));
  print_text(answer.text);
}

bool same(const StreamedAnswer& a, const StreamedAnswer& b) {
  return a.text == b.text && a.finish_reason == b.finish_reason &&
         a.completion_tokens == b.completion_tokens && !a.text.empty();
}

http::Task<bool> show(http::Client& client, const DemoPlan& plan, DemoRequest request) {
  const std::string body = request.body.dump();
  const auto split = co_await ask(client, plan.router, request.target, body);
  if (!split) {
    std::printf("%sthe router failed: %s\n", kIndent, split.error().message.c_str());
    co_return false;
  }
  print_answer(*split);
  const auto alone = co_await ask(client, plan.single, request.target, body);
  if (!alone) {
    std::printf("%sthe single pod failed: %s\n", kIndent, alone.error().message.c_str());
    co_return false;
  }
  // Split answers that were not split would show nothing.
  const bool good = same(*split, *alone) && !split->prefill_pod.empty();
  std::printf("%sidentical to one pod: %s\n\n", kIndent, good ? "yes" : "no");
  if (!good) print_text("one pod says: " + alone->text);
  co_return good;
}

std::string pod_names(const char* role, int count) {
  std::string names;
  for (int i = 0; i < count; ++i) names += fmt::format("{}{}-{}", i == 0 ? "" : ", ", role, i);
  return names;
}

void print_head(const DemoPlan& plan) {
  std::printf("\nBaton %s on this machine, model %s\n", std::string(build_info().version).c_str(),
              plan.model.c_str());
  std::printf("  router      %s\n", to_string(plan.router).c_str());
  std::printf("  prefill     %s\n", pod_names("prefill", plan.prefill_pods).c_str());
  std::printf("  decode      %s\n", pod_names("decode", plan.decode_pods).c_str());
  std::printf("  reference   one pod that does both, asked the same\n\n");
}

}  // namespace

http::Task<bool> run_demo(boost::asio::io_context& io, DemoPlan plan) {
  const std::unique_ptr<http::Client> client = http::Client::create(io, {});
  print_head(plan);
  int count = 0;
  int good = 0;
  for (DemoRequest& request : demo_requests(plan)) {
    std::printf("%d. %s\n", ++count, request.title.c_str());
    if (co_await show(*client, plan, std::move(request))) ++good;
    std::fflush(stdout);
  }
  std::printf("%d of %d answers are word for word those of one pod.\n\n", good, count);
  std::printf("Keep a system running:\n\n  build/release/baton up%s\n\nand talk to it:\n\n",
              plan.user_model.empty() ? "" : (" --model " + plan.user_model).c_str());
  std::fputs(how_to_talk("127.0.0.1:8080", plan.model).c_str(), stdout);
  std::fflush(stdout);
  co_return good == count;
}

std::string how_to_talk(const std::string& address, const std::string& model) {
  constexpr std::string_view kLines =
      R"(  curl -sN http://ADDRESS/v1/chat/completions -H 'Content-Type: application/json' \
    -d '{"model": "MODEL", "stream": true, "max_tokens": 40,
         "messages": [{"role": "user", "content": "Where does the river go?"}]}'

  from openai import OpenAI
  client = OpenAI(base_url="http://ADDRESS/v1", api_key="unused")
  print(client.chat.completions.create(
      model="MODEL", max_tokens=40,
      messages=[{"role": "user", "content": "Where does the river go?"}]).choices[0].message.content)

)";
  std::string text(kLines);
  for (const auto& [word, value] : {std::pair<std::string, std::string>{"ADDRESS", address},
                                    std::pair<std::string, std::string>{"MODEL", model}}) {
    for (std::size_t at = 0; (at = text.find(word, at)) != std::string::npos; at += value.size()) {
      text.replace(at, word.size(), value);
    }
  }
  return text;
}

}  // namespace baton::orchestrator
