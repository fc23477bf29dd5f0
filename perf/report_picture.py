"""Draws Baton's figures against those of its peers, as an SVG."""
import math
from xml.sax.saxutils import escape

from report_results import number

WIDTH, LEFT, PLOT = 880, 178, 440
ROW, HEAD, GAP, TOP = 24, 26, 14, 64
STYLE = """
  text { font: 13px system-ui, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; fill: #5b656e }
  .ink { fill: #1d2328 } .title { font-size: 16px; font-weight: 600; fill: #1d2328 }
  .head { font-weight: 600; fill: #1d2328 }
  .grid { stroke: #e2e4e1 } .one { stroke: #5b656e; stroke-width: 1.5 }
  .better { fill: #0072b2 } .worse { fill: #d55e00 }
  @media (prefers-color-scheme: dark) {
    text { fill: #a6b0b8 } .ink, .title, .head { fill: #e8ebed }
    .grid { stroke: #30373d } .one { stroke: #a6b0b8 }
    .better { fill: #4aa8e6 } .worse { fill: #f2803f }
  }"""


def is_difference(figure):
    """Whether the figure is one of its peers minus another, and so compares with neither."""
    values = list(figure["peers"].values())
    return any(math.isclose(figure["value"], a - b, rel_tol=1e-6)
               for i, a in enumerate(values) for j, b in enumerate(values) if i != j)


def comparisons(commands):
    """(figure, [(peer, ratio)]) of the newest results. Below 1, Baton is better."""
    found = []
    for results in commands.values():
        for figure in results[0]["figures"]:
            if figure["value"] <= 0 or is_difference(figure):
                continue
            ratios = [(peer, figure["value"] / value if figure["at_most"]
                       else value / figure["value"])
                      for peer, value in figure["peers"].items() if value > 0]
            if ratios:
                found.append((figure, sorted(ratios, key=lambda pair: pair[1])))
    return found


def axis(ratios):
    """Ends and marks, of the series 1, 2, 5, 10, …, around all ratios and 1."""
    low, high = min([*ratios, 0.5]), max([*ratios, 2.0])
    steps = [d * 10.0**p for p in range(-6, 7) for d in (1, 2, 5)]
    begin = max(s for s in steps if s <= low)
    end = min(s for s in steps if s >= high)
    marks = [s for s in steps if begin <= s <= end]
    if len(marks) > 12:
        marks = [s for s in marks if math.isclose(math.log10(s) % 1, 0, abs_tol=1e-9)]
    return begin, end, marks


class Picture:
    def __init__(self, begin, end):
        self.begin, self.end = math.log(begin), math.log(end)
        self.parts = []

    def x(self, ratio):
        return LEFT + PLOT * (math.log(ratio) - self.begin) / (self.end - self.begin)

    def text(self, x, y, words, kind="", anchor="start"):
        attributes = f' class="{kind}"' if kind else ""
        attributes += f' text-anchor="{anchor}"' if anchor != "start" else ""
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>{escape(words)}</text>')

    def line(self, x, top, bottom, kind):
        self.parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top:.1f}" y2="{bottom:.1f}" '
                          f'class="{kind}"/>')

    def bar(self, ratio, y):
        a, b = sorted((self.x(1), self.x(ratio)))
        kind = "better" if ratio <= 1 else "worse"
        self.parts.append(f'<rect x="{a:.1f}" y="{y:.1f}" width="{max(b - a, 1):.1f}" '
                          f'height="{ROW - 8}" rx="2" class="{kind}"/>')


def draw(commands):
    """The SVG; empty where no newest result has a peer."""
    groups = comparisons(commands)
    if not groups:
        return ""
    begin, end, marks = axis([ratio for _, ratios in groups for _, ratio in ratios])
    height = TOP + sum(HEAD + ROW * len(ratios) + GAP for _, ratios in groups) + 42
    bottom = height - 42
    picture = Picture(begin, end)
    picture.text(16, 28, "Baton divided by its peers, newest figures", "title")
    picture.text(16, 48, "Peers ran in the same run. Left of 1×, blue: Baton is better.")
    y = TOP
    for figure, ratios in groups:
        picture.text(16, y + 17, figure["what"].strip(), "head")
        y += HEAD
        for mark in marks:
            picture.line(picture.x(mark), y, y + ROW * len(ratios), "one" if mark == 1 else "grid")
        for peer, ratio in ratios:
            picture.text(LEFT - 10, y + 16, peer, "ink", "end")
            picture.bar(ratio, y + 4)
            words = (f"{number(ratio)}×  ({number(figure['value'])} against "
                     f"{number(figure['peers'][peer])} {figure['unit']})")
            picture.text(LEFT + PLOT + 14, y + 16, words, "ink")
            y += ROW
        y += GAP
    for mark in marks:
        picture.text(picture.x(mark), bottom + 14, f"{mark:g}×", "", "middle")
    body = "\n".join(f"  {part}" for part in picture.parts)
    label = "; ".join(f"{f['what'].strip()}: " + ", ".join(f"{number(r)} of {p}" for p, r in ratios)
                      for f, ratios in groups)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}">\n'
            f"  <style>{STYLE}\n  </style>\n{body}\n</svg>\n")
