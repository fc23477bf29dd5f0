#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <cstdint>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace baton::kv {

// What a Relay does to the bytes that pass it, once.
struct LinkFault {
  enum class Kind : std::uint8_t { kFlip, kCut, kDuplicate, kDelay, kReorder };
  Kind kind = Kind::kFlip;
  bool on_data = false;    // on the data connections; else on those of the control service
  bool to_reader = false;  // in what the producer sends; else in what the reader does
  std::uint64_t at = 0;    // after so many bytes of that kind, counted from strike()
  [[nodiscard]] std::string str() const;
  [[nodiscard]] static LinkFault draw(std::mt19937_64& random, bool on_data);
};

// A line between a reader and a producer on 127.0.0.1 that uses the tcp transport: stands on
// 127.0.0.2 for its control service, and for its data port too, whose address it finds and changes
// in the producer's offer. One thread of its own.
class Relay {
 public:
  // `producer` is its control service, as "127.0.0.1:PORT".
  explicit Relay(const std::string& producer);
  ~Relay();
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  [[nodiscard]] std::string address() const { return address_; }
  // The next fault; the one before is forgotten where it has not happened yet.
  void strike(const LinkFault& fault);
  // No fault from now on. Whether the last one happened.
  [[nodiscard]] bool calm();
  // Ends every connection.
  void cut_all();

 private:
  using tcp = boost::asio::ip::tcp;
  struct Line;

  template <class Work>
  void run(Work work);  // on the relay's thread, waited for
  tcp::acceptor listen(std::uint16_t port);
  boost::asio::awaitable<void> accept(tcp::acceptor acceptor, std::uint16_t port, bool is_data);
  boost::asio::awaitable<void> pump(std::shared_ptr<Line> line, bool to_reader);
  // Does what is due to the bytes: whether the line is cut after them, and what is waited for.
  struct Consequence {
    bool cut = false;
    bool wait = false;
  };
  Consequence suffer(const Line& line, bool to_reader, std::vector<char>& bytes);
  void send_elsewhere(std::vector<char>& bytes);

  boost::asio::io_context loop_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      loop_.get_executor()};
  std::string address_;
  std::set<std::uint16_t> data_ports_;
  std::set<std::weak_ptr<Line>, std::owner_less<>> lines_;
  LinkFault fault_;
  std::uint64_t passed_ = 0;  // bytes of the fault's kind
  bool is_due_ = false;
  std::jthread thread_;
};

}  // namespace baton::kv
