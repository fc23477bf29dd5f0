#include "orchestrator/lifecycle/learn_tokens.h"

#include <boost/asio/co_spawn.hpp>
#include <exception>
#include <utility>

#include "adapters/engines/engine_tokenizer.h"
#include "adapters/engines/tokenize_request.h"
#include "core/log.h"

namespace baton::orchestrator {
namespace {

constexpr Bytes kLongestAnswer{16LL << 20};
constexpr std::size_t kLongestText = 1U << 20;

using Ids = Result<std::vector<TokenId>>;

std::shared_ptr<const PodEntry> healthy_pod(const Snapshot& snapshot, std::uint64_t draw) {
  std::vector<const std::shared_ptr<const PodEntry>*> healthy;
  for (const auto& entry : snapshot.pods) {
    if (entry->state.takes_requests()) healthy.push_back(&entry);
  }
  return healthy.empty() ? nullptr : *healthy[draw % healthy.size()];
}

// The prompt's text chain with the token chain of the ids beside it.
PromptBlocks with_ids(PromptBlocks text, const std::vector<TokenId>& ids, Tokens block_tokens,
                      std::string_view salt, std::string_view lora) {
  PromptBlocks blocks = PromptBlocks::from_tokens(ids, block_tokens, salt, lora);
  blocks.text_chain = std::move(text.text_chain);
  blocks.text_bytes = text.text_bytes;
  return blocks;
}

}  // namespace

void learn_tokens(ThreadContext& context, PoolContext& pool, const OpenAiRequest& request,
                  const PlanRequest& wanted) {
  const Tokens block_tokens = block_tokens_of(*pool.snapshot);
  const bool is_known = wanted.known_pieces == wanted.blocks.text_chain.size();
  if (pool.bindings == nullptr || is_known || block_tokens.count() == 0) return;
  if (pool.open_lookups >= kOpenLookups || wanted.blocks.text_bytes > kLongestText ||
      Clock::now() < pool.no_lookup_before) {
    pool.metrics.lookups_skipped.Increment();
    return;
  }
  auto pod = healthy_pod(*pool.snapshot, context.random()());
  auto body =
      adapters::tokenize_request(request, wanted.lora.empty() ? pool.config.model : wanted.lora);
  if (!pod || !body) return;
  http::ClientRequest sent;
  sent.method = "POST";
  sent.target = "/tokenize";
  sent.fields = {{"content-type", "application/json"}};
  sent.body = std::move(*body);
  ++pool.open_lookups;
  ++context.open_lookups;
  asio::co_spawn(
      context.io(),
      adapters::ask_for_ids(pool.release_client.get(), {pod->pod.host, pod->pod.port},
                            std::move(sent), kLongestAnswer),
      [&context, &pool, pod, block_tokens, text = wanted.blocks, salt = request.cache_salt,
       lora = wanted.lora](const std::exception_ptr& thrown, Ids ids) mutable {
        --pool.open_lookups;
        --context.open_lookups;
        if (thrown || !ids) {
          pool.metrics.lookups_failed.Increment();
          pool.no_lookup_before = Clock::now() + kLookupPause;
          log(LogLevel::kWarn, "no token ids",
              {{"pool", pool.config.name},
               {"pod", pod->pod.name},
               {"why", thrown ? "an exception" : ids.error().message}});
          return;
        }
        pool.metrics.lookups_ok.Increment();
        pool.bindings->bind(pool.text_space,
                            with_ids(std::move(text), *ids, block_tokens, salt, lora));
      });
}

}  // namespace baton::orchestrator
