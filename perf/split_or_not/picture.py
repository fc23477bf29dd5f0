"""The pictures of docs/splitting.md."""
import os

import drawing
from arrangements import ARRANGEMENTS
from drawing import Axis, text
from figures import gain, saved
from simulated import JUST_HELD, Case

WIDTH = 880
KINDS = {"aggregated": "aggregated", "P/D": "pd", "conditional": "conditional",
         "roles free": "free"}
STYLE = """
  .plot { fill: none; stroke: #c9cdca } .line { fill: none; stroke-width: 2 } .small { font-size: 11px }
  .aggregated { fill: #7d868d; stroke: #7d868d } .pd { fill: #d55e00; stroke: #d55e00 }
  .conditional { fill: #009e73; stroke: #009e73 } .free { fill: #0072b2; stroke: #0072b2 }
  .queue { fill: #d55e00 } .prefill { fill: #0072b2 } .transfer { fill: #cc79a7 } .step { fill: #8f989f }
  .stops { fill: #e69f00 } .none { fill: none } .aim { stroke: #5b656e; stroke-dasharray: 4 3 }
  @media (prefers-color-scheme: dark) {
    .plot { stroke: #474f56 } .aggregated { fill: #8b949b; stroke: #8b949b }
    .pd { fill: #f2803f; stroke: #f2803f } .conditional { fill: #2cc295; stroke: #2cc295 }
    .free { fill: #4aa8e6; stroke: #4aa8e6 } .queue { fill: #f2803f } .prefill { fill: #4aa8e6 }
    .transfer { fill: #dd95ba } .step { fill: #767f87 } .stops { fill: #f0b640 } .aim { stroke: #a6b0b8 }
  }"""


def bar(x, y, width, kind, height=12):
    return (f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height}" '
            f'class="{kind}" stroke="none"/>')


def line(x1, y1, x2, y2, kind):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>'


def legend(y, entries, step=150):
    parts = []
    for i, (kind, words) in enumerate(entries):
        parts += [bar(16 + i * step, y - 10, 11, kind, 11), text(32 + i * step, y, words, "small")]
    return parts


def capacity(capacities):
    """Bars: the highest load, as a multiple of what aggregated pods hold."""
    left, plot = 250, 470
    ratios = {key: {name: 1 + gain(bests, name) for name in ARRANGEMENTS}
              for key, bests in capacities.items() if bests["aggregated"].load}
    most = max(max(of.values()) for of in ratios.values())
    scale = plot / max(most, 1.7)
    parts = [text(16, 28, "Highest load within the SLO, as a multiple of what aggregated pods hold",
                  "title"), *legend(50, [(KINDS[name], name) for name in ARRANGEMENTS])]
    y, bottom = 66, 66 + (14 * len(ARRANGEMENTS) + 14) * len(ratios)
    for multiple, words in ((1, "1"), (1.6, "1.6: 60 % more")):
        parts.append(line(left + multiple * scale, y - 4, left + multiple * scale, bottom - 6,
                          "aim"))
        parts.append(text(left + multiple * scale, bottom + 8, words, "small", "middle"))
    for (model, traffic, tpot), of in ratios.items():
        parts.append(text(16, y + 28, f"{model.short}, {traffic.name}", "head"))
        parts.append(text(16, y + 44, f"TPOT within {tpot} ms", "small"))
        for name, ratio in of.items():
            parts.append(bar(left, y, ratio * scale, KINDS[name]))
            parts.append(text(left + ratio * scale + 6, y + 10,
                              f"{capacities[model, traffic, tpot][name].load:.3g}/s", "small"))
            y += 14
        y += 14
    return drawing.svg(parts, WIDTH, y + 22, "highest load by traffic and arrangement", STYLE)


PANEL_W, PANEL_H, GAP_X, GAP_Y = 225, 150, 58, 66


def place(i, left=56, top=86):
    return left + i % 3 * (PANEL_W + GAP_X), top + i // 3 * (PANEL_H + GAP_Y)


def frame(x, y, rows, columns):
    """`rows` and `columns`: (at, words) of marks."""
    parts = [f'<rect x="{x}" y="{y}" width="{PANEL_W}" height="{PANEL_H}" class="plot"/>']
    for at, words in columns:
        parts += [line(at, y, at, y + PANEL_H, "grid"),
                  text(at, y + PANEL_H + 15, words, "small", "middle")]
    for at, words in rows:
        parts += [line(x, at, x + PANEL_W, at, "grid"), text(x - 6, at + 4, words, "small", "end")]
    return parts


def path(points, kind):
    shown = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    dots = [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" class="{kind}"/>' for x, y in points]
    return [f'<polyline points="{shown}" class="line {kind} none"/>', *dots]


def height(panels):
    return place(panels + 2)[1] - 14 if panels % 3 == 1 else place(-(-panels // 3) * 3)[1] - 34


def load(simulated):
    """The share of good requests against the load, a panel for each traffic."""
    parts = [text(16, 28, "Share of the requests within the SLO, by requests a second", "title"),
             *legend(50, [(KINDS[name], name) for name in ARRANGEMENTS])]
    for i, (model, traffic) in enumerate(simulated.loads):
        x, y = place(i)
        bests = simulated.capacities[model, traffic, model.usual_tpot]
        tried = {name: simulated.simulator.tried(
            Case(model, traffic, model.usual_tpot, best.setting)) for name, best in bests.items()}
        low = 0.5 * bests["aggregated"].load * 0.9
        high = 1.35 * max(best.load for best in bests.values())
        span = high - low
        step = next(s for s in (1, 2, 5, 10, 20, 50, 100, 200) if span / s <= 5)
        columns = [(x + PANEL_W * (rate - low) / span, f"{rate}")
                   for rate in range(step, int(high) + 1, step) if rate >= low]
        rows = [(y + PANEL_H * (1 - share), f"{100 * share:.0f} %") for share in (0, 0.5, 0.95)]
        parts.append(text(x, y - 8, f"{model.short}, {traffic.name}", "head"))
        parts += frame(x, y, rows, columns)
        for name, points in tried.items():
            shown = [(x + PANEL_W * (rate - low) / span, y + PANEL_H * (1 - row["good"]))
                     for rate, row in points if low <= rate <= high]
            if shown:
                parts += path(shown, KINDS[name])
    return drawing.svg(parts, WIDTH, height(len(simulated.loads)), "goodput by load", STYLE)


def why(loads, share=JUST_HELD):
    """What TTFT and TPOT are made of, at the load that aggregated pods just hold."""
    parts = [text(16, 28, "Where the time goes, at the load that aggregated pods just hold", "title"),
             *legend(50, [("queue", "queue"), ("prefill", "prefill"), ("transfer", "transfer"),
                          ("step", "decode step"), ("stops", "stops for prompts")], 130),
             text(110, 76, "mean TTFT, ms", "head"), text(540, 76, "mean TPOT, ms", "head")]
    y = 92
    for (model, traffic), by_name in loads.items():
        parts.append(text(16, y + 10, f"{model.short}, {traffic.name}", "head"))
        y += 18
        rows = {name: of[share] for name, of in by_name.items()}
        ttft = 300 / max(row["mean_ttft_ms"] for row in rows.values())
        tpot = 260 / max(row["mean_tpot_ms"] for row in rows.values())
        for name, row in rows.items():
            parts.append(text(102, y + 10, name, "small", "end"))
            x = 110
            for key, kind in (("queue_ms", "queue"), ("prefill_ms", "prefill"),
                              ("transfer_ms", "transfer"), ("first_step_ms", "step")):
                parts.append(bar(x, y, ttft * row[key], kind))
                x += ttft * max(row[key], 0)
            parts.append(text(x + 6, y + 10, f"{row['mean_ttft_ms']:,.0f}", "small"))
            x = 540
            for key, kind in (("step_ms", "step"), ("stops_ms", "stops")):
                parts.append(bar(x, y, tpot * row[key], kind))
                x += tpot * row[key]
            parts.append(text(x + 6, y + 10, f"{row['mean_tpot_ms']:.1f}", "small"))
            y += 15
        y += 12
    return drawing.svg(parts, WIDTH, y + 4, "parts of TTFT and TPOT by arrangement", STYLE)


def prefix(prefixes):
    """Mean TTFT of each policy against the load."""
    kinds = {"round_robin": "aggregated", "gaie_default": "pd", "predicted": "free"}
    parts = [text(16, 28, "Mean TTFT, ms (logarithmic), by load as a share of what round robin holds",
                  "title"),
             *legend(50, [(kind, policy) for policy, kind in kinds.items()])]
    for i, ((model, traffic), (_, rows)) in enumerate(prefixes.items()):
        x, y = place(i)
        values = [row["mean_ttft_ms"] for policy in kinds for row in rows[policy].values()]
        vertical = Axis(values, y + PANEL_H, y)
        shares = list(rows["predicted"])
        across = {share: x + 14 + (PANEL_W - 28) * i / (len(shares) - 1)
                  for i, share in enumerate(shares)}
        most = max(saved(rows, share) for share in shares)
        parts += [text(x, y - 8, traffic.name, "head"),
                  text(x + PANEL_W, y - 8, f"up to {100 * most:.0f} % saved", "small", "end")]
        parts += frame(x, y, [(vertical.at(m), f"{m:g}") for m in vertical.marks],
                       [(at, f"{100 * share:.0f} %") for share, at in across.items()])
        for policy, kind in kinds.items():
            parts += path([(across[share], vertical.at(row["mean_ttft_ms"]))
                           for share, row in rows[policy].items()], kind)
    return drawing.svg(parts, WIDTH, height(len(prefixes)), "TTFT by policy and load", STYLE)


def write(folder, simulated):
    pictures = {"capacity": capacity(simulated.capacities), "load": load(simulated),
                "why": why(simulated.loads), "prefix": prefix(simulated.prefixes)}
    for name, drawn in pictures.items():
        with open(os.path.join(folder, f"splitting_{name}.svg"), "w") as f:
            f.write(drawn)
