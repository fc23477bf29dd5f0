"""The other ways in which vLLM servers hand over, adapters, and KV events, before real servers."""

import itertools
import json
import random
import time

import pytest
from answers import differs, read, request, text
from harness import wait_until
from vllm_servers import VllmPair, transfer_config

numbers = itertools.count()


def prompt(words):
    number = next(numbers)
    return f"{number} {text(random.Random(f'connectors {number}'), words)}"


def check_as_one_server(pair, index, **more):
    path, body = request(index)
    body |= more
    response = pair.post(path, body)
    assert "x-baton-prefill" in response.headers, response.text
    assert differs(read(response), read(pair.post(path, body, at=pair.prefill))) is None


def test_push_answers_as_one_server_does(files, tmp_path):
    """NixlPushConnector: both legs at once, the prefill server writes the blocks."""
    with VllmPair(tmp_path, files, connector="vllm-nixl-push",
                  config=transfer_config("NixlPushConnector")) as pair:
        for index in range(12):
            stream = {"stream": True, "stream_options": {"include_usage": True}}
            check_as_one_server(pair, 3000 + index, **(stream if index % 3 == 2 else {}))
        # The probe's block: in this mode there is no way to give it back.
        assert pair.prefill.metric("vllm:nixl_num_kv_expired_reqs_total") <= 1
        assert pair.router_metric("baton_leg_failures_total") == 0
        pair.wait_idle()


def test_a_pull_server_is_refused_as_a_push_server(files, tmp_path):
    """The wrong connector is found when the router starts, not by the first client."""
    pair = VllmPair(tmp_path, files, connector="vllm-nixl-push")
    try:
        for server in (pair.prefill, pair.decode):
            server.start()
        for server in (pair.prefill, pair.decode):
            server.wait_ready()
        pair.router.start()
        wait_until(lambda: "it hands over by pull" in
                   (pair.pods()["prefill-0"]["unusable_because"] or ""), 60,
                   "the router says what is wrong with the pod")
        result = pair.check()
        assert result.returncode == 1
        assert "prefill-0: " in result.stdout and "it hands over by pull" in result.stdout
    finally:
        pair.close()


@pytest.fixture(scope="module")
def adapter_pair(files, tmp_path_factory):
    """An adapter on both servers and one on the decode server alone; KV events on."""
    with_lora = ["--enable-lora", "--max-lora-rank", "8", "--max-loras", "2"]
    pool = ("    loras: [{name: shared}, {name: single}]\n")
    with VllmPair(tmp_path_factory.mktemp("adapters"), files, pool=pool, kv_events=True,
                  prefill_flags=[*with_lora, "--lora-modules", f"shared={files.lora}"],
                  decode_flags=[*with_lora, "--lora-modules", f"shared={files.lora}",
                                f"single={files.lora}"]) as pair:
        yield pair


def answer(pair, model, words, at=None):
    response = pair.post("/v1/completions", {"model": model, "prompt": words, "max_tokens": 8,
                                             "temperature": 0}, at=at)
    return response, read(response)["text"]


def test_an_adapter_on_both_servers_is_split(adapter_pair):
    words = prompt(80)
    before = adapter_pair.transfers()
    response, split = answer(adapter_pair, "shared", words)
    assert "x-baton-prefill" in response.headers
    wait_until(lambda: adapter_pair.transfers() == before + 1, 20, "the transfer")
    assert split == answer(adapter_pair, "shared", words, at=adapter_pair.decode)[1]
    assert split != answer(adapter_pair, "tiny", words)[1]
    adapter_pair.wait_idle()


def test_an_adapter_on_the_decode_server_alone_is_served_there(adapter_pair):
    words = prompt(80)
    response, whole = answer(adapter_pair, "single", words)
    assert "x-baton-prefill" not in response.headers
    assert response.headers["x-baton-decode"] == "decode-0"
    assert whole == answer(adapter_pair, "single", words, at=adapter_pair.decode)[1]


def test_an_adapter_loaded_later_is_found(adapter_pair, files):
    loaded = adapter_pair.post("/v1/load_lora_adapter",
                               {"lora_name": "single", "lora_path": str(files.lora)},
                               at=adapter_pair.prefill)
    assert loaded.status_code == 200, loaded.text

    def split():
        return "x-baton-prefill" in answer(adapter_pair, "single", prompt(60))[0].headers
    wait_until(split, 30, "the adapter is split")


def predicted_and_cached(pair, body):
    """What the router believed of the prefill server's cache, and what the server had, in tokens."""
    response = pair.post("/v1/completions", {"max_tokens": 2, "temperature": 0, **body},
                         headers={"x-baton-explain": "1"})
    assert response.status_code == 200, response.text
    plan = json.loads(response.headers["x-baton-plan"])
    assert plan["kind"] == "split", plan
    usage = response.json()["usage"]
    return plan["prefill_cached"], usage["prompt_tokens_details"]["cached_tokens"]


def test_the_index_agrees_with_the_engines_own_prefix_hits(adapter_pair):
    """Fifty prompts in ids with shared beginnings: what the router predicts for each is what the
    server's counters then say."""
    pair = adapter_pair
    rng = random.Random("events")
    roots = [[rng.randrange(10, 1000) for _ in range(200)] for _ in range(5)]
    hits = pair.prefill.metric("vllm:prefix_cache_hits_total")
    predicted = actual = 0
    for index in range(50):
        root = roots[index % 5]
        ids = root[:rng.randrange(40, 200)] + [rng.randrange(10, 1000) for _ in range(20)]
        believed, cached = predicted_and_cached(pair, {"prompt": ids})
        predicted, actual = predicted + believed, actual + cached
        time.sleep(0.05)  # events come with the server's next step
    counted = pair.prefill.metric("vllm:prefix_cache_hits_total") - hits
    assert counted == actual > 2000, (counted, actual)
    assert abs(predicted - counted) <= 0.05 * counted, (predicted, counted)
    assert pair.router_metric("baton_kv_event_gaps_total") == 0
