"""perf/instructions with a valgrind and a program that are played: what it does with the counts."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
COMMAND = ROOT / "perf" / "instructions"

PROGRAM = "#!/bin/sh\nprintf 'parse\\t200\\tparse a request\\nplan\\t20\\tplan over pods\\n'\n"

# Counts `instructions` (a line `NAME COUNT...` for each path, one count a run) times its operations.
VALGRIND = '''#!{python}
import pathlib, sys
if sys.argv[1] == "--version":
    sys.exit(print("valgrind-3.19.0"))
options = dict(a.split("=", 1) for a in sys.argv if a.startswith("--") and "=" in a)
assert options["--tool"] == "callgrind" and options["--collect-atstart"] == "no"
assert options["--toggle-collect"] == "baton_counted_operation"
name, operations = sys.argv[-2:]
state = pathlib.Path(__file__).parent / "instructions"
counts = dict(line.split(" ", 1) for line in state.read_text().splitlines())
first, *rest = counts[name].split()
counts[name] = " ".join([*rest, first])
state.write_text("".join(f"{{n}} {{c}}\\n" for n, c in counts.items()))
total = round(float(first) * int(operations))
pathlib.Path(options["--callgrind-out-file"]).write_text(
    f"version: 1\\nevents: Ir\\nfn=(1) main\\n10 5\\ntotals: {{total}}\\n")
'''


class Setting:
    """A build folder whose program has the given counts."""

    def __init__(self, folder):
        self.folder, self.baseline = folder, folder / "baseline.json"
        (folder / "perf").mkdir()
        self.write("perf/perf_hot_paths", PROGRAM)
        self.write("valgrind", VALGRIND.format(python=sys.executable))
        self.compiler("clang 19.1.7")

    def write(self, name, text):
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def compiler(self, version):
        self.write("clang", f"#!/bin/sh\necho '{version}'\n")
        self.write("CMakeCache.txt", "CMAKE_BUILD_TYPE:STRING=Release\n"
                   f"CMAKE_CXX_COMPILER:STRING={self.folder}/clang\n")

    def count(self, parse, plan, *arguments):
        (self.folder / "instructions").write_text(f"parse {parse}\nplan {plan}\n")
        return subprocess.run(
            [sys.executable, COMMAND, "--baseline", self.baseline, *arguments],
            capture_output=True, text=True, timeout=60, check=False,
            env={**os.environ, "BATON_BUILD": str(self.folder),
                 "PATH": f"{self.folder}:{os.environ['PATH']}"})


@pytest.fixture
def setting(tmp_path):
    made = Setting(tmp_path)
    kept = made.count(1000, 50000, "--update")
    assert kept.returncode == 0, kept.stderr
    return made


def test_update_keeps_the_counts_with_the_compiler(setting):
    kept = json.loads(setting.baseline.read_text())["instructions"]
    assert kept["figures"]["parse a request"] == {"value": 1000.0, "tolerance": 0.03}
    assert kept["figures"]["plan over pods"]["value"] == 50000.0
    assert kept["counted_with"]["compiler"] == "clang 19.1.7"
    assert kept["counted_with"]["build_type"] == "Release"


def test_equal_counts_pass(setting):
    done = setting.count(1000, 50000)
    assert done.returncode == 0, done.stderr
    assert "parse a request  1000 instructions  baseline 1000, +0.00%  met" in done.stdout


@pytest.mark.parametrize("plan", [52500, 47500])
def test_a_change_of_5_percent_exits_with_3_and_the_name(setting, plan):
    done = setting.count(1000, plan)
    assert done.returncode == 3
    missed = [line for line in done.stdout.splitlines() if "MISSED" in line]
    assert len(missed) == 1
    assert missed[0].startswith("plan over pods")


def test_a_change_of_2_percent_passes(setting):
    assert setting.count(1020, 49000).returncode == 0


def test_another_compiler_is_not_compared(setting):
    setting.compiler("clang 20.0.0")
    done = setting.count(2000, 50000)
    assert done.returncode == 0
    assert "nothing was compared" in done.stdout
    assert "baseline 1000" not in done.stdout


def test_counts_that_do_not_repeat_are_an_error(setting):
    done = setting.count("1000 1001", 50000)
    assert done.returncode == 1
    assert "parse: counts differ from run to run" in done.stderr


def test_nothing_counted_is_an_error(setting):
    done = setting.count(0, 50000)
    assert done.returncode == 1
    assert "counted nothing" in done.stderr


def test_update_takes_a_change(setting):
    assert setting.count(2000, 50000, "--update").returncode == 0
    assert setting.count(2000, 50000).returncode == 0


def test_the_kept_baseline_has_every_path_of_the_program():
    """Names in hot_paths.cc and in perf/results/baseline.json are the same."""
    source = (ROOT / "perf" / "hot_paths.cc").read_text()
    kept = json.loads((ROOT / "perf" / "results" / "baseline.json").read_text())["instructions"]
    assert len(kept["figures"]) >= 12
    for what in kept["figures"]:
        assert f'"{what}"' in source
