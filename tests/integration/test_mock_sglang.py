"""The router before mock pods in SGLang's dress: the same answers as one server's, both legs in one
room, and nobody left waiting when one of them fails or its client leaves."""

import time

import pytest
from harness import wait_until
from mocks import (PROMPT, SHAPES, MockSystem, chat, check_a_leg_that_fails_once_is_done_again,
                   choices, completion, send_unread, system)
from test_faults import Background


class SglangSystem(MockSystem):
    LEFT = (*MockSystem.LEFT, "bootstrapping", "rooms_asked_for", "waiting_for_kv")

    def __init__(self, folder, **options):
        super().__init__(folder, connector="sglang", **options)


# A leg that waits in vain would do so for a minute.
OPTIONS = ["--enable-prompt-tokens-details", "--bootstrap-timeout-seconds", "60",
           "--waiting-timeout-seconds", "60"]


@pytest.fixture(scope="module")
def mocks(tmp_path_factory):
    with SglangSystem(tmp_path_factory.mktemp("sglang"), prefill=2, decode=2, mock_options=[
            *OPTIONS, "--latency-profile", "prefill_ms=2,step_ms=1,transfer_ms=1"]) as system:
        yield system


@pytest.fixture
def slow(tmp_path):
    """One pair whose prefill takes seconds."""
    with SglangSystem(tmp_path, prefill=2, decode=1, mock_options=OPTIONS, pod_options={
            name: ["--latency-profile", "prefill_ms=3000"]
            for name in ("prefill-0", "prefill-1")}) as system:
        yield system


SHAPES = {
    **SHAPES,
    "one token": ("/v1/completions", completion(max_tokens=1)),
    "batch": ("/v1/completions", completion(prompt=[PROMPT, "Of the land.", "Of the sky."])),
    "batch of ids": ("/v1/completions", completion(prompt=[[301, 302], [303, 304, 305]])),
    "chat max_completion_tokens": ("/v1/chat/completions", chat(max_completion_tokens=9)),
    "unknown fields": ("/v1/completions", completion(a_new_field={"deep": [1, 2 ** 62]})),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_split_answer_is_that_of_one_server(system, shape):
    system.check_answer(*SHAPES[shape])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_split_stream_is_that_of_one_server(system, shape):
    system.check_stream(*SHAPES[shape])


def test_both_legs_name_one_room_at_the_prefill_server(system):
    body = completion(stream=True, stream_options={"include_usage": True}, user="u")
    system.events("/v1/completions", body)
    system.post("/v1/completions", completion())
    legs = system.legs()
    rooms = set()
    for prefill, decode in zip(legs["prefill"], legs["decode"], strict=True):
        for name in ("bootstrap_host", "bootstrap_port", "bootstrap_room"):
            assert prefill["body"][name] == decode["body"][name]
        room = prefill["body"]["bootstrap_room"]
        assert isinstance(room, int) and 0 <= room < 2 ** 63
        rooms.add(room)
        assert prefill["completion_tokens"] == 1
    assert len(rooms) == 2
    assert legs["decode"][0]["body"]["stream_options"] == {"include_usage": True}
    system.check_clean()


def test_cached_tokens_are_those_of_the_prefill_server(system):
    request = completion(prompt="Of what was said before and is said again. " * 8)
    for _ in range(3):
        answer = system.post("/v1/completions", request)
    prefill = system.legs()["prefill"][-1]
    details = answer.json()["usage"]["prompt_tokens_details"]
    assert (details or {}).get("cached_tokens", 0) == prefill["cached_tokens"]
    system.check_clean()


def test_several_answers_to_a_prompt_are_refused_and_reach_no_pod(system):
    answer = system.post("/v1/completions", completion(n=2))
    assert answer.status_code >= 400
    assert "n > 1" in answer.text
    assert system.legs() == {"prefill": [], "decode": [], "plain": []}


def test_a_prefill_that_fails_cancels_decode_at_once(system):
    for name in ("prefill-0", "prefill-1"):
        system.faults(name, "status=500@prefill")
    begun = time.monotonic()
    answer = system.post("/v1/completions", completion())
    assert answer.status_code >= 500
    assert time.monotonic() - begun < 10
    wait_until(lambda: all(r["outcome"] == "left" for r in system.legs()["decode"]),
               what="no decode leg waits for the failed prefill")
    system.check_clean()


def test_a_refusal_of_the_engine_is_the_answer(system):
    answer = system.post("/v1/completions", completion(top_p=7))
    assert answer.status_code == 400
    assert "top_p must be in (0, 1]" in answer.text
    system.check_clean()


# What a decode server has begun to say is the client's by then.
@pytest.mark.parametrize("leg,fault", [
    *(("prefill", fault) for fault in ("status=503", "reset", "nothing", "garbage", "half_json",
                                       "error_in_200", "half_close")),
    *(("decode", fault) for fault in ("status=503", "reset", "nothing", "garbage"))])
def test_a_leg_that_fails_once_is_done_again(system, leg, fault):
    check_a_leg_that_fails_once_is_done_again(system, leg, fault)


def test_a_prefill_pod_that_dies_is_replaced(slow):
    body = completion()
    expected = choices(slow.post("/v1/completions", body, pod="single"))
    request = Background(slow, body)
    waits = lambda name: slow.ledger(name)["rooms_asked_for"] > 0
    victim = wait_until(lambda: next((n for n in ("prefill-0", "prefill-1") if waits(n)), None),
                        what="a prefill pod works on the request")
    slow.pods[victim].process.kill()
    assert choices(request.result()) == expected
    slow.check_clean()


def test_a_client_that_leaves_frees_both_legs(slow):
    with send_unread(slow, completion()):
        wait_until(lambda: slow.ledger("decode-0")["waiting_for_kv"] == 1,
                   what="the decode leg waits")
    slow.check_clean()
    assert {r["outcome"] for r in slow.legs()["decode"]} == {"left"}
