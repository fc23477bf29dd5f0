"""perf/report writes what the results say, and knows when its page is stale."""

import json
import pathlib
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

REPORT = pathlib.Path(__file__).resolve().parents[2] / "perf" / "report"


def run(root, *arguments):
    return subprocess.run([sys.executable, REPORT, "--root", root, *arguments],
                          capture_output=True, text=True, timeout=60, check=False)


def figure(what, value, **members):
    return {"what": what, "value": value, "unit": "us", "target": None, "at_most": True,
            "met": None, "peers": {}, "detail": None, **members}


class Tree:
    """A tree that has results and nothing else."""

    def __init__(self, root):
        self.root = root

    def add(self, date, name, *figures, command=None, notes=()):
        folder = self.root / "perf" / "results" / date
        folder.mkdir(parents=True, exist_ok=True)
        result = {"command": command or f"perf/{name}", "date": date, "commit": f"c{date[-2:]}",
                  "machine": {"cpu": "A CPU", "cores": 2, "kernel": "6.1", "system": "Linux",
                              "load_1m": 0.5},
                  "figures": list(figures), "notes": list(notes)}
        (folder / f"{name}.json").write_text(json.dumps(result))

    def page(self):
        return (self.root / "docs" / "performance.md").read_text()

    def picture(self):
        return (self.root / "docs" / "performance.svg").read_text()


@pytest.fixture
def tree(tmp_path):
    return Tree(tmp_path)


def row_of(page, what):
    return next(line for line in page.splitlines() if line.startswith(f"| {what} |"))


def test_newest_figures_stand_beside_target_peers_and_verdict(tree):
    tree.add("2026-01-02", "cost", figure("a request", 1234.5, target=2000, met=True,
                                          peers={"nginx": 19.216}), notes=["on a busy machine"])
    assert run(tree.root).returncode == 0
    page = tree.page()
    assert row_of(page, "a request") == "| a request | 1,234 us | at most 2,000 | met | nginx 19.2 |"
    assert "2026-01-02, commit `c02`, A CPU, 2 cores, Linux 6.1, load 0.5: `perf/cost`" in page
    assert "- on a busy machine" in page
    assert "Targets: 1 met, 0 missed." in page


def test_what_was_missed_is_named_first(tree):
    tree.add("2026-01-02", "cost", figure("late", 9, target=5, met=False),
             figure("rate", 9, target=5, at_most=False, met=True))
    run(tree.root)
    page = tree.page()
    assert "Targets: 1 met, 1 missed:\n\n- late ([cost](#cost)): 9 us, target at most 5" in page
    assert row_of(page, "late") == "| late | 9 us | at most 5 | **missed** |  |"
    assert "at least 5" in row_of(page, "rate")


def test_older_dates_become_history(tree):
    tree.add("2026-01-01", "cost", figure("a", 3), figure("gone", 7, target=1, met=False))
    tree.add("2026-01-02", "cost", figure("a", 2))
    tree.add("2026-01-03", "cost", figure("a", 1))
    run(tree.root)
    page = tree.page()
    assert "| a | 1 us |  |  |  |" in page
    assert "| figure | 2026-01-02, `c02` | 2026-01-01, `c01` |" in page
    assert "| a | 2 us | 3 us |" in page
    assert "| gone |  | 7 us, missed |" in page


def test_commands_lose_what_is_of_one_machine(tree):
    tree.add("2026-01-02", "cost", figure("a", 1),
             command="perf/cost --rounds 3 --peers /home/me/venv --json /tmp/out.json")
    run(tree.root)
    assert "`perf/cost --rounds 3 --peers PEERS`" in tree.page()
    assert "/home" not in tree.page() and "/tmp" not in tree.page()


def test_picture_shows_ratios_to_peers(tree):
    tree.add("2026-01-02", "cost", figure("cost <x>", 50, peers={"half": 100, "twice": 25}),
             figure("rate", 50, at_most=False, peers={"slow": 25}),
             figure("difference", 3, peers={"both": 10, "one": 7}),
             figure("alone", 4))
    run(tree.root)
    assert "(performance.svg)" in tree.page()
    root = ElementTree.fromstring(tree.picture())
    texts = ["".join(e.itertext()) for e in root.iter("{http://www.w3.org/2000/svg}text")]
    assert "cost <x>" in texts
    assert "0.5×  (50 against 100 us)" in texts
    assert "2×  (50 against 25 us)" in texts
    assert "0.5×  (50 against 25 us)" in texts  # a rate: more is better
    assert "difference" not in texts and "alone" not in texts
    bars = [e.get("class") for e in root.iter("{http://www.w3.org/2000/svg}rect")]
    assert bars == ["better", "worse", "better"]


def test_without_peers_there_is_no_picture(tree):
    tree.add("2026-01-02", "cost", figure("a", 1))
    run(tree.root)
    assert "performance.svg" not in tree.page()
    assert not (tree.root / "docs" / "performance.svg").exists()


def test_check_tells_a_stale_page(tree):
    tree.add("2026-01-02", "cost", figure("a", 1, peers={"b": 2}))
    assert run(tree.root, "--check").returncode == 3
    assert not (tree.root / "docs").exists()
    run(tree.root)
    assert run(tree.root, "--check").returncode == 0
    tree.add("2026-01-03", "cost", figure("a", 1.5, peers={"b": 2}))
    check = run(tree.root, "--check")
    assert check.returncode == 3
    assert "docs/performance.md is not what perf/report writes" in check.stdout


@pytest.mark.parametrize("text", ["{", "[]", '{"figures": []}'])
def test_a_file_that_is_no_result_is_named(tree, text):
    tree.add("2026-01-02", "cost", figure("a", 1))
    (tree.root / "perf" / "results" / "2026-01-02" / "other.json").write_text(text)
    answer = run(tree.root)
    assert answer.returncode == 2
    assert "other.json" in answer.stderr


def test_no_results_is_said(tree):
    (tree.root / "perf" / "results").mkdir(parents=True)
    answer = run(tree.root)
    assert answer.returncode == 1
    assert "no results there" in answer.stderr
