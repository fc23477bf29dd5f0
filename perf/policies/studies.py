"""The runs that perf/policies/run wants, by name."""
import itertools

from reference import DYNAMO, SPEEDS
from scenarios import POLICIES, SCENARIOS, arguments_of

MOCKER = ("--profile", "dynamo-mocker", "--seed", "0")
SPLIT = ("--pods", "prefill=4,decode=4", *MOCKER)
FREE = ("--pods", "both=8", *MOCKER)
JOINED = (*FREE, "--split", "never")
# What a second of streaming is to count beside one of waiting.
WEIGHTS = (0.05, 0.3, 1, 4, 20)
USUAL_ANSWER = 343  # tokens, in the conversation trace
TPOT_SLO_MS = 100_000  # so long that nothing exceeds it, and only the ratio to the other tells


def policy(name):
    return ("--policy", name)


def slo(weight):
    ttft_ms = weight * USUAL_ANSWER * TPOT_SLO_MS
    return ("--slo-tpot-ms", f"{TPOT_SLO_MS}", "--slo-ttft-ms", f"{ttft_ms:g}")


def on_conversation(speed, arguments, requests):
    limit = ("--requests", str(requests)) if requests else ()
    return ("conversation", speed, (*arguments, *limit))


def speeds(quick):
    return SPEEDS[:1] if quick else SPEEDS


def wanted(quick, seeds, requests, roles_to):
    """Arguments by (study, …). With `quick` so few requests that only the script is tried. Roles are
    free up to the speed `roles_to`."""
    few = 200 if quick else None
    runs = {}
    for speed in speeds(quick):
        for column in DYNAMO:
            pods, name = column.split()
            arguments = (SPLIT if pods == "P/D" else JOINED) + policy(name)
            runs["trust", column, speed] = on_conversation(speed, arguments, few)
        runs["planner", speed] = on_conversation(speed, SPLIT + policy("predicted"), few)
    for speed in (s for s in speeds(quick) if s <= roles_to):
        for weight in WEIGHTS[::4] if quick else WEIGHTS:
            arguments = (*FREE, *policy("predicted"), *slo(weight))
            runs["roles", weight, speed] = on_conversation(speed, arguments, few)
    tried = list(SCENARIOS)[-2:] if quick else SCENARIOS
    for seed, scenario, name in itertools.product(range(seeds), tried, POLICIES):
        runs["scenario", scenario, name, seed] = arguments_of(scenario, name, seed, requests)
    return runs
