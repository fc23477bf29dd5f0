#pragma once

#include <string>
#include <vector>

namespace baton::kv {

// Two network namespaces with a link between them, 10.77.0.1 and 10.77.0.2, gone with this object.
class Network {
 public:
  static constexpr const char* kHere = "10.77.0.1";
  static constexpr const char* kThere = "10.77.0.2";

  Network();
  ~Network();
  Network(const Network&) = delete;
  Network& operator=(const Network&) = delete;

  // Why it cannot be had; empty: it stands.
  [[nodiscard]] const std::string& missing() const { return missing_; }
  // What starts a process here or there.
  [[nodiscard]] std::vector<std::string> here() const { return {"ip", "netns", "exec", here_}; }
  [[nodiscard]] std::vector<std::string> there() const { return {"ip", "netns", "exec", there_}; }

  void take_down() const;  // the link: both ends send into the void
  void bring_up() const;
  // Every tenth packet that comes in here is lost. False: nft cannot.
  [[nodiscard]] bool lose_some() const;
  void lose_none() const;

 private:
  void await_link() const;

  const std::string here_;
  const std::string there_;
  std::string missing_;
};

}  // namespace baton::kv
