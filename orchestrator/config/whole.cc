#include "orchestrator/config/whole.h"

#include <algorithm>
#include <map>
#include <utility>

namespace baton::orchestrator {
namespace {

// Where each name of one kind was first used.
class Names {
 public:
  explicit Names(std::string kind) : kind_(std::move(kind)) {}

  void add(const std::string& name, const std::string& path, std::vector<WholeIssue>& issues) {
    if (name.empty()) return;  // reported as missing
    const auto [first, added] = first_use_.emplace(name, path);
    if (added) return;
    issues.push_back(
        {path, path + ": " + kind_ + " \"" + name + "\" is already that of " + first->second});
  }

 private:
  std::string kind_;
  std::map<std::string, std::string> first_use_;
};

std::string element(const std::string& list, std::size_t i) {
  return list + "[" + std::to_string(i) + "]";
}

// Names travel in response headers, URLs and metric labels.
void check_name(const std::string& name, const std::string& path, std::vector<WholeIssue>& issues) {
  constexpr std::size_t kLongest = 128;
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
  if (name.find_first_not_of(kAllowed) == std::string::npos && name.size() <= kLongest) return;
  issues.push_back({path, path + " must be at most 128 letters, digits, '.', '_' and '-'"});
}

// Of a request's target.
void check_path(const std::string& text, const std::string& path, std::vector<WholeIssue>& issues) {
  const bool printable = std::ranges::all_of(text, [](char c) { return c > ' ' && c < 0x7F; });
  if (text.starts_with('/') && printable) return;
  issues.push_back({path, path + " must begin with / and have no spaces, such as /health"});
}

class Checker {
 public:
  void check_pool(const PoolConfig& pool, const std::string& path) {
    check_name(pool.name, path + ".name", issues);
    pool_names_.add(pool.name, path + ".name", issues);
    models_.add(pool.model, path + ".model", issues);
    for (std::size_t i = 0; i < pool.aliases.size(); ++i) {
      models_.add(pool.aliases[i], element(path + ".aliases", i), issues);
    }
    for (std::size_t i = 0; i < pool.loras.size(); ++i) {
      models_.add(pool.loras[i].name, element(path + ".loras", i) + ".name", issues);
    }
    check_pods(pool.prefill, path + ".prefill");
    check_pods(pool.decode, path + ".decode");
    check_pods(pool.both, path + ".both");
    check_kv_events(pool, path);
    check_path(pool.health.path, path + ".health.path", issues);
    if (!pool.health.metrics_path.empty()) {
      check_path(pool.health.metrics_path, path + ".health.metrics_path", issues);
    }
    if (pool.decode.empty() && pool.both.empty()) {
      issues.push_back({path, path + " has no pod that decodes; list one under decode or both"});
    } else if (pool.split == Split::kAlways && pool.prefill.empty() && pool.both.size() < 2) {
      issues.push_back({path, path + " says split: always, but has no pod that can prefill for "
                                     "another; list one under prefill"});
    }
  }

  std::vector<WholeIssue> issues;

 private:
  void check_kv_events(const PoolConfig& pool, const std::string& path) {
    const auto too_high = [&](int first) { return first + pool.kv_events.ranks - 1 > 65'535; };
    if (too_high(pool.kv_events.port) || too_high(pool.kv_events.replay_port)) {
      issues.push_back({path + ".kv_events.ranks", path + ".kv_events.ranks has ranks whose ports "
                                                          "would be above 65535"});
    }
    check_kv_events(pool, pool.prefill, path + ".prefill");
    check_kv_events(pool, pool.decode, path + ".decode");
    check_kv_events(pool, pool.both, path + ".both");
  }

  // Two pods at one host need two ports. One pod may stand in several lists.
  void check_kv_events(const PoolConfig& pool, const std::vector<Pod>& pods,
                       const std::string& list) {
    for (std::size_t i = 0; i < pods.size(); ++i) {
      const std::uint16_t port = kv_events_port(pool, pods[i]);
      if (port == 0 || pods[i].port == 0) continue;
      const std::string publisher = to_string(Endpoint{pods[i].host, port});
      const std::string server = to_string(Endpoint{pods[i].host, pods[i].port});
      const auto [first, added] = publishers_.emplace(publisher, server);
      if (added || first->second == server) continue;
      const std::string path = element(list, i);
      issues.push_back({path, path + " would publish KV events at " + publisher +
                                  ", as the pod at " + first->second +
                                  " does; give it a kv_events_port of its own"});
    }
  }

  void check_pods(const std::vector<Pod>& pods, const std::string& list) {
    Names addresses("the address");
    for (std::size_t i = 0; i < pods.size(); ++i) {
      const std::string path = element(list, i);
      check_name(pods[i].name, path + ".name", issues);
      pod_names_.add(pods[i].name, path + ".name", issues);
      if (pods[i].port == 0) continue;  // the URL was refused
      addresses.add(to_string(Endpoint{pods[i].host, pods[i].port}), path + ".url", issues);
    }
  }

  std::map<std::string, std::string> publishers_;  // of KV events, with the pod's own address
  Names pool_names_{"the name"};
  Names models_{"the model name"};
  Names pod_names_{"the name"};
};

}  // namespace

std::vector<WholeIssue> whole_issues(const Config& config) {
  Checker checker;
  for (std::size_t i = 0; i < config.pools.size(); ++i) {
    checker.check_pool(config.pools[i], element("pools", i));
  }
  if (config.listen.port != 0 && config.listen.port == config.admin.port &&
      (config.listen.host == config.admin.host || config.listen.host == "0.0.0.0")) {
    checker.issues.push_back({"admin.listen", "admin.listen has the port of listen"});
  }
  return std::move(checker.issues);
}

std::uint16_t kv_events_port(const PoolConfig& pool, const Pod& pod) {
  return pod.kv_events_port != 0 ? pod.kv_events_port : pool.kv_events.port;
}

std::uint16_t kv_replay_port(const PoolConfig& pool, const Pod& pod) {
  return pod.kv_replay_port != 0 ? pod.kv_replay_port : pool.kv_events.replay_port;
}

bool publishes_kv_events(const PoolConfig& pool) {
  const auto has_own = [](const Pod& pod) { return pod.kv_events_port != 0; };
  return pool.kv_events.port != 0 || std::ranges::any_of(pool.prefill, has_own) ||
         std::ranges::any_of(pool.decode, has_own) || std::ranges::any_of(pool.both, has_own);
}

std::vector<Pod> PoolConfig::pods() const {
  std::vector<Pod> all = prefill;
  all.insert(all.end(), decode.begin(), decode.end());
  all.insert(all.end(), both.begin(), both.end());
  for (Pod& pod : all) {
    pod.health_path = health.path;
    pod.metrics_path = health.metrics_path;
  }
  return all;
}

}  // namespace baton::orchestrator
