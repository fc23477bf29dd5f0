"""The tables of docs/splitting.md, by the name of the place where each stands."""
import re

from arrangements import ARRANGEMENTS
from figures import LESS_TTFT, MORE_THROUGHPUT, best_gain, saved
from markdown_table import number, table
from search import NEAR
from simulated import JUST_HELD, POLICIES

MARKED = "<!-- {}: perf/split_or_not/run writes this table -->"


def percent(share, sign=""):
    return "" if share is None else f"{100 * share:{sign}.0f} %"


def verdict(share, wanted):
    return "" if share is None else "yes" if share >= wanted else "no"


def capacity(capacities):
    lines = []
    for (model, traffic, tpot), bests in capacities.items():
        most = max(best.load for best in bests.values())
        cells = []
        for name, best in bests.items():
            words = f"{number(best.load)} ({best.setting.words()})" if best.load else "none"
            # No nearer than this is searched.
            cells.append(f"**{words}**" if best.load and best.load * NEAR >= most else words)
        gain = best_gain(bests)
        lines.append([model.short, traffic.name, f"{tpot} ms", *cells, percent(gain, "+"),
                      verdict(gain, MORE_THROUGHPUT)])
    return table(["model", "traffic", "TPOT within", *ARRANGEMENTS, "best of splitting",
                  "60 % more?"], lines)


def why(loads, share=JUST_HELD):
    lines = []
    for (model, traffic), by_name in loads.items():
        for name, rows in by_name.items():
            row = rows[share]
            lines.append([
                model.short, traffic.name, name, percent(row["good"]),
                *(number(row[key]) for key in ("mean_ttft_ms", "queue_ms", "prefill_ms",
                                               "transfer_ms", "mean_tpot_ms", "stops_ms",
                                               "p99_itl_ms")),
                busy(name, row), percent(row["decode_only_share"])])
    return table(["model", "traffic", "pods", "good", "TTFT", "queue", "prefill", "transfer", "TPOT",
                  "of it stops", "ITL p99", "busy", "decode-only"], lines)


def busy(name, row):
    if name in ("P/D", "conditional"):
        return f"{percent(row['prefill_busy'])} and {percent(row['decode_busy'])}"
    return percent(row["decode_busy"])


def prefix(prefixes):
    lines = []
    for (model, traffic), (base, rows) in prefixes.items():
        for share in rows["predicted"]:
            lines.append([model.short, traffic.name, f"{percent(share)} ({number(share * base)}/s)",
                          *(number(rows[policy][share]["mean_ttft_ms"]) for policy in POLICIES),
                          f"{rows['round_robin'][share]['reuse']:.2f}",
                          f"{rows['predicted'][share]['reuse']:.2f}",
                          percent(saved(rows, share)), percent(saved(rows, share, "p99_ttft_ms")),
                          verdict(saved(rows, share), LESS_TTFT)])
    return table(["model", "traffic", "load", *POLICIES, "reuse, round_robin", "reuse, predicted",
                  "saved", "of p99", "96 % better?"], lines)


def measured(rows):
    lines = []
    for (load, arrangement), (ours, theirs) in rows.items():
        cells = [f"{number(ours[m])} / {number(theirs[m])}" for m in (
            "mean_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "p99_tpot_ms")]
        lines.append([load.name, f"{load.rate:.3g}/s", arrangement, *cells,
                      f"{percent(ours['good'])} / {percent(theirs['good'])}"])
    return table(["traffic", "load", "pods", "TTFT mean", "TTFT p99", "TPOT mean", "TPOT p99",
                  "good"], lines)


def write(path, tables):
    """Puts each table where the page has its mark."""
    with open(path) as f:
        text = f.read()
    for name, body in tables.items():
        mark = MARKED.format(name)
        place = re.compile(re.escape(mark) + r"\n\n(?:\|.*\n)*\n?")
        if not place.search(text):
            raise SystemExit(f"{path}: has no place for the table: {mark}")
        text = place.sub(lambda _, m=mark, b=body: f"{m}\n\n{b}\n", text)
    with open(path, "w") as f:
        f.write(text)
