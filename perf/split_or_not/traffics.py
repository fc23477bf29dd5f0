"""What is served, by which pods, and under which bounds."""
import dataclasses
import os
import random

PODS = 8


@dataclasses.dataclass(frozen=True)
class Model:
    """An engine profile of `baton simulate`, and the bounds of TPOT tried on it, in ms."""
    profile: str
    short: str
    tpots: tuple

    @property
    def usual_tpot(self):
        return self.tpots[1]


# A step of one sequence takes 8.5 ms with the first, 11.4 with the second.
MODELS = (Model("llama3-8b-h100", "8B", (12, 25, 50)),
          Model("llama3-70b-h100-tp8", "70B", (16, 35, 70)))


@dataclasses.dataclass(frozen=True)
class Traffic:
    name: str
    what: str
    workload: tuple  # arguments; none: a trace is written for each rate
    begin: float  # requests a second for the eight pods, with which a search begins
    ttft: int = 1000  # bound, in ms
    warm_up_s: int = 4  # until caches hold what they will
    longer: int = 1  # times the usual window


def random_lengths(prompt, answer):
    return ("--workload", "random", "--input-tokens", prompt, "--output-tokens", answer,
            "--range-ratio", 0.5)


LONG_PROMPTS = Traffic("long prompts", "6,000 tokens in, 100 out", random_lengths(6000, 100), 20)
LONG_ANSWERS = Traffic("long answers", "300 tokens in, 800 out", random_lengths(300, 800), 60, warm_up_s=10)
CHAT = Traffic("chat", "1,500 tokens in, 300 out", random_lengths(1500, 300), 60)
SHARED = Traffic("shared prefixes", "one of 60 prefixes of 8,000 tokens and 500 of its own in, "
                 "200 out", ("--workload", "shared-prefix", "--groups", 60, "--prompts-per-group",
                             1000, "--prefix-tokens", 8000, "--question-tokens", 500,
                             "--output-tokens", 200), 30, warm_up_s=20)
SESSIONS = Traffic("conversations", "turns of conversations: 2,000 tokens that all share, 6,000 of "
                   "a document, then 400 more a turn, 8 turns 4 s apart, 200 out", (), 30, warm_up_s=20)
TRAFFICS = (LONG_PROMPTS, LONG_ANSWERS, CHAT, SHARED, SESSIONS)

SYSTEM_BLOCKS, DOCUMENT, TURN, ANSWER, TURNS, PAUSE_S = 4, 6000, 400, 200, 8, 4.0
BLOCK = 512  # tokens of a hash id in Mooncake's format


def conversations(rate, seconds, seed):
    """A trace in Mooncake's format whose turns come at `rate` a second. Conversations are under way
    when it begins, so that all stages of them are offered from the start."""
    rng = random.Random(seed)
    entries, number, begin = [], 0, -TURNS * PAUSE_S
    while begin < seconds:
        begin += rng.expovariate(rate / TURNS)
        number += 1
        at = begin
        for turn in range(TURNS):
            tokens = SYSTEM_BLOCKS * BLOCK + DOCUMENT + turn * TURN
            own = range(-(-tokens // BLOCK) - SYSTEM_BLOCKS)
            if 0 <= at < seconds:
                entries.append({"timestamp": round(at * 1000), "input_length": tokens,
                                "output_length": ANSWER, "hash_ids": [
                                    *range(SYSTEM_BLOCKS), *(number * 1000 + i for i in own)]})
            at += rng.expovariate(1 / PAUSE_S)
    return sorted(entries, key=lambda entry: entry["timestamp"])


# The share of an hour of Mooncake's conversation trace; its own rate is 3.34 requests a second.
TRACE_RATE = 12031 / 3600


def conversation_trace(traces):
    path = os.path.join(traces, "mooncake_conversation.jsonl")
    return Traffic("Mooncake's trace", "the conversation trace, 12,035 tokens in and 343 out on "
                   "average", ("--workload", "mooncake", "--file", path), 8, ttft=5000,
                   warm_up_s=20, longer=3)
