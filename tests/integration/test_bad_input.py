"""Whatever a client sends, it gets an OpenAI error that names the field, and the connection and the
system go on."""

import http.client
import json
import re

import pytest

from harness import System


def good(system, **more):
    return {"model": system.model_name, "prompt": "A small boat", "max_tokens": 2, **more}


def nested(depth):
    return b'{"model":"m","prompt":"x","metadata":' + b"[" * depth + b"]" * depth + b"}"


CHAT = "/v1/chat/completions"
COMPLETIONS = "/v1/completions"

# name, path, body (a function of the system), status, field at fault (None: any)
CASES = [
    ("not json", COMPLETIONS, lambda s: b"{", 400, None),
    ("empty", COMPLETIONS, lambda s: b"", 400, None),
    ("an array", COMPLETIONS, lambda s: b"[]", 400, None),
    ("two values", COMPLETIONS, lambda s: json.dumps(good(s)).encode() + b"{}", 400, None),
    ("bad utf-8", COMPLETIONS, lambda s: b'{"model":"\xff","prompt":"x"}', 400, None),
    ("NaN", COMPLETIONS, lambda s: json.dumps(good(s, temperature=float("nan"))).encode(), 400,
     None),
    ("nesting of 65", COMPLETIONS, lambda s: nested(65), 400, None),
    ("no model", COMPLETIONS, lambda s: {"prompt": "x"}, 400, "model"),
    ("model of a wrong type", COMPLETIONS, lambda s: good(s, model=7), 400, "model"),
    ("unknown model", COMPLETIONS, lambda s: good(s, model="nobody"), 404, "model"),
    ("no prompt", COMPLETIONS, lambda s: {"model": s.model_name}, 400, "prompt"),
    ("prompt of a wrong type", COMPLETIONS, lambda s: good(s, prompt={"a": 1}), 400, "prompt"),
    ("no messages", CHAT, lambda s: {"model": s.model_name}, 400, "messages"),
    ("messages of a wrong type", CHAT, lambda s: {"model": s.model_name, "messages": "hi"}, 400,
     "messages"),
    ("a message that is no object", CHAT, lambda s: {"model": s.model_name, "messages": [1]}, 400,
     "messages"),
    ("max_tokens 0", COMPLETIONS, lambda s: good(s, max_tokens=0), 400, "max_tokens"),
    ("max_tokens negative", COMPLETIONS, lambda s: good(s, max_tokens=-3), 400, "max_tokens"),
    ("max_tokens a string", COMPLETIONS, lambda s: good(s, max_tokens="3"), 400, "max_tokens"),
    ("n beyond the limit", COMPLETIONS, lambda s: good(s, n=100_000), 400, "n"),
    ("n above what the engine offers", COMPLETIONS, lambda s: good(s, n=2), 400, "n"),
    ("stream of a wrong type", COMPLETIONS, lambda s: good(s, stream="yes"), 400, "stream"),
    ("prompt beyond the context", COMPLETIONS, lambda s: good(s, prompt="word " * 40_000), 400,
     "prompt"),
    ("kv_transfer_params", COMPLETIONS, lambda s: good(s, kv_transfer_params={"a": 1}), 400,
     "kv_transfer_params"),
    ("bootstrap_room", CHAT, lambda s: {"model": s.model_name, "bootstrap_room": 1,
                                        "messages": [{"role": "user", "content": "x"}]}, 400,
     "bootstrap_room"),
    ("disaggregated_params", COMPLETIONS, lambda s: good(s, disaggregated_params={}), 400,
     "disaggregated_params"),
]


def exchange(connection, path, body):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", path, content, {"content-type": "application/json"})
    answer = connection.getresponse()
    return answer, answer.read()


@pytest.mark.parametrize(("path", "body", "status", "field"), [case[1:] for case in CASES],
                         ids=[case[0].replace(" ", "-") for case in CASES])
def test_error_names_the_field_and_the_connection_goes_on(system, path, body, status, field):
    connection = http.client.HTTPConnection("127.0.0.1", system.router.port, timeout=60)
    answer, text = exchange(connection, path, body(system))
    assert answer.status == status, text
    error = json.loads(text)["error"]
    assert error["message"]
    assert error["type"]
    assert {"param", "code"} <= error.keys()
    if field is not None:
        assert (error["param"] or "").split("[")[0].split(".")[0] == field
    assert answer.getheader("x-request-id")
    socket_before = connection.sock
    assert socket_before is not None, "the connection was closed"
    answer, text = exchange(connection, COMPLETIONS, good(system))
    assert answer.status == 200, text
    assert connection.sock is socket_before
    connection.close()


def test_nesting_of_64_is_accepted(system):
    deep = json.dumps(good(system))[:-1].encode() + b',"metadata":' + b"[" * 63 + b"]" * 63 + b"}"
    assert system.post(COMPLETIONS, deep).status_code == 200


def test_body_over_the_limit_is_too_large(system):
    answer = system.post(COMPLETIONS, good(system, prompt="x" * (10 << 20)))
    assert answer.status_code == 413
    assert answer.json()["error"]["message"]
    assert system.post(COMPLETIONS, good(system)).status_code == 200


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/embeddings", "/health", "/metrics", "/pods",
                                  "/tokenize", "/baton/facts", "/v1/completions/"])
def test_everything_else_is_not_found(system, path):
    answer = system.post(path, good(system))
    assert answer.status_code == 404
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("raw", [
    b"GET /v1/models HTTP/1.1\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 2\r\n\r\n{}",
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
    b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n"
    b"Content-Length: 2\r\n\r\n0\r\n\r\n",
    b"GET http://elsewhere/v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET /v1/models HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
], ids=["no-host", "two-hosts", "length-list", "bad-coding", "two-framings", "absolute-target",
        "connect", "folded-field", "tls"])
def test_ambiguous_framing_is_refused_and_closes(system, raw):
    import socket
    with socket.create_connection(("127.0.0.1", system.router.port), timeout=10) as connection:
        connection.sendall(raw)
        connection.shutdown(socket.SHUT_WR)
        text = b""
        while piece := connection.recv(65536):
            text += piece
    assert re.match(rb"HTTP/1\.1 (4\d\d|501) ", text), text
    assert text.count(b"HTTP/1.1 ") == 1
    assert system.post(COMPLETIONS, good(system)).status_code == 200


def test_routing_headers_of_a_client_never_reach_a_pod(model, tmp_path):
    pods = ("prefill-0", "decode-0")
    with System(tmp_path, model, prefill=1, decode=1, relay=pods) as system:
        hostile = {"x-prefiller-host-port": "127.0.0.1:1", "x-prefiller-url": "http://127.0.0.1:1",
                   "x-data-parallel-host-port": "127.0.0.1:1", "x-baton-prefill": "prefill-9",
                   "x-baton-decode": "decode-9", "x-gateway-destination-endpoint": "127.0.0.1:1",
                   "x-forwarded-for": "10.9.8.7"}
        answer = system.post(COMPLETIONS, good(system), headers=hostile)
        assert answer.status_code == 200
        for pod in pods:
            sent = system.relays[pod].received().lower()
            assert b"post /v1/completions" in sent
            for name, value in hostile.items():
                assert name.encode() + b":" not in sent
                assert value.encode() not in sent
        assert system.router_metrics().value("baton_stripped_request_fields_total") > 0
