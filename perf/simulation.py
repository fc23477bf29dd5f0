"""Runs `baton simulate`, several at a time."""
import concurrent.futures
import json
import os
import subprocess
import tempfile

import common


def simulate(arguments):
    """The result file of one run; `arguments`: what `baton simulate` is told."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "result.json")
        command = [common.BATON, "simulate", *map(str, arguments), "--quiet", "--json", path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-1000:]}")
        with open(path) as f:
            return json.load(f)


def side_by_side(tasks, workers, finished=None):
    """The values of `tasks`, functions by name, `workers` at a time, under the same names. After
    each `finished(name, value, how many are done)` is called, on this thread."""
    values = {}
    pool = concurrent.futures.ThreadPoolExecutor(workers)
    try:
        running = {pool.submit(task): name for name, task in tasks.items()}
        for done, future in enumerate(concurrent.futures.as_completed(running), 1):
            name = running[future]
            values[name] = future.result()
            if finished:
                finished(name, values[name], done)
    finally:
        pool.shutdown(cancel_futures=True)
    return values
