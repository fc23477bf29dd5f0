"""The official JavaScript client; its tests are in javascript/client.mjs, one run of node each."""

import pathlib
import subprocess

import pytest

SCRIPT = pathlib.Path(__file__).parent / "javascript" / "client.mjs"


def node(*arguments):
    return subprocess.run(["node", str(SCRIPT), *arguments], capture_output=True, text=True,
                          timeout=120)


TESTS = node("http://127.0.0.1:9", "none").stdout.split()


def test_the_script_has_tests():
    assert {"chat_stream", "errors", "cancellation"} <= set(TESTS)


@pytest.mark.parametrize("name", TESTS)
def test_javascript(system, name):
    result = node(f"{system.url}/v1", system.model_name, name)
    assert result.returncode == 0, result.stdout + result.stderr
