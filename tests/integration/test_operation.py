"""The admin port, and pods that fail, drain and come back."""

import pytest

from harness import System, web

PROMPT = "The baker opened the door and"


def complete(system, **options):
    options = {"model": system.model_name, "prompt": PROMPT, "temperature": 0, "max_tokens": 8,
               **options}
    return system.client().completions.create(**options)


@pytest.fixture
def own_system(model, tmp_path):
    """A system that a test may break."""
    with System(tmp_path, model, prefill=2, decode=2) as system:
        yield system


def test_probes_and_build_info(system):
    assert web.get(f"{system.admin_url}/livez").status_code == 200
    assert web.get(f"{system.admin_url}/readyz").status_code == 200
    assert system.router_metrics().value("baton_build_info") == 1


def test_pods_are_listed(system):
    states = system.pod_states()
    assert set(states) == set(system.members)
    assert all(state["health"] == "healthy" for state in states.values())


def test_requests_are_counted(system):
    def finished():
        metrics = system.router_metrics()
        if not metrics.has("baton_requests_total"):
            return 0
        return metrics.value("baton_requests_total", outcome="ok")

    before = finished()
    complete(system)
    system.wait_until(lambda: finished() == before + 1)


def test_drained_pod_gets_nothing_new(own_system):
    system = own_system
    answer = web.post(f"{system.admin_url}/pods/prefill-0/drain")
    assert answer.status_code in (200, 202, 204)
    system.wait_until(lambda: system.pod_states()["prefill-0"]["health"] == "draining")
    for _ in range(4):
        raw = system.client().completions.with_raw_response.create(
            model=system.model_name, prompt=PROMPT, max_tokens=2)
        assert raw.headers["x-baton-prefill"] == "prefill-1"


def test_dead_pod_is_ejected_and_taken_back(own_system):
    system = own_system
    system.kill("decode-1")
    system.wait_until(lambda: system.pod_states()["decode-1"]["health"] == "ejected")
    for _ in range(3):
        assert complete(system).choices[0].text
    system.restart("decode-1")
    system.wait_until(lambda: system.pod_states()["decode-1"]["health"] == "healthy")
    system.wait_until(system.quiet)


def test_no_decode_pod_at_all_is_an_answer_that_names_the_stage(model, tmp_path):
    with System(tmp_path, model, prefill=1, decode=1, pool="    empty_wait_seconds: 0.2\n") as system:
        system.kill("decode-0")
        system.wait_until(lambda: system.pod_states()["decode-0"]["health"] == "ejected")
        answer = system.post("/v1/completions", {"model": system.model_name, "prompt": PROMPT,
                                                 "max_tokens": 2})
        assert answer.status_code == 503
        assert answer.json()["error"]["stage"] == "decode"
        assert int(answer.headers["retry-after"]) >= 0
