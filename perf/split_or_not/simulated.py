"""The simulated part: capacities, what happens at one load, and how prefix-aware picking fares."""
import dataclasses
import functools
import json
import os
import sys
import threading

import simulation
from arrangements import ARRANGEMENTS, CHUNKS, Setting
from search import best_of, highest
from traffics import (CHAT, LONG_ANSWERS, LONG_PROMPTS, MODELS, PODS, SESSIONS, SHARED,
                      TRACE_RATE, conversation_trace, conversations)

GOOD_SHARE = 0.95
LOADS = (1.0,)  # of what aggregated pods hold
JUST_HELD = 1.0
PREFIX_LOADS = (0.5, 1.0, 2.0, 2.5, 3.0)  # of what round robin holds within the SLO
POLICIES = ("round_robin", "gaie_default", "predicted")
SEED = 1


def stage_means(result):
    stages = result["baton"]["split"]["stages_ms"]
    return {name: stages[name]["mean"] for name in stages}


def row_of(result):
    """What is compared of a result file, and why it is as it is."""
    system, good = result["system"], result["baton"]["goodput"]
    row = {name: result[name] for name in ("mean_ttft_ms", "median_ttft_ms", "p99_ttft_ms",
                                           "mean_tpot_ms", "p99_tpot_ms", "p99_itl_ms")}
    stages = stage_means(result)
    row["prefill_ms"] = stages["prefill"]
    row["transfer_ms"] = stages["exposed_transfer"]
    row["first_step_ms"] = stages["first_step"]
    row["queue_ms"] = row["mean_ttft_ms"] - sum(
        row[name] for name in ("prefill_ms", "transfer_ms", "first_step_ms"))
    row["step_ms"] = min(result["median_itl_ms"], row["mean_tpot_ms"])
    row["stops_ms"] = row["mean_tpot_ms"] - row["step_ms"]
    row["good"] = good["share"]
    row["missed"] = good["missed"]
    for name in ("reuse", "decode_only_share", "prefill_busy", "decode_busy", "max_kv_usage",
                 "transferred_bytes", "duration_s"):
        row[name] = system[name]
    return row


@dataclasses.dataclass(frozen=True)
class Case:
    """One run: what is served, by whom, how fast."""
    model: object
    traffic: object
    tpot: float
    setting: Setting
    policy: str = "predicted"


class Simulator:
    """Runs cases at loads, each once. Several threads may ask. Rows are kept in a file where there
    is one, so that a run that was cut short goes on where it was."""

    def __init__(self, folder, seconds, seed=SEED, keep=None):
        self.folder, self.seconds, self.seed, self.keep = folder, seconds, seed, keep
        self.rows, self.kept, self.lock = {}, {}, threading.Lock()
        if keep and os.path.exists(keep):
            with open(keep) as f:
                self.kept = json.load(f)

    def row(self, case, rate):
        rate = float(f"{rate:.4g}")
        key = f"{case} {rate} {self.seconds} {self.seed}"
        with self.lock:
            known = self.rows.get((case, rate)) or self.kept.get(key)
        if known is None:
            known = row_of(simulation.simulate(self.arguments(case, rate)))
        with self.lock:
            if (case, rate) not in self.rows and (len(self.rows) + 1) % 50 == 0:
                print(f"{len(self.rows) + 1} simulations", file=sys.stderr, flush=True)
            self.rows[case, rate] = self.kept[key] = known
            if self.keep:
                with open(self.keep, "w") as f:
                    json.dump(self.kept, f)
        return known

    def tried(self, case):
        """(rate, row) of all runs of the case, by rate."""
        return sorted((rate, row) for (one, rate), row in self.rows.items() if one == case)

    def arguments(self, case, rate):
        ttft, tpot = case.traffic.ttft, case.tpot
        return (*case.setting.arguments(), "--profile", self.profile(case), "--policy",
                case.policy, *self.load(case.traffic, rate), "--seed", self.seed, "--slo-ttft-ms",
                ttft, "--slo-tpot-ms", tpot, "--goodput", f"ttft:{ttft},tpot:{tpot}")

    def load(self, traffic, rate):
        measured = self.seconds * traffic.longer
        seconds = measured + traffic.warm_up_s
        if traffic is SESSIONS:
            return ("--workload", "mooncake", "--file", self.conversations(rate, seconds),
                    "--warmup", traffic.warm_up_s)
        if "--file" in traffic.workload:
            return (*traffic.workload, "--time-scale", f"{rate / TRACE_RATE:.5g}", "--duration",
                    measured, "--warmup", traffic.warm_up_s, "--jitter",
                    f"{1.5 * TRACE_RATE / rate:.3g}")
        return (*traffic.workload, "--rate", rate, "--duration", measured, "--warmup",
                traffic.warm_up_s)

    def conversations(self, rate, seconds):
        path = os.path.join(self.folder, f"conversations-{rate:g}.jsonl")
        with self.lock:
            if not os.path.exists(path):
                with open(path, "w") as f:
                    for entry in conversations(rate, seconds, self.seed):
                        f.write(json.dumps(entry) + "\n")
        return path

    def profile(self, case):
        if case.setting.chunk == CHUNKS[0]:
            return case.model.profile
        path = os.path.join(self.folder, f"{case.model.profile}-{case.setting.chunk}.json")
        with self.lock:
            if not os.path.exists(path):
                with open(path, "w") as f:
                    json.dump({"base": case.model.profile,
                               "max_batched_tokens": case.setting.chunk}, f)
        return path


@dataclasses.dataclass(frozen=True)
class Best:
    """The setting in which an arrangement holds most, and how many requests a second."""
    setting: Setting
    load: float


def holds(simulator, case, rate):
    return simulator.row(case, rate)["good"] >= GOOD_SHARE


def capacity(simulator, model, traffic, tpot):
    """The Best of each arrangement."""
    found, begin, ratio = {}, traffic.begin, PODS // 2

    for name, settings in ARRANGEMENTS.items():
        def keeps(setting, rate):
            return holds(simulator, Case(model, traffic, tpot, setting), rate)
        first = min(range(len(settings)), key=lambda i: abs(settings[i].prefill - ratio))
        best = Best(*best_of(settings, keeps, begin, traffic.begin / 16, first))
        found[name] = best
        begin = best.load or begin
        ratio = best.setting.prefill or ratio
    return found


def at_loads(simulator, model, traffic, bests):
    """Rows by arrangement and load, at the usual bound of TPOT."""
    base = bests["aggregated"].load
    return {name: {share: simulator.row(Case(model, traffic, model.usual_tpot, best.setting),
                                        share * base) for share in LOADS}
            for name, best in bests.items()}


def prefix(simulator, model, traffic):
    """What round robin holds, and rows by policy and load: pods that never split."""
    def case(policy):
        return Case(model, traffic, model.usual_tpot, Setting(0, "never"), policy)
    base = highest(functools.partial(holds, simulator, case("round_robin")), traffic.begin / 2,
                   traffic.begin / 16)
    return base, {policy: {share: simulator.row(case(policy), share * base)
                           for share in PREFIX_LOADS} for policy in POLICIES}


@dataclasses.dataclass
class Simulated:
    capacities: dict  # by (model, traffic, bound of TPOT)
    loads: dict  # by (model, traffic)
    prefixes: dict  # by (model, traffic)
    simulator: Simulator


def wanted(quick, traces, models):
    """(model, traffic, bounds of TPOT) of capacities, and (model, traffic) of prefixes."""
    small, large = MODELS
    if quick:
        return [(small, LONG_PROMPTS, (25,))], [(small, SESSIONS)]
    theirs = [conversation_trace(traces)] if traces else []
    capacities = [(small, LONG_PROMPTS, small.tpots)]
    capacities += [(small, traffic, (small.usual_tpot,))
                   for traffic in (CHAT, SESSIONS)]
    if models > 1:
        capacities += [(small, LONG_ANSWERS, (small.usual_tpot,)),
                       (large, LONG_PROMPTS, (large.usual_tpot,))]
    return capacities, [(small, traffic) for traffic in (SESSIONS, SHARED, *theirs)]


def study(simulator, workers, quick, traces, models):
    capacities, prefixes = wanted(quick, traces, models)
    tasks = {("prefix", model, traffic): functools.partial(prefix, simulator, model, traffic)
             for model, traffic in prefixes}
    tasks |= {("capacity", model, traffic, tpot):
              functools.partial(capacity, simulator, model, traffic, tpot)
              for model, traffic, tpots in capacities for tpot in tpots}
    done = simulation.side_by_side(tasks, workers)
    found = {name[1:]: done[name] for name in tasks if name[0] == "capacity"}
    usual = {name[:2]: bests for name, bests in found.items() if name[2] == name[0].usual_tpot}
    loads = simulation.side_by_side(
        {(model, traffic): functools.partial(at_loads, simulator, model, traffic, bests)
         for (model, traffic), bests in usual.items() if bests["aggregated"].load}, workers)
    return Simulated(found, {name: loads[name] for name in usual if name in loads},
                     {name[1:]: done[name] for name in tasks if name[0] == "prefix"}, simulator)
