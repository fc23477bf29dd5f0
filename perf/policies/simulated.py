"""Runs `baton simulate`, several at a time, and keeps what is compared."""
import functools
import json
import os
import sys

import simulation

SLO_MS = {"ttft": 2000, "tpot": 25}
GOODPUT = ",".join(f"{metric}:{bound}" for metric, bound in SLO_MS.items())
KEPT = ("mean_ttft_ms", "p90_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "p99_tpot_ms", "completed")
TRACES = {"conversation": ("mooncake", "mooncake_conversation.jsonl"),
          "code": ("azure", "azure_2023_code.csv")}


def simulate(arguments, traces):
    """The figures of one run. `arguments`: trace, speed, and what else `baton simulate` is told."""
    trace, speed, rest = arguments
    workload, name = TRACES[trace]
    result = simulation.simulate(["--workload", workload, "--file", os.path.join(traces, name),
                                  "--time-scale", speed, *rest, "--goodput", GOODPUT])
    row = {name: result[name] for name in KEPT}
    return {**row, "goodput": result["baton"]["goodput"]["share"], "reuse": result["system"]["reuse"],
            "decode_only": result["system"]["decode_only_share"]}


class Rows:
    """Figures by arguments, in a file where there is one, so that a run that was cut short goes on
    where it was."""

    def __init__(self, path):
        self.path, self.rows = path, {}
        if path and os.path.exists(path):
            with open(path) as f:
                self.rows = json.load(f)

    def run_all(self, wanted, traces, workers):
        """`wanted`: arguments by name. The figures by the same names; nothing is run twice."""
        keys = {name: json.dumps(arguments) for name, arguments in wanted.items()}
        missing = [json.loads(key) for key in dict.fromkeys(keys.values()) if key not in self.rows]
        tasks = {json.dumps(arguments): functools.partial(simulate, arguments, traces)
                 for arguments in missing}

        def keep(key, row, done):
            self.rows[key] = row
            if done % 5 == 0 or done == len(missing):
                print(f"{done} of {len(missing)} runs", file=sys.stderr)
                self.keep()
        simulation.side_by_side(tasks, workers, keep)
        return {name: self.rows[key] for name, key in keys.items()}

    def keep(self):
        if self.path:
            with open(self.path, "w") as f:
                json.dump(self.rows, f, indent=1)
