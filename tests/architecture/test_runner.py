"""tests/run itself: what it does when the time it was given is over."""

import os
import pathlib
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def test_what_has_no_time_left_is_skipped_and_said():
    done = subprocess.run(
        ["tests/run", "docs", "unit-asan"], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "BATON_TEST_MINUTES": "0"}, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "BATON_TEST_MINUTES=0 are over" in done.stdout
    assert done.stdout.splitlines()[-1] == "0 passed, 0 failed, 2 skipped"
