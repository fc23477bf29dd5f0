"""Runs `baton mock` pods, and a router before them.

    with MockSystem(folder, prefill=1, decode=1) as system:
        system.post("/v1/completions", {...})
        system.faults("prefill-0", "status=500:1")
        system.ledger("decode-0")

`single` is one more mock that the router does not know: what it answers is the reference.
"""

import json
import socket

import pytest
from harness import BATON, LIMIT, Process, Server, System, free_port, wait_until, web

PROMPT = "Tell me of the sea and of the ships that have left for the north. " * 4
TOOLS = [{"type": "function", "function": {
    "name": "weather", "parameters": {"type": "object", "properties": {
        "city": {"type": "string"}, "days": {"type": "integer"}}}}}]


def completion(**more):
    return {"model": "mock-model", "prompt": PROMPT, "max_tokens": 12, "temperature": 0, **more}


def chat(text=PROMPT, **more):
    return {"model": "mock-model", "messages": [{"role": "system", "content": "Be brief."},
                                                {"role": "user", "content": text}],
            "max_tokens": 12, "temperature": 0, **more}


# What every engine is asked, by name: path and body.
SHAPES = {
    "completion": ("/v1/completions", completion()),
    "token ids": ("/v1/completions", completion(prompt=list(range(300, 420)))),
    "min_tokens": ("/v1/completions", completion(min_tokens=5)),
    "stop": ("/v1/completions", completion(stop=["a"])),
    "logprobs": ("/v1/completions", completion(logprobs=3)),
    "seed": ("/v1/completions", completion(temperature=0.8, seed=7)),
    "chat": ("/v1/chat/completions", chat()),
    "chat logprobs": ("/v1/chat/completions", chat(logprobs=True, top_logprobs=2)),
    "tools": ("/v1/chat/completions", chat(tools=TOOLS, tool_choice="required", max_tokens=200)),
    "json_schema": ("/v1/chat/completions", chat(max_tokens=200, response_format={
        "type": "json_schema", "json_schema": {"name": "s", "schema": {
            "type": "object", "properties": {"n": {"type": "integer"}}}}})),
}


# And vLLM besides.
VLLM_SHAPES = {
    **SHAPES,
    "return_token_ids": ("/v1/completions", completion(return_token_ids=True)),
    "chat max_completion_tokens": ("/v1/chat/completions", chat(max_completion_tokens=9)),
    "named tool": ("/v1/chat/completions", chat(tools=TOOLS, max_tokens=200, tool_choice={
        "type": "function", "function": {"name": "weather"}})),
    "unknown fields": ("/v1/completions", completion(a_new_field={"deep": [1, 2 ** 62]})),
}


@pytest.fixture
def system(mocks):
    """The mocks of a test file, without faults and memories of the test before."""
    mocks.forget()
    yield mocks
    mocks.forget()


def choices(answer):
    """Without what is said of the hand-off, and the drawn ids of tool calls."""
    assert answer.status_code == 200, answer.text
    found = answer.json()["choices"]
    for choice in found:
        choice.pop("disaggregated_params", None)
        for call in choice.get("message", {}).get("tool_calls") or []:
            call.pop("id")
    return found


def told_by(events):
    """What a stream with its usage says: text and reasons by choice, the end, the tokens."""
    text, reasons = {}, {}
    for event in events[:-1]:
        for choice in event["choices"]:
            delta = choice.get("delta", {})
            part = choice.get("text") or delta.get("content") or "".join(
                call["function"].get("arguments", "") for call in delta.get("tool_calls") or [])
            text[choice["index"]] = text.get(choice["index"], "") + part
            if choice.get("finish_reason"):
                reasons[choice["index"]] = choice["finish_reason"]
    usage = events[-2]["usage"]
    return text, reasons, events[-1], usage["prompt_tokens"], usage["completion_tokens"]


def send_unread(system, body):
    """The socket of a client that has asked for a completion and may leave."""
    client = socket.create_connection(("127.0.0.1", system.router.port))
    content = json.dumps(body).encode()
    client.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json"
                   b"\r\ncontent-length: %d\r\n\r\n" % len(content) + content)
    return client


def check_a_leg_that_fails_once_is_done_again(system, leg, fault):
    system.faults(f"{leg}-0", f"{fault}@{leg}:1")
    for number in range(30):
        body = completion(prompt=f"{number}: {PROMPT}")  # no pod has seen its beginning
        expected = choices(system.post("/v1/completions", body, pod="single"))
        assert choices(system.post("/v1/completions", body)) == expected
        if any(r["outcome"] == fault.partition("=")[0] for r in system.requests(f"{leg}-0")):
            break
    else:
        raise AssertionError("the fault never happened")
    system.check_clean()


class MockSystem(System):
    LEFT = ("pinned_blocks", "violations", "open_requests")  # of a ledger: 0 or empty at rest

    def __init__(self, folder, prefill=1, decode=1, connector="vllm-nixl", mock_options=(),
                 pod_options=None, pool="", router="", split="always", model="mock-model",
                 pod_yaml=None):
        """`mock_options` are flags of every mock, `pod_options` of one, by its name; `pod_yaml` is
        what the router's configuration says of one beside its name and URL."""
        self._describe(folder, split, model, connector, pool, router)
        self.mock_options, self.pod_options = list(mock_options), pod_options or {}
        self.pod_yaml, self.side_channels = pod_yaml or {}, {}
        self._make(prefill, decode, single=True)

    def _add_pod(self, name, role):
        port, self.side_channels[name] = free_port(), free_port()
        arguments = [BATON, "mock", "--engine", self.connector, "--role", role, "--model",
                     self.model_name, "--listen", f"127.0.0.1:{port}", "--side-channel",
                     f"127.0.0.1:{self.side_channels[name]}", *self.mock_options,
                     *self.pod_options.get(name, ())]
        process = Process(name, arguments, self.folder / f"{name}.log")
        self.pods[name] = Server(process, port, port, "/health")

    def base(self, pod=None):
        return self.pods[pod].url if pod else self.url

    def events(self, path, body, pod=None):
        """The data of a stream's events, parsed; [DONE] as a text."""
        answer = web.post(self.base(pod) + path, json={**body, "stream": True}, timeout=60)
        assert answer.status_code == 200, answer.text
        data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
        return [d if d == "[DONE]" else json.loads(d) for d in data]

    # Mocks

    def get(self, pod, path):
        return web.get(self.base(pod) + path, timeout=LIMIT).json()

    def ledger(self, pod):
        return self.get(pod, "/debug/ledger")

    def requests(self, pod):
        return self.get(pod, "/debug/requests")

    def legs(self):
        """What the mocks were sent, by leg, in order of arrival."""
        found = {"prefill": [], "decode": [], "plain": []}
        records = [{**record, "pod": name} for name in self.members
                   for record in self.requests(name)]
        for record in sorted(records, key=lambda record: record["arrived"]):
            found[record["leg"]].append(record)
        return found

    def faults(self, pod, faults):
        answer = self.post("/debug/faults", {"faults": faults}, pod=pod)
        assert answer.status_code == 200, answer.text

    def forget(self):
        """Ends every fault and forgets what was asked so far."""
        for name in self.pods:
            if self.pods[name].process.alive():
                self.faults(name, [])
                web.delete(self.base(name) + "/debug/requests", timeout=LIMIT)

    def left(self):
        """What is pinned, in use or broken anywhere; empty: nothing."""
        found = {}
        for name, pod in self.pods.items():
            if not pod.process.alive():
                continue
            ledger = self.ledger(name)
            for figure in self.LEFT:
                if ledger[figure]:
                    found[f"{name} {figure}"] = ledger[figure]
            for rank, state in enumerate(ledger["ranks"]):
                if state["used_blocks"]:
                    found[f"{name} rank {rank} used_blocks"] = state["used_blocks"]
        return found

    def check_answer(self, path, body):
        """What two legs answer is what one server does; gives the answer."""
        got, alone = self.post(path, body), self.post(path, body, pod="single")
        assert choices(got) == choices(alone)
        for figure in ("prompt_tokens", "completion_tokens"):
            assert got.json()["usage"][figure] == alone.json()["usage"][figure]
        legs = self.legs()
        assert [len(legs[leg]) for leg in ("prefill", "decode", "plain")] == [1, 1, 0]
        self.check_clean()
        return got

    def check_stream(self, path, body):
        """The same of a stream."""
        body = {**body, "stream_options": {"include_usage": True}}
        got, alone = self.events(path, body), self.events(path, body, pod="single")
        assert told_by(got) == told_by(alone)
        self.check_clean()

    def check_clean(self):
        wait_until(lambda: not self.left(), what=f"nothing is left: {self.left()}")
