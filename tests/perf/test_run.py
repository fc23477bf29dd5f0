"""perf/run finds every benchmark, runs them all whatever becomes of one, and says how it went."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PERF = ROOT / "perf"

# A benchmark like those of perf/: it takes its figure and its target from its name.
BENCHMARK = '''#!/usr/bin/env python3
"""Measures {name}.

Benchmark: 5 s, 2 s with --quick.
"""
import sys
sys.path.insert(0, "{perf}")
import common

report = common.Report("{name}", __doc__)
args = report.parse()
report.add("figure of {name}", {value}, "us", {target})
report.finish(args)
'''


def execute(*arguments):
    return subprocess.run([sys.executable, *map(str, arguments)], capture_output=True, text=True,
                          timeout=60, check=False)


@pytest.fixture
def folder(tmp_path):
    """A folder for benchmarks; `add` puts one there."""
    path = tmp_path / "benchmarks"
    path.mkdir()
    return path


def add(folder, name, value=1, target=2, text=BENCHMARK):
    path = folder / name
    path.write_text(text.format(name=name, value=value, target=target, perf=PERF))
    path.chmod(0o755)


def run(folder, tmp_path, *arguments):
    return execute(PERF / "run", "--folder", folder, "--results", tmp_path / "results", *arguments)


def test_list_names_every_command_that_reports_figures():
    reporting = {"-".join(path.relative_to(PERF).parts)
                 for path in [*PERF.glob("*"), *PERF.glob("kv_transfer/*"), *PERF.glob("policies/*"),
                              *PERF.glob("split_or_not/*")]
                 if path.is_file() and os.access(path, os.X_OK)
                 and re.search(r"common\.Report\(", path.read_text())}
    listing = execute(PERF / "run", "--list")
    assert listing.returncode == 0, listing.stderr
    lines = listing.stdout.splitlines()
    assert {line.split()[0] for line in lines} == reporting
    assert {"router_cpu", "split_ttft", "instructions"} <= reporting
    for line in lines:
        assert re.match(r"[\w-]+ +\d+ s  \w.*", line), "name, seconds and what it is"


def test_every_command_takes_the_common_options():
    for line in execute(PERF / "run", "--list").stdout.splitlines():
        shown = execute(PERF / line.split()[0].replace("-", "/"), "--help")
        assert shown.returncode == 0, shown.stderr
        assert "--json FILE" in shown.stdout
        assert "--quick" in shown.stdout


def test_all_met_exits_with_0_and_writes_results(folder, tmp_path):
    add(folder, "first")
    add(folder, "second")
    (folder / "notes.txt").write_text("Benchmark: 5 s, 2 s with --quick.")
    done = run(folder, tmp_path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^first +1 +1 +0 +\d", done.stdout, re.MULTILINE)
    assert re.search(r"^second +1 +1 +0 +\d", done.stdout, re.MULTILINE)
    result = json.loads((tmp_path / "results" / "first.json").read_text())
    assert result["command"].startswith("perf/first --json ")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", result["date"])
    assert result["commit"]
    assert {"cpu", "cpu_flags", "cores", "kernel", "load_1m_before", "load_1m"} \
        <= set(result["machine"])
    assert {"type", "compiler", "flags", "baton"} == set(result["build"])
    assert result["figures"][0]["met"] is True


def test_a_missed_target_exits_with_3(folder, tmp_path):
    add(folder, "missing", value=3, target=2)
    add(folder, "other")
    done = run(folder, tmp_path)
    assert done.returncode == 3
    assert "figure of missing  3 us  target <= 2  MISSED" in done.stdout
    assert re.search(r"^missing +1 +0 +1 ", done.stdout, re.MULTILINE)
    assert re.search(r"^other +1 +1 +0 ", done.stdout, re.MULTILINE)


def test_a_failed_command_exits_with_1_and_the_others_run(folder, tmp_path):
    add(folder, "broken", value="1 / 0")
    add(folder, "missing", value=3, target=2)
    add(folder, "other")
    done = run(folder, tmp_path)
    assert done.returncode == 1
    assert re.search(r"^broken +0 +0 +0 .*FAILED with 1$", done.stdout, re.MULTILINE)
    assert (tmp_path / "results" / "other.json").exists()


def test_a_command_that_writes_nothing_has_failed(folder, tmp_path):
    silent = '#!/usr/bin/env python3\n"""{name}.\n\nBenchmark: 5 s, 2 s with --quick.\n"""\n'
    add(folder, "silent", text=silent)
    done = run(folder, tmp_path)
    assert done.returncode == 1
    assert "silent left no results" in done.stdout


def test_an_old_result_does_not_stand_for_a_failed_run(folder, tmp_path):
    add(folder, "first")
    assert run(folder, tmp_path).returncode == 0
    add(folder, "first", value="1 / 0")
    assert run(folder, tmp_path).returncode == 1
    assert not (tmp_path / "results" / "first.json").exists()


def test_only_runs_those(folder, tmp_path):
    add(folder, "first", value=3, target=2)
    add(folder, "second")
    assert run(folder, tmp_path, "--only", "second").returncode == 0
    assert [p.name for p in (tmp_path / "results").iterdir()] == ["second.json"]
    unknown = run(folder, tmp_path, "--only", "third")
    assert unknown.returncode == 2
    assert "no benchmark third; there are first, second" in unknown.stderr


def test_quick_reaches_the_commands(folder, tmp_path):
    add(folder, "first")
    assert run(folder, tmp_path, "--quick").returncode == 0
    result = json.loads((tmp_path / "results" / "first.json").read_text())
    assert result["command"].endswith(" --quick")


def test_check_compares_what_was_run(folder, tmp_path):
    add(folder, "first")
    done = run(folder, tmp_path, "--check")
    assert done.returncode == 0
    assert "0 held figures: 0 as in the baseline, 0 failed" in done.stdout
    assert run(folder, tmp_path, "--check", "--quick").returncode == 2


def test_the_default_folder_is_of_today():
    shown = execute(PERF / "run", "--help").stdout
    assert "perf/results/<today, UTC>" in " ".join(shown.split())
