"""What perf/split_or_not/run reports of its runs."""
from arrangements import ARRANGEMENTS
from simulated import POLICIES

MORE_THROUGHPUT, LESS_TTFT = 0.6, 0.96  # what Google reports
NEVER_BELOW = 0.95  # of the better of aggregated and P/D
MEASURED_NEAR = 0.15  # of what is simulated
SPLITS = [name for name in ARRANGEMENTS if name != "aggregated"]


def gain(bests, name):
    """How much more an arrangement holds than aggregated pods; None where those hold nothing."""
    base = bests["aggregated"].load
    return bests[name].load / base - 1 if base else None


def best_gain(bests):
    gains = [gain(bests, name) for name in SPLITS]
    return max(gains) if None not in gains else None


def saved(rows, share, metric="mean_ttft_ms"):
    """The share of round robin's TTFT that predicted does not take, at a load."""
    return 1 - rows["predicted"][share][metric] / rows["round_robin"][share][metric]


def add_capacities(report, capacities):
    for (model, traffic, tpot), bests in capacities.items():
        report.add(f"simulated {model.short}, {traffic.name}, TPOT within {tpot} ms: highest load, "
                   "roles free", bests["roles free"].load, "requests/s", at_most=False,
                   tolerance=0.1, peers={name: bests[name].load for name in ARRANGEMENTS
                                         if name != "roles free" and bests[name].load},
                   detail={name: best.setting.words() for name, best in bests.items()})
    gains = [best_gain(bests) for bests in capacities.values()]
    report.add("simulated: most gained by splitting, highest load over that of aggregated pods",
               100 * max(g for g in gains if g is not None), "%", 100 * MORE_THROUGHPUT,
               at_most=False)
    worst = min(bests["roles free"].load / max(bests["aggregated"].load, bests["P/D"].load)
                for bests in capacities.values() if bests["P/D"].load)
    report.add("simulated: highest load of roles free beside the better of aggregated and P/D, "
               "worst", worst, "", NEVER_BELOW, at_most=False)


def add_prefixes(report, prefixes):
    for (model, traffic), (base, rows) in prefixes.items():
        for share in rows["predicted"]:
            report.add(f"simulated {model.short}, {traffic.name}, {100 * share:.0f} % of what "
                       f"round robin holds ({base:.3g}/s): mean TTFT",
                       rows["predicted"][share]["mean_ttft_ms"], "ms", tolerance=0.1,
                       peers={policy: rows[policy][share]["mean_ttft_ms"] for policy in POLICIES
                              if policy != "predicted"})
    most = max(saved(rows, share) for _, rows in prefixes.values() for share in rows["predicted"])
    report.add("simulated: most of round robin's mean TTFT saved by predicted", 100 * most, "%",
               100 * LESS_TTFT, at_most=False)


def add_measured(report, what, rows, judged):
    """Measured beside simulated; `judged`: it has to be near."""
    for (load, arrangement), (ours, theirs) in rows.items():
        for metric, words in (("mean_ttft_ms", "mean TTFT"), ("mean_tpot_ms", "mean TPOT")):
            peers = {"simulated": theirs[metric]} if theirs else {}
            aim = {"target": theirs[metric], "either_way": True} if theirs and judged else {}
            report.add(f"{what}, {load.name}, {load.rate:.3g}/s, {arrangement}: {words}",
                       ours[metric], "ms", tolerance=MEASURED_NEAR, peers=peers, **aim,
                       detail={"measured": ours, "simulated": theirs})
        if ours["unsound"]:
            report.note(f"{what}, {load.name}, {arrangement}: the load generator was not sound: "
                        + "; ".join(map(str, ours["unsound"])))
