"""The ways in which a number of pods can share the work, and the settings to choose from in each."""
import dataclasses

from traffics import PODS

CHUNKS = (8192, 1024)  # prompt tokens in a step


@dataclasses.dataclass(frozen=True)
class Setting:
    """One arrangement, set up. `prefill`: pods that only compute prompts, 0: all do both."""
    prefill: int
    split: str
    chunk: int = CHUNKS[0]
    pods: int = PODS

    def arguments(self):
        pods = f"both={self.pods}"
        if self.prefill:
            pods = f"prefill={self.prefill},decode={self.pods - self.prefill}"
        return ("--pods", pods, "--split", self.split)

    def words(self):
        pods = f"{self.prefill} + {self.pods - self.prefill}" if self.prefill else f"{self.pods}"
        chunk = "" if self.chunk == CHUNKS[0] else f", chunks of {self.chunk:,}"
        return pods + chunk


def whole(split):
    return [Setting(0, split, chunk) for chunk in CHUNKS]


def ratios(split):
    return [Setting(prefill, split) for prefill in range(1, PODS)]


# Settings in an order in which capacity has one top.
ARRANGEMENTS = {"aggregated": whole("never"), "P/D": ratios("always"),
                "conditional": ratios("auto"), "roles free": whole("auto")}
WHAT = {"aggregated": "every pod does both, nothing is split",
        "P/D": "fixed roles, every prompt is split",
        "conditional": "fixed roles, a prompt may be computed where it is decoded",
        "roles free": "every pod may do both, split by request"}
