"""The router before mock pods in vLLM's dress: the same answers as one server's, an empty ledger, and
each fault as docs/operations.md has it."""

import json
import pathlib
import re
import signal
import sys
import threading

import httpx
import openai
import pytest
from harness import free_port, run_baton, wait_until, web
from mocks import PROMPT, VLLM_SHAPES, MockSystem, chat, choices, completion, send_unread, system

ENGINES = pathlib.Path(__file__).parents[1] / "engines"
sys.path.append(str(ENGINES))

from record_wrong_requests import record_all  # noqa: E402  (needs the path above)

RECORD = ENGINES / "vllm_wrong_requests.json"


@pytest.fixture(scope="module")
def mocks(tmp_path_factory):
    with MockSystem(tmp_path_factory.mktemp("mocks"), prefill=2, decode=2, mock_options=[
            "--enable-prompt-tokens-details", "--latency-profile",
            "prefill_ms=2,step_ms=1,transfer_ms=1", "--lease-seconds", "3"]) as system:
        yield system


@pytest.mark.parametrize("shape", VLLM_SHAPES)
def test_a_split_answer_is_that_of_one_server(system, shape):
    got = system.check_answer(*VLLM_SHAPES[shape])
    assert got.headers["x-baton-prefill"].startswith("prefill")


@pytest.mark.parametrize("shape", VLLM_SHAPES)
def test_a_split_stream_is_that_of_one_server(system, shape):
    system.check_stream(*VLLM_SHAPES[shape])


def test_both_legs_are_what_vllm_wants(system):
    body = completion(stream=True, stream_options={"include_usage": True}, min_tokens=4,
                      priority=0, user="u")
    system.events("/v1/completions", body)
    legs = system.legs()
    prefill, decode = legs["prefill"][0], legs["decode"][0]
    assert prefill["body"]["max_tokens"] == 1
    assert not prefill["body"].get("stream") and "stream_options" not in prefill["body"]
    assert prefill["body"].get("min_tokens", 0) <= 1
    assert decode["body"]["kv_transfer_params"] == prefill["handoff"]
    sent = {k: v for k, v in decode["body"].items() if k != "kv_transfer_params"}
    assert sent == body
    assert prefill["headers"]["x-request-id"] == decode["headers"]["x-request-id"]


@pytest.mark.parametrize("body", [
    completion(n=2, temperature=0.9, seed=3), completion(prompt=["one", "two", "three"]),
    completion(prompt=[[300, 301], [302]]), completion(echo=True),
    completion(prompt_logprobs=2)], ids=["n", "prompts", "id prompts", "echo", "prompt_logprobs"])
def test_what_cannot_be_split_is_answered_by_one_pod(system, body):
    got = system.post("/v1/completions", body)
    assert choices(got) == choices(system.post("/v1/completions", body, pod="single"))
    assert "x-baton-prefill" not in got.headers
    legs = system.legs()
    assert [len(legs[leg]) for leg in ("prefill", "decode", "plain")] == [0, 0, 1]
    system.check_clean()


def test_cached_tokens_are_those_of_prefill(system):
    body = chat()
    body["messages"] = [{"role": "user", "content": "What nobody has asked before. " * 40}]
    first = system.post("/v1/chat/completions", body).json()
    assert first["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
    second = system.post("/v1/chat/completions", body).json()
    cached = second["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert 0 < cached < second["usage"]["prompt_tokens"]


def test_the_official_client_is_served(system):
    client = openai.OpenAI(base_url=f"{system.url}/v1", api_key="x", max_retries=0)
    answer = client.chat.completions.create(**chat())
    pieces = client.chat.completions.create(**chat(), stream=True)
    assert "".join(p.choices[0].delta.content or "" for p in pieces) == \
        answer.choices[0].message.content
    system.check_clean()


def test_a_wrong_request_is_refused_in_vllms_words(system):
    for body in (completion(temperature=3), completion(logprobs=1000),
                 completion(max_tokens=100000)):
        ours = system.post("/v1/completions", body)
        theirs = system.post("/v1/completions", body, pod="single")
        assert ours.status_code == theirs.status_code == 400
        assert ours.json()["error"]["message"] == theirs.json()["error"]["message"]
    system.check_clean()


# Faults

def good(system, body=None):
    body = body or completion()
    answer = system.post("/v1/completions", body)
    assert choices(answer) == choices(system.post("/v1/completions", body, pod="single"))
    return answer


RETRIED = ["status=500", "status=503", "reset", "nothing", "garbage", "half_close"]
SPOILED = ["half_json", "error_in_200", "cut_utf8", "two_responses", "chunk_10mib"]


@pytest.mark.parametrize("fault", RETRIED + SPOILED)
def test_a_prefill_leg_that_fails_is_tried_elsewhere(system, fault):
    for name in ("prefill-0", "prefill-1"):
        system.faults(name, f"{fault}@prefill:1")
    good(system)
    wait_until(lambda: not {k: v for k, v in system.left().items() if "violations" in k})


@pytest.mark.parametrize("fault", RETRIED + SPOILED)
def test_a_decode_leg_that_fails_before_its_answer_is_tried_again(system, fault):
    for name in ("decode-0", "decode-1"):
        system.faults(name, f"{fault}@decode:1")
    good(system)
    assert not [k for k in system.left() if "violations" in k]
    system.check_clean()


@pytest.mark.parametrize("fault", ["chunk_10mib", "error_in_200"])
def test_a_stream_that_begins_badly_is_asked_for_again(system, fault):
    for name in ("decode-0", "decode-1"):
        system.faults(name, f"{fault}@decode:1")
    system.check_stream("/v1/completions", completion())


def test_odd_answers_that_are_whole_are_taken(system):
    for fault in ("idle_close", "slow_headers=50"):
        for name in system.members:
            system.faults(name, f"{fault}:1")
        for _ in range(3):
            good(system)
    system.check_clean()


def test_wrong_kv_is_noticed_by_the_reference(system):
    """The fault that a router cannot see: the test that compares texts must."""
    for name in ("prefill-0", "prefill-1"):
        system.faults(name, "wrong_kv:1")
    body = completion(prompt=PROMPT + "Once more.")
    ours = system.post("/v1/completions", body)
    assert choices(ours) != choices(system.post("/v1/completions", body, pod="single"))


def test_absent_parameters_are_answered_and_counted(system):
    before = system.router_metrics().value("baton_handoffs_absent_total", 0)
    for name in ("prefill-0", "prefill-1"):
        system.faults(name, "absent_params:1")
    good(system)
    assert system.router_metrics().value("baton_handoffs_absent_total") == before + 1
    system.check_clean()


def test_another_version_is_a_failed_hand_off_that_is_tried_again(tmp_path):
    with MockSystem(tmp_path, prefill=2, decode=1, mock_options=["--lease-seconds", "1"]) as system:
        for name in ("prefill-0", "prefill-1"):
            system.faults(name, "version_mismatch:1")
        good(system)
        assert system.ledger("decode-0")["violations"].get("version_mismatch", 0) >= 1
        wait_until(lambda: not [k for k in system.left() if "pinned" in k])


def test_a_prefill_pod_that_dies_between_the_legs(tmp_path):
    with MockSystem(tmp_path, prefill=2, decode=1, mock_options=["--lease-seconds", "2"]) as system:
        for name in ("prefill-0", "prefill-1"):
            system.faults(name, "die_after_prefill@prefill:1")
        good(system)


def test_a_lease_that_runs_out_is_tried_again(tmp_path):
    """The prefill pod answers so late that its blocks are gone when the decode leg asks for them."""
    with MockSystem(tmp_path, prefill=1, decode=1, pod_options={
            "prefill-0": ["--lease-seconds", "0.05"]}) as system:
        system.faults("decode-0", "slow_headers=300@decode:1")
        answer = system.post("/v1/completions", completion())
        assert system.ledger("decode-0")["violations"] == {"lease_expired": 1}
        assert choices(answer) == choices(
            system.post("/v1/completions", completion(), pod="single"))


def test_a_stream_that_breaks_ends_with_an_error_event(system):
    for name in ("decode-0", "decode-1"):
        system.faults(name, "cut_utf8@decode")
    text = ""
    with web.stream("POST", f"{system.url}/v1/completions", json=completion(stream=True),
                      timeout=60) as stream:
        try:
            for piece in stream.iter_bytes():
                text += piece.decode(errors="replace")
        except httpx.HTTPError:
            pass  # the connection may be closed behind the event
    assert "[DONE]" not in text
    last = [line for line in text.splitlines() if line.startswith("data: ")][-1]
    assert json.loads(last[6:])["error"]["stage"] == "decode"


# Clients that leave

def leave(system, body, when):
    with send_unread(system, body) as connection:
        when(connection)


@pytest.fixture
def slow(tmp_path):
    options = ["--latency-profile", "prefill_ms=400,step_ms=30,transfer_ms=400",
               "--lease-seconds", "20"]
    with MockSystem(tmp_path, prefill=1, decode=1, mock_options=options) as system:
        yield system


def reached(system, pod):
    return lambda _: wait_until(lambda: system.ledger(pod)["open_requests"] == 1,
                                what=f"{pod} has the request")


def test_a_client_that_leaves_during_prefill_leaves_nothing(slow):
    leave(slow, completion(), reached(slow, "prefill-0"))
    slow.check_clean()


def test_a_client_that_leaves_during_the_transfer_leaves_nothing(slow):
    leave(slow, completion(), reached(slow, "decode-0"))
    slow.check_clean()


def test_a_client_that_leaves_the_stream_leaves_nothing(slow):
    leave(slow, completion(stream=True, max_tokens=4000, ignore_eos=True),
          lambda connection: connection.recv(65536))
    slow.check_clean()


def test_clients_that_leave_at_any_moment_leave_nothing(slow):
    threads = []
    for i in range(20):
        pause = threading.Event()
        threads.append(threading.Thread(target=leave, args=(
            slow, completion(max_tokens=60, prompt=PROMPT + str(i)),
            lambda _, p=pause, i=i: p.wait(0.06 * i))))
        threads[-1].start()
    for thread in threads:
        thread.join()
    slow.check_clean()


# Parity with vLLM

REFUSALS = [json.loads(line) for line in (
    pathlib.Path(__file__).parent / "data" / "vllm_0.32.0_refusals.jsonl").read_text().splitlines()]


def test_wrong_requests_are_refused_as_vllm_refuses_them(system):
    """Against what vLLM 0.32.0's own request classes answered (data/record_vllm_refusals.py)."""
    assert len(REFUSALS) >= 60
    different = []
    for case in REFUSALS:
        kind = case.get("content_type", "application/json")
        answer = web.post(system.base("single") + case["path"], content=case["body"].encode(),
                            headers={"content-type": kind}, timeout=60)
        got = answer.json().get("error")
        if (answer.status_code, got) != (case["status"], case["error"]):
            different.append((case["body"], case["error"], got))
    assert not different, different[:3]


def test_it_says_what_a_real_server_said(tmp_path):
    """Against what a running vLLM 0.32.0 answered (tests/engines/record_wrong_requests.py)."""
    recorded = json.loads(RECORD.read_text())["records"]
    with MockSystem(tmp_path, model="tiny",
                    mock_options=["--max-model-len", "2048"]) as system:
        said = record_all(system.base("single"))
    different = [(then, now) for then, now in zip(recorded, said, strict=True)
                 if comparable(then) != comparable(now)]
    assert not different, different[:3]
    assert sum(record["status"] >= 400 for record in said) >= 60


def comparable(record):
    """A record without what differs between models, and with the first line alone of the complaints
    that pydantic makes of unions."""
    error = record.get("error")
    if error:
        message = re.sub(r"\b(1024|1209)\b", "VOCABULARY", error["message"])
        union = "MessageParam.content" in message or "ValidatorIterator" in message
        error = {**error, "message": message.splitlines()[0] if union else message}
    return {**record, "error": error}


# KV events

@pytest.mark.parametrize("encoding", ["map", "array"])
def test_the_router_follows_what_the_pods_hold(tmp_path, encoding):
    """Prompts in ids, sent to one pod behind the router's back: it knows at once who holds them,
    and after the cache was cleared, that nobody does."""
    ports = {name: (free_port(), free_port()) for name in ("prefill-0", "prefill-1", "decode-0")}
    options = {name: ["--kv-events-port", str(events), "--kv-replay-port", str(replay),
                      "--kv-events-encoding", encoding]
               for name, (events, replay) in ports.items()}
    pool = f"    kv_events: {{port: {ports['decode-0'][0]}, replay_port: {ports['decode-0'][1]}}}\n"
    with MockSystem(tmp_path, prefill=2, decode=1, pod_options=options, pool=pool,
                    pod_yaml={name: f", kv_events_port: {events}, kv_replay_port: {replay}"
                              for name, (events, replay) in ports.items()}) as system:
        ids = [100 + i % 300 for i in range(200)]
        told = system.post("/v1/completions", completion(prompt=ids), pod="prefill-1")
        assert told.status_code == 200, told.text

        wait_until(lambda: system.router_metrics().value(
            "baton_kv_event_blocks_total", 0, pod="prefill-1", result="stored") >= len(ids) // 16,
            what="the router was told")
        plan = explained(system, completion(prompt=ids[:180] + [7] * 20))
        assert (plan["prefill"], plan["prefill_cached"]) == ("prefill-1", 176), plan
        assert system.router_metrics().value("baton_kv_event_gaps_total", 0) == 0


def explained(system, body):
    answer = system.post("/v1/completions", body, headers={"x-baton-explain": "1"})
    assert answer.status_code == 200, answer.text
    return json.loads(answer.headers["x-baton-plan"])


# The command

def test_the_command_says_what_is_wrong():
    for arguments, words in ((["--engine", "gpt"], "known engines are vllm-nixl"),
                             (["--latency-profile", "fast"], "instant, h100-8b"),
                             (["--faults", "fire"], "kinds: status"),
                             (["--listen", "nowhere"], "HOST:PORT"),
                             (["--kv-blocks", "2"], "raise --kv-blocks")):
        result = run_baton("mock", *arguments)
        assert result.returncode == 2, result
        assert words in result.stderr
    result = run_baton("mock", BATON_MOCK_ENGINE="gpt")
    assert result.returncode == 2 and "known engines" in result.stderr


def test_it_ends_in_order_when_asked(tmp_path):
    with MockSystem(tmp_path) as system:
        process = system.pods["single"].process
        process.signal(signal.SIGTERM)
        assert process.child.wait(10) == 0
