"""The embedded engine: one prefill and one decode pod against two that do both, a core each. What
the simulator is told of it is fitted from a pod that is asked alone, before."""
import json
import os
import subprocess
import tempfile

import common
from measured import Load, bench, kept, roles_of, simulated, start_pods, ARRANGEMENTS
from traffics import random_lengths

PODS = 2
ALONE = (128, 512, 1024)  # tokens of prompts
CROWD = 8
BUSY = 0.6  # of both cores, as aggregated pods
# Prompt and answer, in tokens, on average.
LENGTHS = {"long prompts": (500, 32), "long answers": (64, 256)}


def pod(model, role, name, port, number):
    cores = sorted(os.sched_getaffinity(0))
    return ["taskset", "-c", cores[number % len(cores)], common.BATON, "pod", "--model", model,
            "--served-model-name", "made", "--role", role, "--name", name, "--listen",
            f"127.0.0.1:{port}", "--log-level", "warn"]


def constant(prompt, answer):
    return ("--workload", "random", "--input-tokens", prompt, "--output-tokens", answer)


class Engine:
    """What one pod takes, from closed loops against it."""

    def __init__(self, port, vocabulary):
        def closed(workload, concurrency, requests):
            return bench(f"http://127.0.0.1:{port}", "made",
                         [*workload, "--concurrency", concurrency, "--requests", requests],
                         "--vocabulary", vocabulary)
        closed(constant(256, 8), 1, 2)
        ttft = [closed(constant(tokens, 2), 1, 5)["median_ttft_ms"] for tokens in ALONE]
        self.one = closed(constant(64, 64), 1, 3)["median_tpot_ms"]
        self.crowd = closed(constant(64, 64), CROWD, 2 * CROWD)["median_tpot_ms"]
        self.prefill = quadratic(ALONE, ttft)

    def prefill_ms(self, tokens):
        base, each, pair = self.prefill
        return base + each * tokens + pair * tokens**2

    def step_ms(self, batch):
        return self.one + (batch - 1) * max(0.0, self.crowd - self.one) / (CROWD - 1)

    def rate(self, prompt, answer):
        """Requests a second that keep two aggregated pods BUSY, decoding four at a time."""
        request_ms = self.prefill_ms(prompt) + answer * self.step_ms(4) / 4
        return BUSY * PODS * 1e3 / request_ms

    def profile(self, handoff_ms):
        base, each, pair = self.prefill
        return {"name": "embedded", "source": "fitted from a pod alone", "blocks": 4096,
                "block_tokens": 64, "max_num_seqs": 16, "max_batched_tokens": 256,
                "bytes_per_token": 1, "prefill_base_ms": 0, "prefill_token_us": 1e3 * each,
                "prefill_pair_ns": 1e6 * pair, "step_base_ms": max(0.01, self.step_ms(0)),
                "step_sequence_us": 1e3 * (self.step_ms(1) - self.step_ms(0)),
                "transfer_setup_ms": max(0.0, base + handoff_ms)}


def quadratic(xs, ys):
    """Coefficients of the parabola through three points, none below 0."""
    (a, b, c), (p, q, r) = xs, ys
    pair = ((r - q) / (c - b) - (q - p) / (b - a)) / (c - a)
    pair = max(0.0, pair)
    each = max(0.0, (r - p) / (c - a) - pair * (a + c))
    return max(0.0, p - each * a - pair * a * a), each, pair


def system(processes, folder, model, arrangement, *settings):
    share, split = ARRANGEMENTS[arrangement]
    ports = start_pods(processes, roles_of(PODS, share),
                       lambda *of: pod(model, *of))
    router, _ = common.start_router(processes, folder, "made", ports, "connector: baton",
                                    f"split: {split}", *settings)
    return router, ports


def fitted(model):
    with common.Processes() as processes, tempfile.TemporaryDirectory() as folder:
        router, ports = system(processes, folder, model, "P/D")
        handoff = bench(f"http://127.0.0.1:{router}", "made",
                        [*constant(256, 8), "--concurrency", 1, "--requests", 5],
                        "--vocabulary", model)
        exposed = handoff["baton"]["split"]["stages_ms"]["exposed_transfer"]["mean"]
    with common.Processes() as processes, tempfile.TemporaryDirectory() as folder:
        _, ports = system(processes, folder, model, "aggregated")
        engine = Engine(ports["both"]["both-0"], model)
    return engine, engine.profile(exposed)


def embedded(seconds, seed):
    """(measured, simulated) by load and arrangement, and the profile."""
    rows = {}
    with tempfile.TemporaryDirectory() as scratch:
        subprocess.run([common.BATON, "make-model", scratch], check=True, capture_output=True)
        model = os.path.join(scratch, "model.gguf")
        engine, profile = fitted(model)
        path = os.path.join(scratch, "embedded.json")
        with open(path, "w") as f:
            json.dump(profile, f)
        for name, (prompt, answer) in LENGTHS.items():
            load = Load(name, random_lengths(prompt, answer), engine.rate(prompt, answer),
                        4 * engine.prefill_ms(prompt), 4 * engine.step_ms(4))
            for arrangement in ARRANGEMENTS:
                with common.Processes() as processes, tempfile.TemporaryDirectory() as folder:
                    router, _ = system(processes, folder, model, arrangement, load.slo())
                    result = bench(f"http://127.0.0.1:{router}", "made",
                                   load.arguments(seconds, seed), "--vocabulary", model)
                rows[load, arrangement] = kept(result), simulated(PODS, arrangement, load, path,
                                                                  seconds, seed)
    return rows, profile
