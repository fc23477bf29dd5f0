"""Runs `baton simulate`, several at a time, and keeps what is compared."""
import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile

import common

SLO_MS = {"ttft": 2000, "tpot": 25}
GOODPUT = ",".join(f"{metric}:{bound}" for metric, bound in SLO_MS.items())
KEPT = ("mean_ttft_ms", "p90_ttft_ms", "p99_ttft_ms", "mean_tpot_ms", "p99_tpot_ms", "completed")
TRACES = {"conversation": ("mooncake", "mooncake_conversation.jsonl"),
          "code": ("azure", "azure_2023_code.csv")}


def simulate(arguments, traces):
    """The figures of one run. `arguments`: trace, speed, and what else `baton simulate` is told."""
    trace, speed, rest = arguments
    workload, name = TRACES[trace]
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "result.json")
        command = [common.BATON, "simulate", "--workload", workload, "--file",
                   os.path.join(traces, name), "--time-scale", str(speed), *rest, "--goodput",
                   GOODPUT, "--quiet", "--json", path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-1000:]}")
        with open(path) as f:
            result = json.load(f)
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
        pool = concurrent.futures.ThreadPoolExecutor(workers)
        try:
            running = {pool.submit(simulate, arguments, traces): json.dumps(arguments)
                       for arguments in missing}
            for done, future in enumerate(concurrent.futures.as_completed(running), 1):
                self.rows[running[future]] = future.result()
                if done % 5 == 0 or done == len(missing):
                    print(f"{done} of {len(missing)} runs", file=sys.stderr)
                    self.keep()
        finally:
            pool.shutdown(cancel_futures=True)
        return {name: self.rows[key] for name, key in keys.items()}

    def keep(self):
        if self.path:
            with open(self.path, "w") as f:
                json.dump(self.rows, f, indent=1)
