"""The router before mock pods of vLLM's NixlPushConnector: both legs at once under one id."""

import pytest
from harness import wait_until
from mocks import MockSystem, chat, choices, completion, system


@pytest.fixture(scope="module")
def mocks(tmp_path_factory):
    with MockSystem(tmp_path_factory.mktemp("push"), prefill=2, decode=2,
                    connector="vllm-nixl-push", mock_options=[
                        "--latency-profile", "prefill_ms=2,step_ms=1,transfer_ms=1",
                        "--lease-seconds", "3"]) as system:
        yield system


def registered(system):
    return sum(system.ledger(name)["registered"] for name in system.members)


BODIES = {"/v1/completions": completion(), "/v1/chat/completions": chat()}


@pytest.mark.parametrize("path", BODIES)
def test_a_split_answer_is_that_of_one_server(system, path):
    system.check_answer(path, BODIES[path])
    legs = {leg: records[0] for leg, records in system.legs().items() if records}
    told = legs["decode"]["body"]["kv_transfer_params"]
    assert told["remote_engine_id"] and "remote_block_ids" not in told
    assert legs["decode"]["headers"]["x-request-id"] == legs["prefill"]["headers"]["x-request-id"]


@pytest.mark.parametrize("path", BODIES)
def test_a_split_stream_is_that_of_one_server(system, path):
    system.check_stream(path, BODIES[path])


def test_a_prefill_that_fails_cancels_decode_at_once(system):
    for name in ("prefill-0", "prefill-1"):
        system.faults(name, "status=500@prefill")
    body = BODIES["/v1/completions"]
    got = system.post("/v1/completions", body)  # by a decode pod alone
    assert choices(got) == choices(system.post("/v1/completions", body, pod="single"))
    wait_until(lambda: registered(system) == 0, what="no decode leg waits for a push")
    system.check_clean()
