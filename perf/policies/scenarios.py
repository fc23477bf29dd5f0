"""What every policy is tried on, and what came of it."""
import math
import statistics

from simulated import SLO_MS

POLICIES = ("predicted", "round_robin", "random", "least_request", "power_of_two", "cache_aware",
            "gaie_default", "dynamo_kv", "lmetric", "mooncake")
LEARN = ("predicted", "mooncake")  # only these ask what is predicted, so that a prior matters
EIGHT = ("--pods", "prefill=4,decode=4", "--profile", "dynamo-mocker")
LORAS = ",".join(f"adapter-{i}=1" for i in range(64))
ONE_SLOW = "prefill=4,decode=3,decode=1:dynamo-mocker*3"
HALF_SLOW = ("prefill=2,prefill=2:dynamo-mocker*2,decode=2,decode=2:dynamo-mocker*2")
MOCKER = ("--profile", "dynamo-mocker")
# Name: trace, speed, arguments.
SCENARIOS = {
    "conversation x3": ("conversation", 3, EIGHT),
    "conversation x4": ("conversation", 4, EIGHT),
    "conversation x5": ("conversation", 5, EIGHT),
    "code x12": ("code", 12, EIGHT),
    "code x20": ("code", 20, EIGHT),
    "half of the pods twice as slow, x3": ("conversation", 3, ("--pods", HALF_SLOW, *MOCKER)),
    "one decode pod three times as slow, x3": ("conversation", 3, ("--pods", ONE_SLOW, *MOCKER)),
    "64 adapters over 16 pods, x2": ("conversation", 2, (
        "--pods", "both=16", "--split", "never", "--profile", "llama3-8b-h100", "--model-mix",
        LORAS)),
    "a decode pod lost for 30 s, x3": ("conversation", 3, (*EIGHT, "--lose", "decode-1@30+30")),
    "two routers, x4": ("conversation", 4, (*EIGHT, "--replicas", "2")),
    "four routers, x4": ("conversation", 4, (*EIGHT, "--replicas", "4")),
    "metrics 5 s old, x4": ("conversation", 4, (*EIGHT, "--scrape", "5")),
    "prior three times too slow, x4": ("conversation", 4, (*EIGHT, "--prior", "3")),
    "prior three times too fast, x4": ("conversation", 4, (*EIGHT, "--prior", "0.333")),
}
JITTER_S = 1.5  # half of the conversation trace's grain, before it is sped up
# 97.5 % of Student's distribution, by degrees of freedom.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
MOST_SEEDS = len(STUDENT) + 1


def arguments_of(scenario, policy, seed, requests):
    trace, speed, arguments = SCENARIOS[scenario]
    if "--prior" in arguments and policy not in LEARN:
        arguments = arguments[:arguments.index("--prior")]
    # The pool's slo, which predicted alone listens to.
    slo = ("--slo-ttft-ms", str(SLO_MS["ttft"]), "--slo-tpot-ms", str(SLO_MS["tpot"]))
    return (trace, speed, (*arguments, *slo, "--policy", policy, "--seed", str(seed), "--requests",
                           str(requests), "--jitter", f"{JITTER_S / speed:g}"))


def mean_and_interval(values):
    """Mean, and how far the 95 % interval goes to either side of it; None: one value tells nothing
    of that."""
    if len(values) < 2:
        return values[0], None
    half = STUDENT[len(values) - 2] * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.mean(values), half


class Outcome:
    """Goodput of each policy in one scenario, by seed, as a share of the requests offered."""

    def __init__(self, rows, scenario, seeds):
        self.scenario = scenario
        self.shares = {policy: [rows["scenario", scenario, policy, seed]["goodput"]
                                for seed in range(seeds)] for policy in POLICIES}
        self.means = {policy: statistics.mean(shares) for policy, shares in self.shares.items()}

    @property
    def best_other(self):
        return max((p for p in POLICIES if p != "predicted"), key=self.means.get)

    @property
    def to_best(self):
        """Predicted over the best of the others; 1 where nothing was good anywhere."""
        best = self.means[self.best_other]
        return self.means["predicted"] / best if best else 1.0

    def difference(self):
        """Of predicted to the best other, seed by seed, as mean and interval."""
        pairs = zip(self.shares["predicted"], self.shares[self.best_other])
        return mean_and_interval([ours - theirs for ours, theirs in pairs])
