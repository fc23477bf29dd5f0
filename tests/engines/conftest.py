"""Fixtures of the tests that run before a real vLLM (`make test-vllm`)."""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration"))

from vllm_servers import Files, VllmPair  # noqa: E402  (needs the path above)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    venv = os.environ.get("BATON_VLLM_VENV")
    assert venv, "BATON_VLLM_VENV names no environment; run `make test-vllm`"
    return Files(venv, tmp_path_factory.mktemp("vllm-files"))


@pytest.fixture(scope="module")
def pair(files, tmp_path_factory):
    """A pair that hands over by NIXL, where the decode server pulls."""
    with VllmPair(tmp_path_factory.mktemp("pair"), files) as started:
        yield started


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Adds the ends of the logs to a failure."""
    report = yield
    if report.failed and hasattr(report.longrepr, "addsection"):
        for value in item.funcargs.values():
            if isinstance(value, VllmPair):
                report.longrepr.addsection("logs", value.logs())
    return report
