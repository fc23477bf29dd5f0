"""What the pictures of perf/ are made of: SVG that reads well on light and dark pages."""
import math
from xml.sax.saxutils import escape

from report_picture import STYLE


def text(x, y, words, style="", anchor="start"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">'
            f"{escape(words)}</text>")


class Axis:
    """A logarithmic axis around some values, with marks of the series 1, 2, 5, 10."""

    def __init__(self, values, begin, end):
        low, high = min(values) * 0.85, max(values) * 1.18
        self.low, self.span = math.log(low), math.log(high / low)
        self.begin, self.end = begin, end
        marks = [d * 10.0**p for p in range(-2, 7) for d in (1, 2, 5)]
        self.marks = [m for m in marks if low <= m <= high]
        if len(self.marks) < 2:
            step = 10 ** math.floor(math.log10(high - low))
            self.marks = [step * i for i in range(math.ceil(low / step), int(high / step) + 1)]
        if len(self.marks) > 5:
            self.marks = self.marks[::len(self.marks) // 5 + 1]

    def at(self, value):
        return self.begin + (self.end - self.begin) * (math.log(value) - self.low) / self.span


def svg(parts, width, height, label, style=""):
    body = "\n".join(f"  {part}" for part in parts)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
            f'viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}">'
            f"\n  <style>{STYLE}{style}\n  </style>\n{body}\n</svg>\n")
