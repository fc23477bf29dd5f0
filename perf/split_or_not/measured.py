"""The same pods as aggregated, as P/D and as P/D with conditional splits, measured: mocks in real
time, the embedded engine, or what is deployed already. Beside it what `baton simulate` says."""
import dataclasses
import functools
import json
import os
import subprocess
import tempfile

import common
import simulation
from simulated import row_of
from traffics import random_lengths

# Arrangement: prefill pods of so many, and the pool's `split`.
ARRANGEMENTS = {"aggregated": (0, "never"), "P/D": (0.5, "always"), "conditional": (0.5, "auto")}
WARM_UP_S = 4


@dataclasses.dataclass(frozen=True)
class Load:
    """One traffic at one rate."""
    name: str
    workload: tuple
    rate: float
    ttft: float
    tpot: float

    def arguments(self, seconds, seed):
        return [*self.workload, "--rate", f"{self.rate:.4g}", "--duration", seconds, "--warmup",
                WARM_UP_S, "--seed", seed, "--goodput", f"ttft:{self.ttft:g},tpot:{self.tpot:g}"]

    def slo(self):
        return f"slo: {{ttft_ms: {self.ttft:g}, tpot_ms: {self.tpot:g}}}"


MOCK_PODS = 4
MOCK_PROFILE = ("h100-8b", "llama3-8b-h100")  # the same, as mocks and as the simulator call it


def mock_loads(slowness):
    """For pods that are slower by that factor, so that what a busy machine adds counts less."""
    return (Load("long prompts", random_lengths(6000, 100), 8 / slowness, 1000 * slowness,
                 25 * slowness),
            Load("chat", random_lengths(1500, 300), 16 / slowness, 1000 * slowness, 25 * slowness))



def bench(url, model, arguments, *how):
    """The result file of `baton bench`."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "result.json")
        command = [common.BATON, "bench", url, "--model", model, "--api", "completions",
                   "--ignore-eos", "--temperature", "0", *map(str, how), *map(str, arguments),
                   "--quiet", "--json", path]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not os.path.exists(path):
            raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-1000:]}")
        with open(path) as f:
            return json.load(f)


def kept(result):
    """Of a measured result what a simulated one has too."""
    good = result["baton"]["goodput"]
    row = {name: result[name] for name in ("mean_ttft_ms", "p99_ttft_ms", "mean_tpot_ms",
                                           "p99_tpot_ms", "completed")}
    row["good"] = good["share"]
    split = result["baton"].get("split")
    if split:
        row["stages"] = {name: figures["mean"] for name, figures in split["stages_ms"].items()}
    row["unsound"] = result["baton"]["unsound_reasons"]
    return row


def roles_of(pods, share):
    prefill = round(pods * share)
    return {"both": pods} if not prefill else {"prefill": prefill, "decode": pods - prefill}


def simulated(pods, arrangement, load, profile, seconds, seed):
    share, split = ARRANGEMENTS[arrangement]
    roles = ",".join(f"{role}={count}" for role, count in roles_of(pods, share).items())
    return row_of(simulation.simulate(
        ["--pods", roles, "--split", split, "--profile", profile, *load.arguments(seconds, seed),
         "--slo-ttft-ms", load.ttft, "--slo-tpot-ms", load.tpot]))


def start_pods(processes, roles, start):
    """Ports by name by role; `start(role, name, port, number)` gives the command of one."""
    ports, number = {}, 0
    for role, count in roles.items():
        for i in range(count):
            name, port = f"{role}-{i}", common.free_port()
            processes.start(start(role, name, port, number))
            ports.setdefault(role, {})[name] = port
            number += 1
    for of_role in ports.values():
        for port in of_role.values():
            common.wait_ready(port, "/health")
    return ports


def mock(slowness, role, _name, port, number):
    return [common.BATON, "mock", "--engine", "vllm-nixl", "--role", role, "--listen",
            f"127.0.0.1:{port}", "--latency-profile", f"{MOCK_PROFILE[0]}*{slowness}", "--kv-blocks", 23800,
            "--max-model-len", 32768, "--seed", number + 1, "--log-level", "warn"]


def mocks(seconds, seed, slowness):
    """(measured, simulated) by load and arrangement."""
    rows = {}
    for load in mock_loads(slowness):
        for name, (share, split) in ARRANGEMENTS.items():
            with common.Processes() as processes, tempfile.TemporaryDirectory() as folder:
                ports = start_pods(processes, roles_of(MOCK_PODS, share),
                                   functools.partial(mock, slowness))
                router, _ = common.start_router(
                    processes, folder, "mock-model", ports, "connector: vllm-nixl",
                    f"split: {split}", load.slo())
                result = bench(f"http://127.0.0.1:{router}", "mock-model",
                               load.arguments(seconds, seed), "--token-ids", 90)
            rows[load, name] = kept(result), simulated(
                MOCK_PODS, name, load, f"{MOCK_PROFILE[1]}*{slowness}", seconds, seed)
    return rows


def targets(urls, model, load, seconds, seed, profile=None, pods=None):
    """(measured, simulated) of deployed routers, by name of arrangement; simulated is None without
    a profile."""
    rows = {}
    for name, url in urls.items():
        measured = kept(bench(url, model, load.arguments(seconds, seed)))
        rows[load, name] = measured, profile and simulated(pods, name, load, profile, seconds, seed)
    return rows
