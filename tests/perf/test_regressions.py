"""The comparison with the baseline sees what got worse, and nothing else."""

import copy
import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PERF = ROOT / "perf"

ROUTER = {
    "command": "perf/router_cpu", "date": "2026-11-26", "commit": "abc", "machine": {"cpu": "C"},
    "figures": [
        {"what": "CPU per request", "value": 55.0, "unit": "us", "target": 75, "at_most": True,
         "either_way": False, "met": True, "peers": {"nginx": 20.0, "other router": 110.0},
         "tolerance": 0.08, "detail": None},
        {"what": "requests per second", "value": 1000.0, "unit": "1/s", "target": None,
         "at_most": False, "either_way": False, "met": None, "peers": {"nginx": 4000.0},
         "tolerance": 0.08, "detail": None},
        {"what": "memory ratio", "value": 1.01, "unit": "x", "target": 1.1, "at_most": True,
         "either_way": False, "met": True, "peers": {}, "tolerance": 0.08, "detail": None},
        {"what": "noise", "value": 3.0, "unit": "ms", "target": None, "at_most": True,
         "either_way": False, "met": None, "peers": {"nginx": 1.0}, "tolerance": None,
         "detail": None},
    ],
}
COUNTS = {
    "command": "perf/instructions", "date": "2026-11-26", "commit": "abc", "machine": {"cpu": "C"},
    "counted_with": {"compiler": "clang 19.1.7", "valgrind": "3.19.0"},
    "figures": [
        {"what": "parse a request", "value": 11690.0, "unit": "instructions", "target": 11690.0,
         "at_most": True, "either_way": True, "met": True, "peers": {}, "tolerance": 0.03,
         "detail": None},
    ],
}


class Setting:
    """Results in a folder, and the baseline made of the same results."""

    def __init__(self, folder):
        self.folder, self.baseline = folder / "2026-11-26", folder / "baseline.json"
        self.folder.mkdir()
        self.router, self.counts = copy.deepcopy(ROUTER), copy.deepcopy(COUNTS)
        assert self.regressions("--update").returncode == 0
        self.kept = json.loads(self.baseline.read_text())

    def regressions(self, *arguments):
        for name, result in (("router_cpu", self.router), ("instructions", self.counts)):
            (self.folder / f"{name}.json").write_text(json.dumps(result))
        return subprocess.run(
            [sys.executable, PERF / "regressions", self.folder, "--baseline", self.baseline,
             *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def setting(tmp_path):
    return Setting(tmp_path)


def test_equal_results_pass(setting):
    done = setting.regressions()
    assert done.returncode == 0, done.stdout
    assert "5 held figures: 5 as in the baseline, 0 failed" in done.stdout


def test_a_slower_machine_passes(setting):
    for figure in setting.router["figures"][:1]:
        figure["value"] *= 3
        figure["peers"] = {name: 3 * value for name, value in figure["peers"].items()}
    assert setting.regressions().returncode == 0


def test_a_ratio_that_is_10_percent_worse_fails_with_its_name(setting):
    setting.router["figures"][0]["value"] *= 1.10
    done = setting.regressions()
    assert done.returncode == 3
    assert "worse        router_cpu: CPU per request, to nginx" in done.stdout
    assert "+10.0 %" in done.stdout


def test_fewer_is_worse_where_more_is_better(setting):
    setting.router["figures"][1]["value"] *= 0.90
    done = setting.regressions()
    assert done.returncode == 3
    assert "worse        router_cpu: requests per second, to nginx" in done.stdout


def test_a_better_ratio_is_told_and_passes(setting):
    setting.router["figures"][0]["value"] *= 0.80
    done = setting.regressions()
    assert done.returncode == 0
    assert "better       router_cpu: CPU per request, to nginx" in done.stdout


def test_a_ratio_within_its_tolerance_passes(setting):
    setting.router["figures"][0]["value"] *= 1.05
    assert setting.regressions().returncode == 0


def test_a_ratio_without_peers_is_held_itself(setting):
    setting.router["figures"][2]["value"] *= 1.10
    assert setting.regressions().returncode == 3


def test_a_figure_without_tolerance_is_not_held(setting):
    setting.router["figures"][3]["value"] *= 10
    assert setting.regressions().returncode == 0


@pytest.mark.parametrize("factor", [1.05, 0.95])
def test_a_count_that_moved_5_percent_fails_either_way(setting, factor):
    setting.counts["figures"][0]["value"] *= factor
    done = setting.regressions()
    assert done.returncode == 3
    assert "moved        instructions: parse a request" in done.stdout


def test_a_count_that_moved_2_percent_passes(setting):
    setting.counts["figures"][0]["value"] *= 1.02
    assert setting.regressions().returncode == 0


def test_counts_of_another_compiler_are_not_compared(setting):
    setting.counts["counted_with"]["compiler"] = "clang 20.0.0"
    setting.counts["figures"][0]["value"] *= 2
    done = setting.regressions()
    assert done.returncode == 0
    assert "other tools  instructions: parse a request" in done.stdout


def test_ratios_of_a_busy_machine_are_not_judged_and_not_kept(setting):
    setting.router["machine"] = {"cpu": "C", "cores": 2, "load_1m_before": 14.0}
    setting.router["figures"][0]["value"] *= 2
    done = setting.regressions()
    assert done.returncode == 0
    assert "busy         router_cpu: CPU per request, to nginx" in done.stdout
    assert setting.regressions("--update").returncode == 0
    assert json.loads(setting.baseline.read_text())["router_cpu"] == setting.kept["router_cpu"]


def test_counts_of_a_busy_machine_are_judged(setting):
    setting.counts["machine"] = {"cpu": "C", "cores": 2, "load_1m_before": 14.0}
    setting.counts["figures"][0]["value"] *= 1.05
    assert setting.regressions().returncode == 3


def test_a_peer_that_is_not_installed_is_named_and_passes(setting):
    del setting.router["figures"][0]["peers"]["other router"]
    done = setting.regressions()
    assert done.returncode == 0
    assert "no peer      router_cpu: CPU per request, to other router" in done.stdout


def test_a_figure_that_is_no_longer_measured_fails(setting):
    del setting.router["figures"][2]
    done = setting.regressions()
    assert done.returncode == 3
    assert "gone         router_cpu: memory ratio" in done.stdout


def test_a_new_figure_is_named_and_passes(setting):
    setting.router["figures"].append({**ROUTER["figures"][2], "what": "another ratio"})
    done = setting.regressions()
    assert done.returncode == 0
    assert "new          router_cpu: another ratio" in done.stdout


def test_update_keeps_peers_that_this_machine_lacks(setting):
    del setting.router["figures"][0]["peers"]["other router"]
    setting.router["figures"][0]["value"] = 66.0
    assert setting.regressions("--update").returncode == 0
    figures = json.loads(setting.baseline.read_text())["router_cpu"]["figures"]
    assert figures["CPU per request, to nginx"]["value"] == 3.3
    assert figures["CPU per request, to other router"]["value"] == 0.5


def test_only_judges_those(setting):
    setting.router["figures"][0]["value"] *= 2
    assert setting.regressions("--only", "instructions").returncode == 0
    assert setting.regressions("--only", "router_cpu").returncode == 3
    assert setting.regressions("--only", "split_ttft").returncode == 2


def test_other_json_files_are_left_alone(setting):
    (setting.folder / "trace.json").write_text("[1, 2]")
    assert setting.regressions().returncode == 0


def test_a_folder_without_results_is_an_input_error(tmp_path):
    done = subprocess.run([sys.executable, PERF / "regressions", tmp_path], capture_output=True,
                          text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "no results there" in done.stderr


def test_the_newest_results_are_of_the_latest_date(tmp_path):
    sys.path.insert(0, str(PERF))
    import baseline  # pylint: disable=import-outside-toplevel
    for name in ("2026-09-30", "2026-11-21", "2025-12-31", "notes"):
        (tmp_path / name).mkdir()
    assert baseline.newest_results(tmp_path).name == "2026-11-21"
    assert baseline.newest_results(tmp_path / "notes") is None
