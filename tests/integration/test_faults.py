"""Pods that die and clients that leave, at each stage of a request."""

import json
import random
import socket
import threading

import httpx
import pytest
from harness import System, wait_until, web

LONG = 6000  # prompt tokens: prefill takes long enough to be interrupted


@pytest.fixture
def fragile(model, tmp_path):
    """A system of its own for each test, since its pods die."""
    with System(tmp_path, model, prefill=2, decode=2, single=True) as system:
        yield system


def prompt(seed, length=LONG):
    rng = random.Random(seed)
    return [rng.randrange(32, 127) for _ in range(length)]


def body(system, ids, **more):
    return {"model": system.model_name, "prompt": ids, "max_tokens": 16, "temperature": 0,
            "ignore_eos": True, **more}


def running(system, name):
    return system.metrics(name).value("vllm:num_requests_running") > 0


def busy_pod(system, role):
    """The pod of that role that works on the only request, as soon as one does."""
    names = [name for name in system.members if name.startswith(role)]
    return wait_until(lambda: next((n for n in names if running(system, n)), None),
                      what=f"a {role} pod runs the request")


class Background:
    """A request in a thread of its own."""

    def __init__(self, system, request):
        self.response = self.error = None
        self._thread = threading.Thread(target=self._run, args=(system, request))
        self._thread.start()

    def _run(self, system, request):
        try:
            self.response = system.post("/v1/completions", request)
        except httpx.HTTPError as error:
            self.error = error

    def result(self):
        self._thread.join(60)
        assert not self._thread.is_alive(), "the request did not end"
        assert self.error is None, self.error
        return self.response


def check_quiet(system):
    system.wait_until(system.quiet, what="nothing runs and nothing is pinned")


def test_prefill_pod_killed_in_the_middle_is_still_answered(fragile):
    request = body(fragile, prompt(1))
    expected = fragile.post("/v1/completions", request, pod="single").json()
    background = Background(fragile, request)
    victim = busy_pod(fragile, "prefill")
    fragile.kill(victim)
    response = background.result()
    assert response.status_code == 200, response.text
    assert response.json()["choices"][0]["text"] == expected["choices"][0]["text"]
    assert response.headers.get("x-baton-prefill") != victim
    assert fragile.router_metrics().value("baton_retries_total") >= 1
    check_quiet(fragile)


def test_decode_pod_killed_before_its_first_token_is_still_answered(fragile):
    request = body(fragile, prompt(2))
    expected = fragile.post("/v1/completions", request, pod="single").json()
    background = Background(fragile, request)
    busy_pod(fragile, "prefill")
    victim = next(n for n in fragile.members if n.startswith("decode") and
                  (running(fragile, n) or
                   fragile.metrics(n).value("vllm:num_requests_waiting") > 0))
    fragile.kill(victim)
    response = background.result()
    assert response.status_code == 200, response.text
    assert response.json()["choices"][0]["text"] == expected["choices"][0]["text"]
    assert response.headers["x-baton-decode"] != victim
    check_quiet(fragile)


def test_decode_pod_killed_in_the_stream_ends_it_with_an_error_event(fragile):
    request = body(fragile, prompt(3, 100), max_tokens=8000, stream=True)
    events = []
    with web.stream("POST", f"{fragile.url}/v1/completions", json=request, timeout=60) as stream:
        assert stream.status_code == 200
        victim = stream.headers["x-baton-decode"]
        try:
            for line in stream.iter_lines():
                if line.startswith("data: "):
                    events.append(line[len("data: "):])
                if len(events) == 3:
                    fragile.kill(victim)
        except httpx.HTTPError:
            pass  # the connection may be closed behind the event
    assert "[DONE]" not in events
    error = json.loads(events[-1])["error"]
    assert error["stage"] == "decode" and error["message"]
    check_quiet(fragile)


def test_all_prefill_pods_dead_is_answered_by_a_decode_pod(fragile):
    request = body(fragile, prompt(4, 500))
    expected = fragile.post("/v1/completions", request, pod="single").json()
    for name in ("prefill-0", "prefill-1"):
        fragile.kill(name)
    response = fragile.post("/v1/completions", request)
    assert response.status_code == 200, response.text
    assert response.json()["choices"][0]["text"] == expected["choices"][0]["text"]
    assert "x-baton-prefill" not in response.headers
    check_quiet(fragile)


def test_no_decode_pod_is_503_with_the_stage_and_a_time(model, tmp_path):
    with System(tmp_path, model, prefill=1, decode=1,
                pool="    empty_wait_seconds: 1\n") as system:
        system.kill("decode-0")
        response = system.post("/v1/completions", body(system, prompt(5, 10)))
        assert response.status_code == 503
        assert response.json()["error"]["stage"] == "decode"
        assert int(response.headers["retry-after"]) >= 1


def test_a_pod_that_comes_back_is_taken_back(fragile):
    fragile.kill("prefill-0")
    fragile.wait_until(lambda: fragile.pod_states()["prefill-0"]["health"] == "ejected")
    fragile.restart("prefill-0")
    fragile.wait_until(lambda: fragile.pod_states()["prefill-0"]["health"] == "healthy")
    fragile.kill("prefill-1")
    response = fragile.post("/v1/completions", body(fragile, prompt(6, 300)))
    assert response.status_code == 200
    assert response.headers["x-baton-prefill"] == "prefill-0"


def leave(system, request, when):
    """Sends a request, waits until `when()` is true, and closes the connection."""
    content = json.dumps(request).encode()
    head = (f"POST /v1/completions HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\n\r\n").encode()
    with socket.create_connection(("127.0.0.1", system.router.port)) as connection:
        connection.sendall(head + content)
        when(connection)


def test_client_leaving_in_prefill_stops_both_legs(fragile):
    leave(fragile, body(fragile, prompt(7)), lambda _: busy_pod(fragile, "prefill"))
    check_quiet(fragile)
    assert fragile.router_metrics().value("baton_requests_total", outcome="client_left") == 1


def test_client_leaving_in_the_stream_stops_the_decode_pod(fragile):
    request = body(fragile, prompt(8, 300), max_tokens=8000, stream=True)
    leave(fragile, request, lambda connection: connection.recv(65536))
    check_quiet(fragile)


def test_clients_leaving_at_any_moment_leave_nothing_pinned(fragile):
    rng = random.Random(9)
    for _ in range(30):
        request = body(fragile, prompt(rng.random(), rng.randrange(1, 2000)), stream=True,
                       max_tokens=400)
        pause = threading.Event()
        leave(fragile, request, lambda _, p=pause: p.wait(rng.random() * 0.4))
    check_quiet(fragile)


def test_a_client_may_leave_a_broken_hand_off_connection(fragile):
    """Both prefill pods fall silent, the client gives up: the decode pod lets go as well."""
    for name in ("prefill-0", "prefill-1"):
        fragile.pause(name)
    try:
        leave(fragile, body(fragile, prompt(10, 2000)), lambda _: busy_or_waiting(fragile))
    finally:
        for name in ("prefill-0", "prefill-1"):
            fragile.resume(name)
    check_quiet(fragile)


def busy_or_waiting(system):
    def somewhere():
        return any(system.metrics(f"decode-{i}").value(figure) > 0 for i in range(2)
                   for figure in ("vllm:num_requests_running", "vllm:num_requests_waiting"))
    return wait_until(somewhere, what="a decode pod has the request")
