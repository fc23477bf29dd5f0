"""Draws the results of perf/policies/run, as SVGs."""
import os

import drawing
from drawing import Axis, text
from reference import DYNAMO
from studies import WEIGHTS

WIDTH, PANEL_W, PANEL_H, LEFT, TOP, GAP_X, GAP_Y = 880, 220, 170, 60, 112, 60, 66
EXTRA = """
  .plot { fill: none; stroke: #c9cdca } .curve { fill: none; stroke: #0072b2; stroke-width: 2 }
  .predicted { fill: #0072b2 } .round_robin { fill: #7d868d } .dynamo_kv { fill: #d55e00 }
  .small { font-size: 11px }
  @media (prefers-color-scheme: dark) {
    .plot { stroke: #474f56 } .curve { stroke: #4aa8e6 } .predicted { fill: #4aa8e6 }
    .round_robin { fill: #8b949b } .dynamo_kv { fill: #f2803f } }"""


def mark(x, y, column):
    """Split pods are squares, joined ones circles, of the policy's colour."""
    kind = column.split()[-1]
    if column.startswith("P/D"):
        return f'<rect x="{x - 4.5:.1f}" y="{y - 4.5:.1f}" width="9" height="9" class="{kind}"/>'
    return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" class="{kind}"/>'


def frame(x, y, horizontal, vertical):
    parts = [f'<rect x="{x}" y="{y}" width="{PANEL_W}" height="{PANEL_H}" class="plot"/>']
    for m in horizontal.marks:
        at = horizontal.at(m)
        parts.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y}" y2="{y + PANEL_H}" class="grid"/>')
        parts.append(text(at, y + PANEL_H + 15, f"{m:g}", "small", "middle"))
    for m in vertical.marks:
        at = vertical.at(m)
        parts.append(f'<line x1="{x}" x2="{x + PANEL_W}" y1="{at:.1f}" y2="{at:.1f}" class="grid"/>')
        parts.append(text(x - 6, at + 4, f"{m:g}", "small", "end"))
    return parts


def panel(x, y, speed, rows):
    """Mean TTFT to the right, p99 TPOT upwards, both better when less."""
    curve = sorted((rows["roles", w, speed]["mean_ttft_ms"], rows["roles", w, speed]["p99_tpot_ms"])
                   for w in WEIGHTS if ("roles", w, speed) in rows)
    others = {c: (rows["trust", c, speed]["mean_ttft_ms"], rows["trust", c, speed]["p99_tpot_ms"])
              for c in DYNAMO}
    fixed = rows["planner", speed]["mean_ttft_ms"], rows["planner", speed]["p99_tpot_ms"]
    points = [*curve, *others.values(), fixed]
    horizontal = Axis([p[0] for p in points], x, x + PANEL_W)
    vertical = Axis([p[1] for p in points], y + PANEL_H, y)
    parts = [text(x, y - 8, f"x{speed}", "head"), *frame(x, y, horizontal, vertical)]
    line = " ".join(f"{horizontal.at(a):.1f},{vertical.at(b):.1f}" for a, b in curve)
    parts.append(f'<polyline points="{line}" class="curve"/>')
    parts += [f'<circle cx="{horizontal.at(a):.1f}" cy="{vertical.at(b):.1f}" r="3" '
              'class="predicted"/>' for a, b in curve]
    parts += [mark(horizontal.at(a), vertical.at(b), c) for c, (a, b) in others.items()]
    parts.append(mark(horizontal.at(fixed[0]), vertical.at(fixed[1]), "P/D predicted"))
    return parts


def legend(y, entries):
    """Three a line."""
    parts = []
    for i, (column, words) in enumerate(entries):
        x, line = 16 + i % 3 * 285, y + i // 3 * 18
        parts += [mark(x + 5, line - 4, column), text(x + 16, line, words, "small")]
    return parts


def pareto(rows, speeds):
    parts = [text(16, 28, "Mean TTFT (to the right) against p99 TPOT (upwards), ms, eight simulated "
                  "pods", "title"), *legend(52, [
                      ("predicted", "8 of both roles, predicted, by SLO"),
                      ("P/D predicted", "4 + 4, predicted"), ("P/D dynamo_kv", "4 + 4, dynamo_kv"),
                      ("P/D round_robin", "4 + 4, round_robin"), ("dynamo_kv", "8 that never split, dynamo_kv"),
                      ("round_robin", "8 that never split, round_robin")])]
    for i, speed in enumerate(speeds):
        x = LEFT + i % 3 * (PANEL_W + GAP_X)
        parts += panel(x, TOP + i // 3 * (PANEL_H + GAP_Y), speed, rows)
    lines = (len(speeds) + 2) // 3
    return drawing.svg(parts, WIDTH, TOP + lines * (PANEL_H + GAP_Y) - 30, "Pareto curves of TTFT and TPOT", EXTRA)


def ttft(rows, speeds):
    """Bars of the mean TTFT, by speed."""
    names = [*((c, lambda s, c=c: rows["trust", c, s]) for c in DYNAMO),
             ("P/D predicted", lambda s: rows["planner", s]),
             ("aggregated predicted", lambda s: rows["roles", 1, s])]
    top = max(row(s)["mean_ttft_ms"] for _, row in names[:-1] for s in speeds)
    scale = Axis([100, top], 240, WIDTH - 90)
    parts = [text(16, 28, "Mean TTFT of the conversation trace, ms (logarithmic)", "title")]
    y = 44
    for speed in speeds:
        parts.append(text(16, y + 18, f"x{speed}", "head"))
        y += 26
        for name, row in names:
            if name == "aggregated predicted" and ("roles", 1, speed) not in rows:
                continue
            value = row(speed)["mean_ttft_ms"]
            end = scale.at(value)
            pods, kind = name.split()
            joined = "8 of both roles" if kind == "predicted" else "8 that never split"
            shown = f"{'4 + 4' if pods == 'P/D' else joined}, {kind}"
            parts += [text(232, y + 12, shown, "ink", "end"),
                      f'<rect x="240" y="{y + 2}" width="{max(end - 240, 1):.1f}" height="13" '
                      f'rx="2" class="{name.split()[-1]}"/>',
                      text(end + 8, y + 12, f"{value:,.0f}", "ink")]
            y += 18
        y += 8
    return drawing.svg(parts, WIDTH, y + 12, "mean TTFT by policy and speed", EXTRA)


def write(folder, rows, speeds):
    """picking_pareto.svg and picking_ttft.svg."""
    pictures = {"picking_pareto.svg": pareto(rows, speeds),
                "picking_ttft.svg": ttft(rows, speeds)}
    for name, drawn in pictures.items():
        with open(os.path.join(folder, name), "w") as f:
            f.write(drawn)
