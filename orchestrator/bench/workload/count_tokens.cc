#include <cassert>
#include <functional>
#include <memory>
#include <optional>
#include <utility>

#include "orchestrator/bench/workload/prompt_builder.h"

namespace baton::orchestrator::bench {
namespace {

constexpr std::size_t kInFlight = 16;

// Counting of several texts by a tokenizer that answers later. Shared with the calls under way, so
// that one that ends after the wait was given up finds it still there.
struct Batch : std::enable_shared_from_this<Batch> {
  std::shared_ptr<Tokenizer> tokenizer;
  std::vector<std::string> texts;
  std::vector<int> counts;
  std::size_t sent = 0;
  std::size_t in_flight = 0;
  std::optional<Error> error;

  void send_more() {
    while (!error && sent < texts.size() && in_flight < kInFlight) {
      ++in_flight;
      const std::size_t text = sent++;
      tokenizer->encode(texts[text], true, false,
                        [self = shared_from_this(), text](Result<std::vector<TokenId>> ids) {
                          self->answered(text, std::move(ids));
                        });
    }
  }
  void answered(std::size_t text, Result<std::vector<TokenId>> ids) {
    --in_flight;
    if (ids) {
      counts[text] = static_cast<int>(ids->size());
    } else if (!error) {
      error = std::move(ids.error());
    }
    send_more();
  }
  [[nodiscard]] bool done() const { return in_flight == 0; }
};

std::shared_ptr<Batch> begin(const std::shared_ptr<Tokenizer>& tokenizer,
                             const std::vector<std::string>& texts) {
  auto batch = std::make_shared<Batch>();
  batch->tokenizer = tokenizer;
  batch->texts = texts;
  batch->counts.resize(texts.size());
  batch->send_more();
  return batch;
}

Result<std::vector<int>> result_of(Batch& batch) {
  if (batch.error) return std::unexpected(std::move(*batch.error));
  return std::move(batch.counts);
}

}  // namespace

CountTokens count_locally(std::shared_ptr<Tokenizer> tokenizer) {
  assert(tokenizer->is_local());
  return [tokenizer = std::move(tokenizer)](const std::vector<std::string>& texts) {
    return result_of(*begin(tokenizer, texts));
  };
}

CountTokens count_at_server(boost::asio::io_context& io, adapters::EngineAddress server,
                            std::string model) {
  auto tokenizer = std::make_shared<adapters::EngineTokenizer>(
      io, std::move(model), [server = std::move(server)] { return std::optional(server); });
  return [&io, tokenizer = std::move(tokenizer)](
             const std::vector<std::string>& texts) -> Result<std::vector<int>> {
    const auto batch = begin(tokenizer, texts);
    io.restart();
    while (!batch->done() && io.run_one() > 0) {
    }
    if (!batch->done()) {
      return fail(ErrorCode::kCancelled, Stage::kConfig, "stopped while counting tokens");
    }
    return result_of(*batch);
  };
}

}  // namespace baton::orchestrator::bench
