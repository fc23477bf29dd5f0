"""perf/policies/run with a simulator that is played: what is run, and what is made of its figures."""

import json
import pathlib
import sys
import xml.etree.ElementTree

import pytest
from played import Played

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMAND = ROOT / "perf" / "policies" / "run"

# As Dynamo's replay has them at speed 1, so that all is trusted.
COLUMNS = {"P/D round_robin": (507, 1066, 2500, 7.67), "P/D dynamo_kv": (394, 753, 1891, 7.44),
           "aggregated round_robin": (326, 707, 2077, 8.09),
           "aggregated dynamo_kv": (283, 566, 1735, 8.27)}
METRICS = ("mean_ttft_ms", "p90_ttft_ms", "p99_ttft_ms", "mean_tpot_ms")
GOOD = {"mean_ttft_ms": 300, "p90_ttft_ms": 500, "p99_ttft_ms": 1600, "mean_tpot_ms": 7,
        "p99_tpot_ms": 9}

SIMULATOR = """
import json, pathlib, sys
arguments = sys.argv[1:]
if arguments == ["--version"]:
    sys.exit(print("baton 0.1.0 (commit abc)"))
told = json.loads(pathlib.Path({told!r}).read_text())
with open({log!r}, "a") as f:
    f.write(json.dumps(arguments) + "\\n")
if told["fails"]:
    sys.exit("no such trace")
def value(option, usual=""):
    return arguments[arguments.index(option) + 1] if option in arguments else usual
policy = value("--policy")
pods = "P/D" if "prefill" in value("--pods") else "aggregated"
row = dict(told["columns"].get(f"{{pods}} {{policy}}", told["predicted"]))
goodput = told["goodput"].get(policy, 0.5) + 0.01 * int(value("--seed"))
pathlib.Path(value("--json")).write_text(json.dumps({{
    "p99_tpot_ms": 10, "completed": 200, **row,
    "baton": {{"goodput": {{"share": goodput}}}},
    "system": {{"reuse": 0.25, "decode_only_share": 0.2}}}}))
"""


class Setting(Played):
    def __init__(self, folder):
        super().__init__(folder, SIMULATOR, COMMAND, "--traces", "/traces")
        self.told = {"columns": {name: dict(zip(METRICS, values))
                                 for name, values in COLUMNS.items()},
                     "predicted": dict(GOOD), "goodput": {"predicted": 0.9}, "fails": False}


@pytest.fixture
def setting(tmp_path):
    return Setting(tmp_path)


def test_all_targets_met_exit_with_0(setting):
    done = setting.run()
    assert done.returncode == 0, done.stdout + done.stderr
    figures = setting.figures()
    assert figures["trust: P/D round_robin, x1, furthest from Dynamo's replay"]["value"] == 0
    assert figures["planner, 4 + 4 pods, x1: TTFT mean"]["peers"] == {"dynamo_kv": 394}
    closed = "planner, 4 + 4 pods, x1: TTFT mean, share of the gap to the bound that is closed"
    assert figures[closed]["value"] == pytest.approx((394 - 300) / (394 - 164))


def test_a_replay_that_is_not_as_dynamos_exits_with_3(setting):
    setting.told["columns"]["P/D round_robin"]["p90_ttft_ms"] *= 0.89
    assert setting.run().returncode == 3
    missed = [name for name, figure in setting.figures().items() if figure["met"] is False]
    assert missed == ["trust: P/D round_robin, x1, furthest from Dynamo's replay"]


def test_a_column_below_and_left_of_the_whole_curve_is_counted(setting):
    setting.told["predicted"].update(mean_ttft_ms=330, p99_tpot_ms=11)
    assert setting.run().returncode == 3
    figures = setting.figures()
    assert figures["roles free, x1: columns below and left of the whole curve"]["value"] == 2
    assert figures["roles free, x1: columns of 4 that a point of the curve beats in both"][
        "value"] == 0


def test_a_policy_that_keeps_more_bounds_is_a_miss(setting):
    setting.told["goodput"]["lmetric"] = 0.95
    done = setting.run("--tables", setting.folder / "tables.md")
    assert done.returncode == 3
    name = next(name for name in setting.figures() if name.startswith("goodput"))
    figure = setting.figures()[name]
    assert figure["peers"] == {"lmetric": pytest.approx(95.5)}
    assert figure["value"] == pytest.approx(90.5)
    assert figure["detail"]["difference"] == [pytest.approx(-0.05), pytest.approx(0)]
    table = (setting.folder / "tables.md").read_text()
    assert "**95.5**" in table and "-5.0 ± 0.0 (lmetric)" in table


def test_the_same_is_run_once_and_shifts_differ(setting):
    setting.run()
    runs = [" ".join(a for a in run if not a.startswith("/tmp")) for run in setting.runs()]
    assert len(runs) == len(set(runs))
    # A wrong prior is told to those who predict, and to no others.
    assert {run[run.index("--policy") + 1] for run in setting.runs() if "--prior" in run} == \
        {"predicted", "mooncake"}
    shifted = [run for run in setting.runs() if "--jitter" in run]
    assert {run[run.index("--seed") + 1] for run in shifted} == {"0", "1"}


def test_what_was_run_is_not_run_again(setting):
    rows = setting.folder / "rows.json"
    setting.run("--rows", rows)
    (setting.folder / "log").unlink()
    assert setting.run("--rows", rows).returncode == 0
    assert not (setting.folder / "log").exists()


def test_pictures_are_well_formed(setting):
    setting.run("--plot", setting.folder)
    xml.etree.ElementTree.parse(setting.folder / "picking_pareto.svg")


def test_a_simulation_that_fails_is_shown(setting):
    setting.told["fails"] = True
    done = setting.run()
    assert done.returncode == 1
    assert "no such trace" in done.stderr
