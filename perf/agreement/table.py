"""The same metric under each tool's name, how far the tools are apart, and why where they are."""
import statistics

import tools

WITHIN = 0.03

# Numbers that do not tell the same of each tool, and why. They are shown and not judged.
NOT_THE_SAME = {
    "p99_itl_ms": "the server's gaps are all alike: this is how late each client reads an event",
}

# Metric, as Baton and vLLM call it, its unit, and what is to know of it.
METRICS = [
    ("ttft_ms", "ms", "From sending the request to the first event that holds a token. vLLM takes "
     "the first event with choices, AIPerf the first event with content; in a completion they are "
     "the same event. In a chat, a role-only first event counts for vLLM alone."),
    ("tpot_ms", "ms", "(latency - TTFT) / (tokens - 1) of each request. AIPerf's "
     "inter_token_latency is this, not the gaps."),
    ("itl_ms", "ms", "Gaps between events, pooled over all requests. AIPerf's name for the gaps is "
     "inter_chunk_latency."),
    ("e2el_ms", "ms", "From sending the request to its last token; the usage event and [DONE] "
     "behind it do not count."),
    ("request_throughput", "1/s", "Completed requests over the duration."),
    ("output_throughput", "tokens/s", "Tokens of completed requests, as the server counted them, "
     "over the duration."),
    ("request_goodput", "1/s", "Completed requests that keep every bound, over the duration."),
    ("duration", "s", "vLLM: from the start of its loop until it has gathered every answer. "
     "AIPerf: from its first request to its last answer. Baton: from the first request's "
     "scheduled time to the last one's end."),
    ("completed", "requests", "Answers with a proper end."),
    ("total_output_tokens", "tokens", "As the server's usage says."),
]


def rows(figures, truth=None):
    """One row for each number that is compared. `figures`: tool to its rounds; a number is the
    median over a tool's rounds. `truth`: what the server was told to do, where that is known."""
    found = []
    for key, unit, _ in METRICS:
        for statistic in tools.STATISTICS if key in tools.LATENCIES else (None,):
            values = {tool: statistics.median(pick(r[key], statistic) for r in rounds)
                      for tool, rounds in figures.items()}
            known = pick((truth or {}).get(key), statistic)
            found.append({"metric": key, "statistic": statistic, "unit": unit, "values": values,
                          "truth": known, "apart": apart(values.values())})
    return found


def pick(value, statistic):
    return value.get(statistic) if isinstance(value, dict) else value


def apart(values):
    """How far the farthest two are apart, as a share of the smaller."""
    values = list(values)
    return max(values) / min(values) - 1 if min(values) > 0 else float(max(values) > 0)


def name_of(row):
    return f"{row['statistic']}_{row['metric']}" if row["statistic"] else row["metric"]


def their_name(row):
    if row["metric"] in tools.SINGLE:
        return tools.SINGLE[row["metric"]]
    statistic = {"mean": "avg", "median": "p50"}.get(row["statistic"], row["statistic"])
    return f"{tools.LATENCIES[row['metric']]} {statistic}"


def markdown(found, versions):
    """The table, then what is to know of each metric."""
    names = list(found[0]["values"])
    with_truth = any(row["truth"] is not None for row in found)
    head = ["Baton, vLLM", "AIPerf", "unit"] + [f"{n} {versions[n]}" for n in names]
    head += (["server"] if with_truth else []) + ["apart", "not the same, because"]
    lines = ["| " + " | ".join(head) + " |",
             "|---|---|---|" + "---:|" * (len(head) - 4) + "---|"]
    for row in found:
        cells = [f"`{name_of(row)}`", f"`{their_name(row)}`", row["unit"]]
        cells += [f"{row['values'][n]:.5g}" for n in names]
        if with_truth:
            cells.append("" if row["truth"] is None else f"{row['truth']:.5g}")
        why = NOT_THE_SAME.get(name_of(row), "" if row["apart"] <= WITHIN else "**differs**")
        cells += [f"{100 * row['apart']:.2f} %", why]
        lines.append("| " + " | ".join(cells) + " |")
    lines += [""] + [f"- `{key}`: {what}" for key, _, what in METRICS]
    return "\n".join(lines) + "\n"
