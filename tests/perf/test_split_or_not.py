"""perf/split_or_not/run with a program that is played: what is searched for, and what is made of it."""

import json
import pathlib
import random
import sys
import xml.etree.ElementTree

import pytest
from played import Played

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "perf" / "split_or_not"
sys.path.insert(0, str(ROOT / "perf"))
sys.path.insert(0, str(FOLDER))

# Good up to what the pods hold; TTFT grows with the load, as the policy has it. A measured system is
# told by its router's URL.
PROGRAM = """
import json, pathlib, sys
arguments = sys.argv[1:]
if arguments == ["--version"]:
    sys.exit(print("baton 0.1.0 (commit abc)"))
told = json.loads(pathlib.Path({told!r}).read_text())
with open({log!r}, "a") as f:
    f.write(json.dumps(arguments) + "\\n")
def value(option, usual=""):
    return arguments[arguments.index(option) + 1] if option in arguments else usual
if arguments[0] == "bench":
    held, ttft = 1e9, told["measured"][arguments[1]]
    rate = float(value("--rate"))
else:
    pods, split, policy = value("--pods"), value("--split"), value("--policy", "predicted")
    held = told["holds"].get(f"{{pods}} {{split}}", 10) * told["policies"].get(policy, 1)
    if "--rate" in arguments:
        rate = float(value("--rate"))
    else:
        rate = sum(1 for _ in open(value("--file"))) / 10
    ttft = told["ttft"].get(policy, 100)
stage = lambda ms: {{"mean": ms}}
pathlib.Path(value("--json")).write_text(json.dumps({{
    "mean_ttft_ms": ttft, "median_ttft_ms": ttft, "p99_ttft_ms": 2 * ttft, "mean_tpot_ms": 10,
    "p99_tpot_ms": 12, "p99_itl_ms": 90, "median_itl_ms": 9, "completed": 100,
    "baton": {{"goodput": {{"share": 1.0 if rate <= held else 0.5, "missed": {{}}}},
               "unsound_reasons": told["unsound"],
               "split": {{"stages_ms": {{"prefill": stage(50), "exposed_transfer": stage(2),
                                      "first_step": stage(9)}}}}}},
    "system": {{"reuse": 0.2, "decode_only_share": 0.1, "prefill_busy": 0.5, "decode_busy": 0.6,
                "max_kv_usage": 0.3, "transferred_bytes": 1, "duration_s": 10}}}}))
"""


class Setting(Played):
    def __init__(self, folder):
        super().__init__(folder, PROGRAM, FOLDER / "run")
        self.told = {"holds": {"both=8 never": 20, "prefill=4,decode=4 always": 25,
                               "prefill=5,decode=3 always": 30, "prefill=6,decode=2 always": 24,
                               "prefill=5,decode=3 auto": 33, "both=8 auto": 36},
                     "policies": {}, "ttft": {"round_robin": 3000}, "measured": {}, "unsound": []}


@pytest.fixture
def setting(tmp_path):
    return Setting(tmp_path)


HIGHEST = "simulated 8B, long prompts, TPOT within 25 ms: highest load, roles free"
GAINED = "simulated: most gained by splitting, highest load over that of aggregated pods"
SAVED = "simulated: most of round robin's mean TTFT saved by predicted"
MARK = "<!-- {}: perf/split_or_not/run writes this table -->\n\n"
TABLES = ("capacity", "why", "prefix")


@pytest.fixture(scope="module", name="done")
def simulated(tmp_path_factory):
    """One run of the simulated part with its page and pictures."""
    setting = Setting(tmp_path_factory.mktemp("simulated"))
    page = setting.folder / "page.md"
    page.write_text("before\n\n" + "".join(MARK.format(name) + "| old |\n|---|\n\n"
                                           for name in TABLES) + "after\n")
    done = setting.run("--simulated", "--page", page, "--plot", setting.folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return setting


def test_the_best_setting_of_each_arrangement_is_found(done):
    figures = done.figures()
    highest = figures[HIGHEST]
    assert 36 / 1.05 < highest["value"] <= 36
    assert 20 / 1.05 < highest["peers"]["aggregated"] <= 20
    assert highest["detail"]["P/D"] == highest["detail"]["conditional"] == "5 + 3"
    assert figures[GAINED]["value"] == pytest.approx(80, abs=10)
    assert figures[SAVED]["value"] == pytest.approx(100 * (1 - 100 / 3000))


def test_nothing_is_simulated_twice(done):
    runs = [" ".join(run[:run.index("--json")]) for run in done.runs() if run[0] == "simulate"]
    assert len(runs) == len(set(runs)) > 10


def test_the_slo_is_told_to_who_picks(done):
    for run in done.runs():
        told = "--slo-ttft-ms 1000 --slo-tpot-ms 25 --goodput ttft:1000,tpot:25"
        assert run == ["--version"] or told in " ".join(run)


def test_tables_go_to_their_places(done):
    text = (done.folder / "page.md").read_text()
    assert "| old |" not in text and text.startswith("before") and text.endswith("after\n")
    assert "| 8B | long prompts | 25 ms |" in text and "(5 + 3)" in text


def test_pictures_are_well_formed(done):
    for name in ("capacity", "load", "why", "prefix"):
        xml.etree.ElementTree.parse(done.folder / f"splitting_{name}.svg")


def test_claims_that_do_not_hold_exit_with_3(setting):
    setting.told["holds"] = {"both=8 never": 20}
    setting.told["ttft"] = {"round_robin": 110}
    assert setting.run("--simulated").returncode == 3
    figures = setting.figures()
    assert figures[GAINED]["met"] is False
    assert figures[SAVED]["met"] is False


def test_a_page_without_a_place_is_refused(tmp_path):
    import tables  # pylint: disable=import-outside-toplevel
    (tmp_path / "page.md").write_text("nothing\n")
    with pytest.raises(SystemExit, match="has no place for the table"):
        tables.write(tmp_path / "page.md", {"why": "| a |\n"})


def test_deployed_routers_are_measured_beside_the_simulator(setting):
    setting.told["measured"] = {"http://a": 120, "http://b": 300}
    setting.told["unsound"] = ["late by 40 ms"]
    done = setting.run("--targets", "aggregated=http://a,P/D=http://b", "--profile",
                       "llama3-8b-h100", "--model", "m")
    assert done.returncode == 0, done.stderr
    figure = setting.figures()["deployed, deployed, 8/s, P/D: mean TTFT"]
    assert figure["value"] == 300 and figure["peers"] == {"simulated": 100}
    assert "late by 40 ms" in done.stdout
    simulated = [run for run in setting.runs() if run[0] == "simulate"]
    assert [run[run.index("--pods") + 1] for run in simulated] == ["both=8", "prefill=4,decode=4"]


@pytest.mark.parametrize("targets", ["nothing", "best=http://a"])
def test_targets_that_say_nothing_are_refused(setting, targets):
    done = setting.run("--targets", targets)
    assert done.returncode == 1
    assert "names are aggregated, P/D, conditional" in done.stderr


def test_the_highest_load_is_found_from_anywhere():
    import search  # pylint: disable=import-outside-toplevel
    rng = random.Random(4)
    for _ in range(200):
        held, begin = rng.uniform(1, 100), rng.uniform(1, 100)
        found = search.highest(lambda load, most=held: load <= most, begin, 0.01)
        assert held / search.NEAR <= found <= held
    assert search.highest(lambda load: False, 10, 1) == 0


def test_the_best_of_settings_is_that_of_trying_all():
    import search  # pylint: disable=import-outside-toplevel
    rng = random.Random(5)
    for _ in range(200):
        top, slope = rng.randrange(7), rng.uniform(0.05, 0.5)
        holds = [50 * (1 - slope) ** abs(i - top) for i in range(7)]
        _, load = search.best_of(range(7), lambda i, rate, of=holds: rate <= of[i], 10, 0.1,
                                 rng.randrange(7))
        assert 50 / search.NEAR**2 <= load <= 50


def test_conversations_are_a_function_of_their_seed_and_share_what_they_should():
    import traffics  # pylint: disable=import-outside-toplevel
    first = traffics.conversations(20, 30, 1)
    assert first == traffics.conversations(20, 30, 1) != traffics.conversations(20, 30, 2)
    assert 20 * 30 * 0.85 < len(first) < 20 * 30 * 1.15
    by_conversation = {}
    for entry in first:
        assert len(entry["hash_ids"]) == -(-entry["input_length"] // traffics.BLOCK)
        assert entry["hash_ids"][:4] == [0, 1, 2, 3]
        by_conversation.setdefault(entry["hash_ids"][4], []).append(entry)
    for turns in by_conversation.values():
        for turn, after in zip(turns, turns[1:]):
            assert after["input_length"] == turn["input_length"] + traffics.TURN
            assert after["hash_ids"][:len(turn["hash_ids"])] == turn["hash_ids"]
