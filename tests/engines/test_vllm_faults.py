"""Clients that leave, servers that die and leases that run out, at each stage of a hand-off between
real vLLM servers: each ends as docs/operations.md says, and no block stays held."""

import concurrent.futures
import contextlib
import itertools
import json
import os
import random
import signal
import socket
import time

import pytest
from answers import read, text
from harness import wait_until
from vllm_servers import LEASE

LONG = 900  # words, of nearly two tokens each

numbers = itertools.count()


@pytest.fixture(autouse=True)
def idle_afterwards(pair):
    yield
    pair.wait_idle()


def prompt(words):
    number = next(numbers)
    return f"{number} {text(random.Random(f'faults {number}'), words)}"


class Client:
    """A request on a socket of its own, which can be left at any time."""

    def __init__(self, pair, **fields):
        body = json.dumps({"model": "tiny", "temperature": 0, "ignore_eos": True, **fields}).encode()
        self.socket = socket.create_connection(("127.0.0.1", pair.router.port))
        self.socket.settimeout(60)
        self.socket.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\nconnection: close\r\n"
                            b"content-type: application/json\r\n"
                            b"content-length: %d\r\n\r\n%s" % (len(body), body))

    def leave(self):
        self.socket.close()

    def first_bytes(self):
        return self.socket.recv(65536)

    def answer(self):
        received = b""
        while piece := self.socket.recv(65536):
            received += piece
        self.socket.close()
        head, _, body = received.partition(b"\r\n\r\n")
        return int(head.split()[1]), head.decode().lower(), body.decode()


def finished(server):
    return server.metric("vllm:request_success_total")


@contextlib.contextmanager
def stopped(process_group):
    """Its processes do nothing meanwhile; what arrives at them waits."""
    os.killpg(process_group, signal.SIGSTOP)
    try:
        yield
    finally:
        os.killpg(process_group, signal.SIGCONT)


@contextlib.contextmanager
def held_after_prefill(pair, **fields):
    """A client whose request the prefill server has answered to a router that is held back."""
    done = finished(pair.prefill)
    with stopped(pair.prefill.child.pid):
        client = Client(pair, **fields)
        wait_until(lambda: pair.router_metric("baton_open_requests") == 1)
        wait_until(lambda: pair.pods()["prefill-0"]["load"]["in_flight"] == 1)
        time.sleep(0.05)  # the request is on its way
        pair.router.process.signal(signal.SIGSTOP)
    try:
        wait_until(lambda: finished(pair.prefill) == done + 1, 20, "the prefill server answered")
        yield client
    finally:
        pair.router.process.signal(signal.SIGCONT)


def expired(pair):
    return pair.prefill.metric("vllm:nixl_num_kv_expired_reqs_total")


def test_client_leaves_during_prefill(pair):
    before = pair.transfers()
    with stopped(pair.prefill.child.pid):
        client = Client(pair, prompt=prompt(LONG), max_tokens=4)
        wait_until(lambda: pair.router_metric("baton_open_requests") == 1)
        client.leave()
        wait_until(lambda: pair.router_metric("baton_open_requests") == 0)
    pair.wait_idle()
    assert pair.transfers() == before


def test_client_leaves_between_the_legs(pair):
    """The blocks are given back at once: they are gone well before their lease."""
    expired_before, transfers = expired(pair), pair.transfers()
    released = pair.router_metric("baton_lease_releases_total", result="ok")
    with held_after_prefill(pair, prompt=prompt(LONG), max_tokens=4) as client:
        assert pair.prefill.metric("vllm:kv_cache_usage_perc") > 0
        client.leave()
        time.sleep(0.1)  # the kernel tells the router of both at once when it goes on
    pair.wait_idle(LEASE - 2)
    assert pair.router_metric("baton_lease_releases_total", result="ok") == released + 1
    assert (expired(pair), pair.transfers()) == (expired_before, transfers)


def test_client_leaves_in_the_stream(pair):
    client = Client(pair, prompt=prompt(100), max_tokens=1500, stream=True)
    assert b" 200 " in client.first_bytes()
    client.leave()
    pair.wait_idle(10)


def test_a_lease_that_ran_out_is_not_read(pair):
    """A router that is held back longer than the lease does the pair again: what a decode server
    would read now may be another prompt's."""
    before, lost = expired(pair), pair.router_metric("baton_leg_failures_total", stage="handoff")
    words = prompt(LONG)
    with held_after_prefill(pair, prompt=words, max_tokens=4) as client:
        wait_until(lambda: expired(pair) == before + 1, LEASE + 10, "the lease ran out")
    status, head, body = client.answer()
    assert status == 200 and "x-baton-prefill" in head, head + body
    assert pair.router_metric("baton_leg_failures_total", stage="handoff") == lost + 1
    single = pair.post("/v1/completions", {"prompt": words, "max_tokens": 4, "temperature": 0,
                                           "ignore_eos": True}, at=pair.prefill)
    assert json.loads(body)["choices"][0]["text"] == read(single)["text"]


def test_prefill_server_dies_between_the_legs(pair):
    """The decode server cannot read the blocks: its error is not the client's."""
    words = prompt(LONG)
    with held_after_prefill(pair, prompt=words, max_tokens=4) as client:
        pair.prefill.kill()
    try:
        status, head, body = client.answer()
        assert status == 200, head + body
        assert json.loads(body)["usage"]["completion_tokens"] == 4
    finally:
        pair.prefill.start()
        pair.prefill.wait_ready()
    check_split_again(pair)


def check_split_again(pair):
    """A request is split again soon, and its blocks arrive."""
    before = pair.transfers()

    def split():
        answer = pair.post("/v1/completions", {"prompt": prompt(60), "max_tokens": 2})
        assert answer.status_code == 200, answer.text
        return "x-baton-prefill" in answer.headers and pair.transfers() > before
    wait_until(split, 60, "a request is split again")


class Load:
    """Requests one after the other from two clients until told to stop."""

    def __init__(self, pair):
        self.pair, self.stopping = pair, False
        self.pool = concurrent.futures.ThreadPoolExecutor(2)
        self.rows = [self.pool.submit(self._run) for _ in range(2)]

    def _run(self):
        statuses = []
        while not self.stopping:
            answer = self.pair.post("/v1/completions", {"prompt": prompt(80), "max_tokens": 4})
            statuses.append((answer.status_code, answer.text if answer.status_code != 200 else ""))
        return statuses

    def end(self):
        self.stopping = True
        statuses = [status for row in self.rows for status in row.result(120)]
        self.pool.shutdown()
        return statuses


def restart_under_load(pair, server):
    """Kills a server and starts it again while requests come; returns how they ended."""
    load = Load(pair)
    wait_until(lambda: pair.router_metric("baton_open_requests") > 0)
    server.kill()
    wait_until(lambda: pair.pods()[server.name]["health"] != "healthy", 30, "the router noticed")
    server.start()
    server.wait_ready()
    wait_until(lambda: pair.pods()[server.name]["health"] == "healthy", 30, "the router noticed")
    return load.end()


def test_prefill_server_is_killed_and_restarted_under_load(pair):
    """Its requests are served by the decode server alone until it is back."""
    statuses = restart_under_load(pair, pair.prefill)
    assert statuses and all(status == 200 for status, _ in statuses), statuses
    check_split_again(pair)


def test_decode_server_is_killed_and_restarted_under_load(pair):
    """There is no other: its requests fail with 503 and a reason, and nothing hangs."""
    statuses = restart_under_load(pair, pair.decode)
    assert {status for status, _ in statuses} <= {200, 503}, statuses
    check_split_again(pair)
