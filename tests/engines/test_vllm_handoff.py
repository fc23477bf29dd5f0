"""What a pair of vLLM servers answers through the router is what one of them would have said, and
each hand-off really happens."""

import concurrent.futures
import json
import random

import pytest
from answers import differs, events, read, request, text
from harness import wait_until

REQUESTS = 100
TOOL = {"type": "function",
        "function": {"name": "weather", "description": "Weather of a town",
                     "parameters": {"type": "object", "required": ["town"],
                                    "additionalProperties": False,
                                    "properties": {"town": {"enum": ["Oslo", "Bergen"]}}}}}


def usage_of(response):
    return read(response)["usage"]


def cached(response):
    return usage_of(response)["prompt_tokens_details"]["cached_tokens"]


def test_a_hundred_prompts_answer_as_one_server_does(pair):
    parted = []
    for index in range(REQUESTS):
        path, body = request(index)
        if index % 4 >= 2:
            body |= {"stream": True, "stream_options": {"include_usage": True}}
        before = pair.transfers()
        response = pair.post(path, body)
        split = read(response)
        assert response.headers["x-baton-prefill"] == "prefill-0", response.headers
        assert response.headers["x-baton-decode"] == "decode-0"
        wait_until(lambda: pair.transfers() == before + 1, 20, f"transfer of request {index}")
        single = read(pair.post(path, body, at=pair.prefill))
        assert split["usage"]["prompt_tokens"] == single["usage"]["prompt_tokens"]
        assert split["usage"]["completion_tokens"] == single["usage"]["completion_tokens"]
        assert split["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        gap = differs(split, single)
        if gap is not None:
            parted.append((index, gap))
    print(f"{len(parted)} of {REQUESTS} answers parted: {parted}")
    assert len(parted) <= REQUESTS * 0.01, parted
    assert pair.prefill.metric("vllm:nixl_num_kv_expired_reqs_total") == 0
    assert pair.router_metric("baton_handoffs_absent_total") == 0
    pair.wait_idle()


def test_the_check_finds_what_the_servers_are(pair):
    result = pair.check("--json")
    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads(result.stdout)
    assert found["fits"] is True and found["misfits"] == []
    assert [pod["pod"] for pod in found["pods"]] == ["prefill-0", "decode-0"]
    for pod in found["pods"]:
        assert pair.prefill_version() in pod["engine"], pod
        assert pod["block_tokens"] == 32 and pod["models"] == ["tiny"] and pod["load"], pod
    rows = pair.check().stdout.splitlines()
    assert rows[1].split()[:4] == ["vllm", "prefill-0", "prefill", "yes"]
    assert rows[-1] == "all fits"
    pair.wait_idle()  # what the probe asked for was given back


@pytest.mark.parametrize("stream", [False, True])
def test_cached_tokens_are_the_prefill_servers(pair, stream):
    rng = random.Random(f"cached {stream}")
    body = {"prompt": f"{rng.random()} {text(rng, 120)}", "max_tokens": 3, "temperature": 0}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    first, second = (pair.post("/v1/completions", body) for _ in range(2))
    length = usage_of(first)["prompt_tokens"]
    assert cached(first) == 0
    assert cached(second) == (length - 1) // 32 * 32
    assert cached(pair.post("/v1/completions", body, at=pair.prefill)) == cached(second)


def test_a_forced_tool_is_called_as_by_one_server(pair):
    body = {"messages": [{"role": "user", "content": "How is the weather in Oslo?"}],
            "tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}},
            "temperature": 0, "max_tokens": 200}
    split = pair.post("/v1/chat/completions", body)
    single = pair.post("/v1/chat/completions", body, at=pair.prefill)
    assert split.status_code == single.status_code == 200, split.text + single.text
    calls = [r.json()["choices"][0]["message"]["tool_calls"] for r in (split, single)]
    assert calls[0] and calls[1], split.text + single.text
    assert calls[0][0]["function"] == calls[1][0]["function"]
    assert calls[0][0]["function"]["name"] == "weather"
    assert streamed_arguments(pair, body) == streamed_arguments(pair, body, at=pair.prefill) != ""


def streamed_arguments(pair, body, at=None):
    stream = pair.post("/v1/chat/completions", {**body, "stream": True}, at=at)
    return "".join(call["function"].get("arguments") or ""
                   for chunk in events(stream.text) for choice in chunk["choices"]
                   for call in choice["delta"].get("tool_calls") or [])


def test_structured_output_is_kept_to(pair):
    schema = {"type": "object", "required": ["ok", "n"], "additionalProperties": False,
              "properties": {"ok": {"type": "boolean"}, "n": {"type": "integer", "maximum": 9,
                                                              "minimum": 0}}}
    body = {"messages": [{"role": "user", "content": "Say whether it is ok."}], "temperature": 0,
            "max_tokens": 40, "structured_outputs": {"json": schema}}
    split, single = pair.post("/v1/chat/completions", body), pair.post(
        "/v1/chat/completions", body, at=pair.prefill)
    content = read(split)["text"]
    assert content == read(single)["text"]
    assert isinstance(json.loads(content)["ok"], bool)


@pytest.mark.parametrize("fields", [
    {"n": 2, "temperature": 0.8, "seed": 7},
    {"prompt": ["one text", "another text"]},
    {"prompt": [[5, 6, 7, 8], [9, 10, 11]]},
    {"echo": True, "logprobs": 1},
    {"prompt_logprobs": 2},
    {"prompt": [300 + i for i in range(70)]},
], ids=lambda fields: " ".join(fields))
def test_requests_of_other_shapes_answer_as_one_server_does(pair, fields):
    body = {"prompt": "the quick brown fox", "max_tokens": 5, "temperature": 0, **fields}
    split = pair.post("/v1/completions", body)
    single = pair.post("/v1/completions", body, at=pair.prefill)
    assert split.status_code == single.status_code == 200, split.text + single.text
    for ours, theirs in zip(split.json()["choices"], single.json()["choices"], strict=True):
        assert (ours["index"], ours["text"], ours["finish_reason"]) == (
            theirs["index"], theirs["text"], theirs["finish_reason"])
        assert (ours["prompt_logprobs"] is None) == (theirs["prompt_logprobs"] is None)
    ids_only = isinstance(fields.get("prompt"), list) and isinstance(fields["prompt"][0], int)
    assert ("x-baton-prefill" in split.headers) == ids_only
    # The servers are still there.
    assert pair.prefill.ready() and pair.decode.ready()


def test_refusals_are_the_engines_own(pair):
    for body in ({"prompt": "a", "temperature": -1}, {"prompt": "a", "max_tokens": 5000},
                 {"prompt": [5000]}, {"prompt": "a", "logprobs": 100}):
        split = pair.post("/v1/completions", body)
        single = pair.post("/v1/completions", body, at=pair.prefill)
        assert (split.status_code, split.json()) == (single.status_code, single.json())
        assert split.status_code == 400
    pair.wait_idle()


def test_sixteen_at_once_are_all_handed_over(pair):
    before = pair.transfers()

    def ask(index):
        path, body = request(1000 + index)
        return read(pair.post(path, body))

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask, range(16)))
    assert all(answer["text"] for answer in answers)
    wait_until(lambda: pair.transfers() == before + 16, 20, "sixteen transfers")
    pair.wait_idle()
