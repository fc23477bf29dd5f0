#pragma once

#include <cstddef>
#include <cstdio>
#include <optional>
#include <string>
#include <vector>

#include "core/units.h"
#include "orchestrator/bench/generator/runner.h"
#include "orchestrator/bench/report/live_figures.h"

namespace baton::orchestrator::bench {

struct LiveLook {
  bool color = false;
  std::optional<Duration> planned;  // until the last request is sent; nullopt: not known
};

// The view of a terminal: lines that are at most `columns` wide, without ends of line.
[[nodiscard]] std::vector<std::string> render_live(const LiveFigures& figures, int columns,
                                                   const LiveLook& look);
// The same in one plain line.
[[nodiscard]] std::string render_line(const LiveFigures& figures, std::optional<Duration> planned);

// Shows a run while it goes on: on a terminal a view that is drawn anew in its place at each
// report, elsewhere a plain line every five seconds. Owned by the command, used on the run's
// thread. Promises to leave the cursor visible and below the view whenever the process ends.
class LiveView {
 public:
  LiveView(std::FILE* out, bool terminal, int columns, LiveLook look = {});
  void update(const RunProgress& progress);
  void finish();  // what came since the last line; idempotent

 private:
  void draw();

  std::FILE* out_;
  bool terminal_;
  int columns_;
  LiveLook look_;
  LiveHistory history_;
  std::size_t drawn_lines_ = 0;
  std::optional<Duration> last_line_at_;
  bool unsaid_ = false;
};

// How a stream is to be written to.
[[nodiscard]] bool is_live_terminal(std::FILE* out);  // a terminal that can move its cursor
[[nodiscard]] int terminal_columns(std::FILE* out);   // 80 where it cannot be known
// False where NO_COLOR is set to something (no-color.org).
[[nodiscard]] bool color_allowed();

}  // namespace baton::orchestrator::bench
