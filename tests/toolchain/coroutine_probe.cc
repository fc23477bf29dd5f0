// Why GCC 12 is refused. An aggregate that is made in the argument list of a co_await expression is
// destroyed twice there: built by GCC 12 with -fsanitize=address this program ends in a double
// free; built by clang 19 it prints 3.
#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <cstdio>
#include <memory>
#include <string>

namespace {

namespace asio = boost::asio;

struct Options {
  std::string name;
  std::shared_ptr<int> value;
};

asio::awaitable<int> use(Options options) {
  co_await asio::post(asio::use_awaitable);
  co_return *options.value + static_cast<int>(options.name.empty());
}

asio::awaitable<void> probe(int& sum) {
  for (int i = 0; i < 3; ++i) {
    auto one = std::make_shared<int>(1);
    sum += co_await use({.name = std::string(64, 'x'), .value = one});
  }
}

}  // namespace

int main() {
  asio::io_context io;
  int sum = 0;
  asio::co_spawn(io, probe(sum), asio::detached);
  io.run();
  std::printf("%d\n", sum);
  return sum == 3 ? 0 : 1;
}
