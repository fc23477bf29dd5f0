"""The router before mock pods in TensorRT-LLM's dress: the same answers as one server's, context
first, and answers that end with the context leg."""

import json

import pytest
from harness import wait_until
from mocks import (PROMPT, SHAPES, MockSystem, chat, check_a_leg_that_fails_once_is_done_again,
                   choices, completion, send_unread, system, told_by)


@pytest.fixture(scope="module")
def mocks(tmp_path_factory):
    with MockSystem(tmp_path_factory.mktemp("trtllm"), prefill=2, decode=2,
                    connector="trtllm", mock_options=[
            "--latency-profile", "prefill_ms=2,step_ms=1,transfer_ms=1",
            "--lease-seconds", "3"]) as system:
        yield system


SHAPES = {
    **SHAPES,
    "one token": ("/v1/completions", completion(max_tokens=1)),
    "chat max_completion_tokens": ("/v1/chat/completions", {
        **{k: v for k, v in chat().items() if k != "max_tokens"}, "max_completion_tokens": 9}),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_split_answer_is_that_of_one_server(system, shape):
    system.check_answer(*SHAPES[shape])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_split_stream_is_that_of_one_server(system, shape):
    system.check_stream(*SHAPES[shape])


def test_the_generation_server_gets_what_the_context_server_said(system):
    system.post("/v1/chat/completions", chat())
    legs = system.legs()
    context, generation = legs["prefill"][0], legs["decode"][0]
    assert context["body"]["disaggregated_params"]["request_type"] == "context_only"
    assert context["body"]["max_tokens"] == 12
    told = generation["body"]["disaggregated_params"]
    for name in ("ctx_request_id", "disagg_request_id", "encoded_opaque_state", "first_gen_tokens"):
        assert told[name] == context["handoff"][name]
    assert told["request_type"] == "generation_only"
    assert len(generation["body"]["prompt_token_ids"]) == context["prompt_tokens"]
    system.check_clean()


@pytest.mark.parametrize("path,body", [("/v1/completions", completion()),
                                       ("/v1/chat/completions", chat())])
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_that_ends_with_the_context_leg(system, path, body, stream):
    one = system.post(path, {**body, "max_tokens": 1}, pod="single").json()["choices"][0]
    body = {**body, "stop": [one.get("text") or one["message"]["content"]]}
    system.forget()
    if stream:
        body["stream_options"] = {"include_usage": True}
        got = system.events(path, body)
        assert told_by(got) == told_by(system.events(path, body, pod="single"))
    else:
        got = system.post(path, body)
        assert choices(got) == choices(system.post(path, body, pod="single"))
        assert "disaggregated_params" not in got.text
    assert "prompt_token_ids" not in json.dumps(got if stream else got.json())
    legs = system.legs()
    assert [len(legs[leg]) for leg in ("prefill", "decode", "plain")] == [1, 0, 0]
    system.check_clean()


@pytest.mark.parametrize("body", [completion(n=2), completion(prompt=[PROMPT, "Of the land."]),
                                  completion(echo=True)], ids=["n", "batch", "echo"])
def test_what_cannot_be_split_is_answered_by_a_generation_server_alone(system, body):
    got = system.post("/v1/completions", body)
    assert choices(got) == choices(system.post("/v1/completions", body, pod="single"))
    legs = system.legs()
    assert [len(legs[leg]) for leg in ("prefill", "decode", "plain")] == [0, 0, 1]
    system.check_clean()


def test_an_unknown_member_is_refused_by_the_engine(system):
    answer = system.post("/v1/completions", completion(a_new_field=1))
    assert answer.status_code == 400
    assert "Extra inputs are not permitted" in answer.text
    system.check_clean()


@pytest.mark.parametrize("leg", ["prefill", "decode"])
@pytest.mark.parametrize("fault", ["status=503", "reset", "nothing", "garbage"])
def test_a_leg_that_fails_once_is_done_again(system, leg, fault):
    check_a_leg_that_fails_once_is_done_again(system, leg, fault)


@pytest.mark.parametrize("fault", ["version_mismatch:1", "absent_params:1"])
def test_a_hand_off_that_fails_never_reaches_the_client(system, fault):
    body = completion()
    expected = choices(system.post("/v1/completions", body, pod="single"))
    for name in ("prefill-0", "prefill-1"):
        system.faults(name, fault)
    assert choices(system.post("/v1/completions", body)) == expected


def test_a_client_that_leaves_pins_nothing_beyond_the_timeout(system):
    for name in ("decode-0", "decode-1"):
        system.faults(name, "hang@decode")
    with send_unread(system, completion()):
        wait_until(lambda: system.legs()["decode"], what="the generation server has the request")
    system.check_clean()
