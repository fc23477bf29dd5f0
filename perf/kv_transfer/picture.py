"""Draws the rates of perf/kv_transfer/compare, as an SVG."""
from xml.sax.saxutils import escape

from report_picture import STYLE

WIDTH, LEFT, PLOT, ROW, HEAD, TOP = 880, 270, 500, 18, 30, 60
OURS = {"shm", "shm, unverified", "cma", "cma, unverified", "tcp", "tcp, unverified", "ucx",
        "ucx, unverified", "tcp with 4 connections", "tcp with 4 connections, unverified"}
LIMITS = {"memcpy", "process_vm_readv", "sendmsg", "sendmsg by turns"}


def kind(name):
    return "ours" if name in OURS else "limit" if name in LIMITS else "peer"


def text(x, y, words, style="", anchor="start"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">'
            f"{escape(words)}</text>")


def write(path, shapes):
    """`shapes`: Samples of perf/kv_transfer/compare. One group of bars for each, in GB/s."""
    parts = [text(16, 28, "Pulling KV blocks from another process, GB/s (medians)", "title"),
             text(16, 48, "Blue: Baton. Orange: others. Grey: what the system allows.")]
    y = TOP
    for samples in shapes:
        rates = sorted(samples.rates(samples.seconds).items(), key=lambda pair: -pair[1])
        scale = PLOT / max(rate for _, rate in rates)
        parts.append(text(16, y + 18, samples.words(), "head"))
        y += HEAD
        for name, rate in rates:
            parts.append(text(LEFT - 8, y + 12, name, "ink", "end"))
            parts.append(f'<rect x="{LEFT}" y="{y + 2}" width="{max(rate * scale, 1):.1f}" '
                         f'height="{ROW - 5}" rx="2" class="{kind(name)}"/>')
            parts.append(text(LEFT + rate * scale + 8, y + 12, f"{rate:.2f}", "ink"))
            y += ROW
        y += 8
    body = "\n".join(f"  {part}" for part in parts)
    style = STYLE + ("\n  .ours { fill: #0072b2 } .peer { fill: #d55e00 } .limit { fill: #9aa3aa }"
                     "\n  @media (prefers-color-scheme: dark) { .ours { fill: #4aa8e6 }"
                     " .peer { fill: #f2803f } .limit { fill: #6b757d } }")
    with open(path, "w") as f:
        f.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + 16}" '
                f'viewBox="0 0 {WIDTH} {y + 16}" role="img" aria-label="rates of pulling KV blocks">'
                f"\n  <style>{style}\n  </style>\n{body}\n</svg>\n")
