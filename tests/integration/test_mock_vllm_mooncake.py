"""The router before mock pods of vLLM's MooncakeConnector: both legs at once in one transfer, the
prefill server found through its bootstrap server."""

import threading

import pytest
from harness import free_port, wait_until, web
from mocks import PROMPT, VLLM_SHAPES, MockSystem, chat, choices, completion, send_unread, system

# A decode leg that waits in vain does so for the lease, and its blocks stay as long.
OPTIONS = ["--enable-prompt-tokens-details", "--lease-seconds", "2", "--waiting-timeout-seconds",
           "3"]


class MooncakeSystem(MockSystem):
    LEFT = (*MockSystem.LEFT, "asked_for", "waiting_for_kv")

    def __init__(self, folder, **options):
        super().__init__(folder, connector="vllm-mooncake", **options)

    def _add_pod(self, name, role):
        super()._add_pod(name, role)
        self.pod_yaml.setdefault(name, f", bootstrap_port: {self.side_channels[name]}")

    def bootstrap(self, name):
        return f"http://127.0.0.1:{self.side_channels[name]}"

    def engine_ids(self, name):
        engines = web.get(f"{self.bootstrap(name)}/query").json()
        return [engine["engine_id"] for engine in engines.values()]

    def violations(self):
        return {name: broken for name in self.members if self.pods[name].process.alive()
                if (broken := self.ledger(name)["violations"])}


@pytest.fixture(scope="module")
def mocks(tmp_path_factory):
    # Requests fail one after another here, more often than the usual budget lets them be tried again.
    with MooncakeSystem(tmp_path_factory.mktemp("mooncake"), prefill=2, decode=2, mock_options=[
            *OPTIONS, "--latency-profile", "prefill_ms=2,step_ms=1,transfer_ms=1"],
            router="retry_budget: 1\n") as system:
        yield system


SHAPES = {
    **VLLM_SHAPES,
    "stop token": ("/v1/completions", completion(stop_token_ids=list(range(300, 600)))),
    "one token": ("/v1/completions", completion(max_tokens=1)),
}


def good(system, body=None):
    body = body or completion()
    answer = system.post("/v1/completions", body)
    assert choices(answer) == choices(system.post("/v1/completions", body, pod="single"))
    return answer


@pytest.mark.parametrize("shape", SHAPES)
def test_a_split_answer_is_that_of_one_server(system, shape):
    system.check_answer(*SHAPES[shape])


@pytest.mark.parametrize("shape", SHAPES)
def test_a_split_stream_is_that_of_one_server(system, shape):
    system.check_stream(*SHAPES[shape])


def test_both_legs_are_what_vllm_wants(system):
    system.post("/v1/completions", completion(stop=["z"], stop_token_ids=[7], min_tokens=2))
    legs = system.legs()
    prefill, decode = legs["prefill"][0], legs["decode"][0]
    assert prefill["body"]["max_tokens"] == 1 and prefill["body"]["ignore_eos"] is True
    assert not {"stop", "stop_token_ids", "min_tokens"} & prefill["body"].keys()
    told = decode["body"]["kv_transfer_params"]
    assert told["transfer_id"] == prefill["body"]["kv_transfer_params"]["transfer_id"]
    assert [told["remote_engine_id"]] == system.engine_ids(prefill["pod"])
    assert told["remote_bootstrap_addr"] == system.bootstrap(prefill["pod"])
    system.check_clean()


@pytest.mark.parametrize("body", [
    completion(n=2, temperature=0.9, seed=3), completion(prompt=["one", "two", "three"]),
    completion(echo=True), completion(prompt_logprobs=2)],
    ids=["n", "prompts", "echo", "prompt_logprobs"])
def test_what_cannot_be_split_is_answered_by_one_pod(system, body):
    good(system, body)
    legs = system.legs()
    assert [len(legs[leg]) for leg in ("prefill", "decode", "plain")] == [0, 0, 1]
    system.check_clean()


def test_cached_tokens_are_those_of_prefill(system):
    body = completion(prompt="What nobody has asked before. " * 40)
    cached = [system.post("/v1/completions", body).json()["usage"]["prompt_tokens_details"][
        "cached_tokens"] for _ in range(2)]
    assert cached[0] == 0 < cached[1]


def test_an_answer_that_ends_at_its_first_token_keeps_its_blocks(tmp_path):
    """Where the prefill leg may end so, its blocks are freed and the decode leg waits in vain."""
    with MooncakeSystem(tmp_path, mock_options=[*OPTIONS, "--mean-answer-tokens", "1"]) as system:
        for i in range(20):
            good(system, completion(prompt=f"{i} {PROMPT}"))
        ends = [record for record in system.legs()["decode"] if record["completion_tokens"] == 1]
        assert ends
        system.check_clean()


def test_each_rank_is_told_from_the_others(tmp_path):
    with MooncakeSystem(tmp_path, mock_options=OPTIONS, pod_options={
            "prefill-0": ["--data-parallel-size", "3"]}) as system:
        for i in range(30):
            good(system, completion(prompt=f"{i} {PROMPT}"))
        legs = system.legs()
        told = {record["body"]["kv_transfer_params"]["remote_engine_id"]
                for record in legs["decode"]}
        assert told == set(system.engine_ids("prefill-0"))
        assert not legs["plain"]
        system.check_clean()


# Faults

@pytest.mark.parametrize("fault", ["status=500", "status=503", "reset", "nothing", "garbage",
                                   "half_close", "half_json", "error_in_200", "cut_utf8"])
@pytest.mark.parametrize("leg", ["prefill", "decode"])
def test_a_leg_that_fails_is_done_again(system, leg, fault):
    for index in range(2):
        system.faults(f"{leg}-{index}", f"{fault}@{leg}:1")
    good(system)
    system.check_clean()


@pytest.mark.parametrize("fault", ["absent_params", "version_mismatch"])
def test_a_hand_off_that_fails_is_done_again(system, fault):
    for name in ("prefill-0", "prefill-1"):
        system.faults(name, f"{fault}:1")
    good(system)
    wait_until(lambda: not [figure for figure in system.left() if "violations" not in figure])


def test_wrong_kv_is_noticed_by_the_reference(system):
    for name in ("prefill-0", "prefill-1"):
        system.faults(name, "wrong_kv:1")
    ours = system.post("/v1/completions", completion())
    assert choices(ours) != choices(system.post("/v1/completions", completion(), pod="single"))


def test_a_prefill_that_fails_cancels_decode(system):
    for name in ("prefill-0", "prefill-1"):
        system.faults(name, "status=500@prefill")
    good(system)  # by a decode pod alone
    assert {record["outcome"] for record in system.legs()["decode"]} <= {"left"}
    system.check_clean()


@pytest.mark.parametrize("fault", ["die_after_prefill@prefill:1", "die_after_prefill@decode:1"])
def test_a_pod_that_dies_after_a_leg_is_replaced(tmp_path, fault):
    leg = fault.partition("@")[2].partition(":")[0]
    with MooncakeSystem(tmp_path, prefill=2, decode=2, mock_options=OPTIONS) as system:
        system.faults(f"{leg}-0", fault)
        system.faults(f"{leg}-1", fault)
        good(system)


def test_a_prefill_pod_that_is_started_anew_has_another_engine(tmp_path):
    """The decode pod knows the engine of the first start, and would wait for it."""
    with MooncakeSystem(tmp_path, mock_options=OPTIONS) as system:
        good(system)
        before = system.engine_ids("prefill-0")
        system.kill("prefill-0")
        good(system)
        system.restart("prefill-0")
        now = system.engine_ids("prefill-0")
        assert now != before
        wait_until(lambda: system.pod_states()["prefill-0"]["facts"]["engine_id"] == now[0],
                   what="the router knows the new engine")
        good(system)
        assert system.legs()["decode"][-1]["body"]["kv_transfer_params"][
            "remote_engine_id"] == now[0]
        system.check_clean()


def test_a_prefill_pod_whose_bootstrap_server_is_not_there_is_not_used(tmp_path):
    with MooncakeSystem(tmp_path, prefill=2, mock_options=OPTIONS, pod_yaml={
            "prefill-0": f", bootstrap_port: {free_port()}"}) as system:
        for i in range(10):
            good(system, completion(prompt=f"{i} {PROMPT}"))
        assert {record["pod"] for record in system.legs()["prefill"]} == {"prefill-1"}
        system.check_clean()


# Clients that leave

@pytest.fixture
def slow(tmp_path):
    options = [*OPTIONS, "--latency-profile", "prefill_ms=400,step_ms=30,transfer_ms=400"]
    with MooncakeSystem(tmp_path, mock_options=options) as system:
        yield system


def leave(system, body, when):
    with send_unread(system, body) as connection:
        when(connection)


@pytest.mark.parametrize("pod,figure", [
    ("prefill-0", "asked_for"), ("decode-0", "waiting_for_kv"), ("prefill-0", "pinned_blocks")])
def test_a_client_that_leaves_before_the_answer_leaves_nothing(slow, pod, figure):
    leave(slow, completion(), lambda _: wait_until(lambda: slow.ledger(pod)[figure] > 0))
    slow.check_clean()


def test_a_client_that_leaves_the_stream_leaves_nothing(slow):
    leave(slow, completion(stream=True, max_tokens=4000, ignore_eos=True),
          lambda connection: connection.recv(65536))
    slow.check_clean()


def test_clients_that_leave_at_any_moment_leave_nothing(slow):
    threads = [threading.Thread(target=leave, args=(
        slow, completion(max_tokens=60, prompt=PROMPT + str(i)),
        lambda _, i=i: threading.Event().wait(0.06 * i))) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    slow.check_clean()


# What the mocks notice, asked without a router

class Pair:
    """The legs of one transfer, as a router should send them."""

    def __init__(self, system):
        self.system, transfer = system, "xfer-1"
        self.prefill = completion(max_tokens=1, ignore_eos=True, kv_transfer_params={
            "do_remote_decode": True, "do_remote_prefill": False, "transfer_id": transfer})
        self.decode = completion(kv_transfer_params={
            "do_remote_decode": False, "do_remote_prefill": True, "transfer_id": transfer,
            "remote_engine_id": system.engine_ids("prefill-0")[0],
            "remote_bootstrap_addr": system.bootstrap("prefill-0")})

    def send_prefill(self, **headers):
        return self.system.post("/v1/completions", self.prefill, headers, pod="prefill-0")

    def first_token(self):
        alone = self.system.post("/v1/completions", completion(return_token_ids=True),
                                 pod="single")
        return alone.json()["choices"][0]["token_ids"][:1]

    def send_decode(self):
        return self.system.post("/v1/completions", self.decode, pod="decode-0")


@pytest.fixture
def pair(tmp_path):
    with MooncakeSystem(tmp_path, mock_options=[
            "--lease-seconds", "0.3", "--waiting-timeout-seconds", "0.6"], pod_options={
                "prefill-0": ["--data-parallel-size", "2"]}) as system:
        yield Pair(system)


def test_a_pair_as_it_should_be_breaks_no_rule(pair):
    assert pair.send_prefill(**{"x-data-parallel-rank": "0"}).json()["kv_transfer_params"] is None
    assert choices(pair.send_decode()) == choices(
        pair.system.post("/v1/completions", completion(), pod="single"))
    pair.system.check_clean()


def change(**params):
    return lambda pair: pair.decode["kv_transfer_params"].update(params)


@pytest.mark.parametrize("wrong,name", [
    (change(transfer_id="of nobody"), "not_met"),
    (change(remote_engine_id="of nobody"), "wrong_engine_id"),
    (lambda pair: pair.decode.update(prompt="Of the land."), "tokens_differ"),
    (lambda pair: pair.send_decode(), "second_reader"),
    (lambda pair: wait_until(lambda: not pair.system.ledger("prefill-0")["pinned_blocks"]),
     "lease_expired"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_wrong_decode_leg_fails_and_is_counted(pair, wrong, name):
    assert pair.send_prefill(**{"x-data-parallel-rank": "0"}).status_code == 200
    wrong(pair)
    assert pair.send_decode().status_code == 500
    assert pair.system.violations() == {"decode-0": {name: 1}}
    wait_until(lambda: not [figure for figure in pair.system.left() if "violations" not in figure])


def test_a_decode_leg_told_another_rank_fails_and_is_counted(pair):
    assert pair.send_prefill(**{"x-data-parallel-rank": "1"}).status_code == 200
    assert pair.send_decode().status_code == 500
    assert pair.system.violations() == {"decode-0": {"wrong_rank": 1}}


@pytest.mark.parametrize("wrong,name", [
    (lambda pair: pair.prefill["kv_transfer_params"].pop("transfer_id"), "missing_keys"),
    (lambda pair: pair.prefill.update(max_tokens=40), "prefill_not_capped"),
    (lambda pair: pair.prefill.update(stop_token_ids=pair.first_token()), "prefill_stopped"),
    (lambda pair: pair.send_prefill(**{"x-data-parallel-rank": "0"}), "transfer_used_again"),
    (lambda pair: pair.prefill.update(n=2, temperature=1), "prefill_of_several"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_wrong_prefill_leg_is_counted(pair, wrong, name):
    wrong(pair)
    assert pair.send_prefill(**{"x-data-parallel-rank": "0"}).status_code == 200
    assert pair.system.violations() == {"prefill-0": {name: 1}}


@pytest.mark.parametrize("pod,leg", [("decode-0", "prefill"), ("prefill-0", "decode")])
def test_a_leg_at_a_pod_of_the_other_role_ends_its_engine(tmp_path, pod, leg):
    with MooncakeSystem(tmp_path) as system:
        assert system.post("/v1/completions", getattr(Pair(system), leg),
                           pod=pod).status_code == 500
        assert system.violations() == {pod: {"wrong_role": 1}}
        assert web.get(system.base(pod) + "/health").status_code == 503
