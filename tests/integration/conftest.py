"""Fixtures of the integration tests: one made model, one system that most tests share."""

import pytest
from harness import BATON, Model, System


def pytest_addoption(parser):
    parser.addoption("--soak", action="store_true", help="run the long forms of the tests")


@pytest.fixture(scope="session")
def soak(request):
    return request.config.getoption("--soak")


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    assert BATON.exists(), f"{BATON} is not built (make build)"
    return Model.make(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def shared_system(model, tmp_path_factory):
    with System(tmp_path_factory.mktemp("system"), model, prefill=2, decode=2, single=True,
                loras=[("shout", model.lora)]) as system:
        yield system


@pytest.fixture
def system(shared_system):
    """The shared system; nothing may be left in it when a test has ended."""
    yield shared_system
    shared_system.wait_until(shared_system.quiet, what="the system is quiet after the test")


@pytest.fixture
def client(system):
    return system.client()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    System.of_this_test.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    """Adds the ends of the logs to a failure."""
    report = yield
    if report.failed and hasattr(report.longrepr, "addsection"):
        shared = [value for value in item.funcargs.values() if isinstance(value, System)]
        for system in {*shared, *System.of_this_test}:
            report.longrepr.addsection("logs of the system", system.logs())
    return report
