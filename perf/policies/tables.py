"""The tables of perf/policies/run, as Markdown."""
import statistics

from markdown_table import number, table
from reference import DYNAMO, METRICS, dynamo
from scenarios import POLICIES, mean_and_interval
from studies import WEIGHTS

WORDS = {"mean_ttft_ms": "TTFT mean", "p90_ttft_ms": "TTFT p90", "p99_ttft_ms": "TTFT p99",
         "mean_tpot_ms": "TPOT mean", "p99_tpot_ms": "TPOT p99"}


def trust(rows, speeds):
    """Ours / theirs, of everything that was kept of theirs."""
    lines = []
    for column in DYNAMO:
        for speed in speeds:
            ours, theirs = rows["trust", column, speed], dynamo(column, speed)
            cells = [f"{number(ours[m])} / {number(theirs[m])}" for m in METRICS]
            reuse = f"{ours['reuse']:.2f}"
            if theirs["reuse"] is not None:
                reuse += f" / {theirs['reuse']:.2f}"
            lines.append([column, f"x{speed}", *cells, reuse])
    return table(["pods and policy", "speed", *(WORDS[m] for m in METRICS), "reuse"], lines)


def line_of(name, row):
    cells = [number(row[m]) for m in ("mean_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "p99_tpot_ms")]
    return [*name, *cells, f"{row['reuse']:.2f}", f"{100 * row['decode_only']:.0f} %"]


def planner(rows, speeds):
    lines = []
    for speed in speeds:
        for name, row in (("round_robin", rows["trust", "P/D round_robin", speed]),
                          ("dynamo_kv", rows["trust", "P/D dynamo_kv", speed]),
                          ("predicted", rows["planner", speed])):
            lines.append(line_of([f"x{speed}", name], row))
    return table(["speed", "policy", "TTFT mean", "TTFT p99", "TPOT mean", "TPOT p99", "reuse",
                  "decode-only"], lines)


def roles(rows, speeds):
    lines = []
    for speed in speeds:
        for column in DYNAMO:
            lines.append(line_of([f"x{speed}", column], rows["trust", column, speed]))
        for weight in WEIGHTS:
            if ("roles", weight, speed) in rows:
                lines.append(line_of([f"x{speed}", f"roles free, streams count {weight:g}"],
                                     rows["roles", weight, speed]))
    return table(["speed", "pods and policy", "TTFT mean", "TTFT p99", "TPOT mean", "TPOT p99",
                  "reuse", "decode-only"], lines)


def with_interval(mean, half, form):
    text = format(100 * mean, form)
    return text if half is None else f"{text} ± {100 * half:.1f}"


def goodput(outcomes):
    """Percent of the requests offered; the interval of predicted and of its difference to the best
    of the others, seed by seed."""
    lines = []
    for outcome in outcomes:
        cells = []
        best = max(outcome.means.values())
        for policy in POLICIES:
            text = f"{100 * outcome.means[policy]:.1f}"
            if policy == "predicted":
                text = with_interval(*mean_and_interval(outcome.shares[policy]), ".1f")
            cells.append(f"**{text}**" if outcome.means[policy] == best else text)
        lines.append([outcome.scenario, *cells,
                      f"{with_interval(*outcome.difference(), '+.1f')} ({outcome.best_other})"])
    shown = [[f"mean of {len(outcomes)}",
              *(f"{100 * statistics.mean(o.means[p] for o in outcomes):.1f}" for p in POLICIES), ""]]
    return table(["scenario", *POLICIES, "to the best other"], lines + shown)


def write(path, rows, speeds, outcomes):
    parts = [("Trust: ours / Dynamo's, ms", trust(rows, speeds)),
             ("Fixed roles, ms", planner(rows, speeds)), ("Roles free, ms", roles(rows, speeds)),
             ("Goodput, % of the requests offered", goodput(outcomes))]
    with open(path, "w") as f:
        f.write("\n".join(f"## {head}\n\n{body}" for head, body in parts))
