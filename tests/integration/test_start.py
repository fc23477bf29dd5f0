"""How processes start, refuse to start, and stop."""

import pathlib
import re
import signal
import socket
import subprocess

import pytest

from harness import (BATON, LIMIT, START_LIMIT, Process, System, free_port, run_baton, wait_until,
                     web)


def refused(result, *words):
    """Exit code 2 and one clear line that says all the words."""
    lines = [line for line in result.stderr.splitlines() if line.strip()]
    assert result.returncode == 2, result.stderr
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0]


def test_version():
    result = run_baton("--version")
    assert result.returncode == 0
    assert re.match(r"baton \d+\.\d+\.\d+ ", result.stdout)


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["serve", "--no-such-flag"]])
def test_bad_usage_exits_with_2(arguments):
    result = run_baton(*arguments)
    assert result.returncode == 2
    assert result.stderr


def test_missing_model(tmp_path):
    path = tmp_path / "nowhere.gguf"
    refused(run_baton("pod", "--model", path, "--role", "both", "--listen", "127.0.0.1:0"),
            str(path))


def test_broken_model(tmp_path):
    path = tmp_path / "broken.gguf"
    path.write_bytes(b"GGUF" + b"\xff" * 4000)
    refused(run_baton("pod", "--model", path, "--role", "both", "--listen", "127.0.0.1:0"),
            str(path))


def test_cut_model(model, tmp_path):
    path = tmp_path / "cut.gguf"
    whole = model.gguf.read_bytes()
    path.write_bytes(whole[:len(whole) // 2])
    refused(run_baton("pod", "--model", path, "--role", "both", "--listen", "127.0.0.1:0"),
            str(path))


def test_missing_lora(model, tmp_path):
    path = tmp_path / "nowhere.gguf"
    refused(run_baton("pod", "--model", model.gguf, "--role", "both", "--listen", "127.0.0.1:0",
                      "--lora", f"sql={path}"), str(path))


def test_pod_port_in_use(model):
    with socket.create_server(("127.0.0.1", 0)) as held:
        at = f"127.0.0.1:{held.getsockname()[1]}"
        refused(run_baton("pod", "--model", model.gguf, "--role", "both", "--listen", at), at)


CONFIGURATION = """listen: 127.0.0.1:{port}
admin: {{listen: 127.0.0.1:0}}
pools:
  - name: chat
    model: m
    connector: baton
    prefill: [{{name: p, url: "http://127.0.0.1:9"}}]
    decode: [{{name: d, url: "http://127.0.0.1:9"}}]
"""


def test_router_port_in_use(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
        path = tmp_path / "baton.yaml"
        path.write_text(CONFIGURATION.format(port=port))
        refused(run_baton("serve", "--config", path), f"127.0.0.1:{port}")


def test_missing_configuration(tmp_path):
    path = tmp_path / "nowhere.yaml"
    refused(run_baton("serve", "--config", path), str(path))


def test_bad_configuration_says_everything_at_once(tmp_path):
    path = tmp_path / "baton.yaml"
    path.write_text(CONFIGURATION.format(port=0).replace("connector: baton", "conector: baton")
                    .replace("127.0.0.1:9\"}]\n    decode", "nonsense\"}]\n    decode"))
    result = run_baton("serve", "--config", path)
    assert result.returncode == 2
    lines = result.stderr.splitlines()
    assert any(f"{path}:6:5:" in line and "connector" in line for line in lines), result.stderr
    assert any(f"{path}:7:" in line and "url" in line for line in lines), result.stderr


def test_router_drains_on_sigterm(model, tmp_path):
    """A stream that is open at SIGTERM goes on to its end; then the router exits with 0."""
    with System(tmp_path, model, prefill=1, decode=1) as system:
        stream = system.client().completions.create(
            model=system.model_name, prompt="Rain fell on", max_tokens=200, temperature=0,
            stream=True, extra_body={"ignore_eos": True})
        next(iter(stream))
        system.router.process.signal(signal.SIGTERM)
        rest = list(stream)
        assert rest[-1].choices[0].finish_reason == "length"
        assert system.router.process.stop() == 0


def test_pod_stops_on_sigterm(model, tmp_path):
    port = free_port()
    pod = Process("pod", [BATON, "pod", "--model", model.gguf, "--role", "both",
                          "--listen", f"127.0.0.1:{port}"], tmp_path / "pod.log")
    pod.start()
    try:
        wait_until(lambda: socket.create_connection(("127.0.0.1", port)).close() is None, 60)
        assert pod.stop() == 0
    finally:
        pod.kill()


def children_of(pid):
    """Processes whose parent is `pid`."""
    listed = subprocess.run(["ps", "-o", "pid=", "--ppid", str(pid)], capture_output=True, text=True)
    return [int(word) for word in listed.stdout.split()]


@pytest.mark.parametrize("signals", [1, 2])  # a second Ctrl-C does not wait
def test_up_leaves_nothing_behind(model, tmp_path, signals):
    admin = free_port()
    process = Process("up", [BATON, "up", "--model", model.gguf, "--prefill", "1", "--decode", "2",
                             "--port", free_port(), "--admin-port", admin], tmp_path / "up.log")
    process.start()
    try:
        wait_until(lambda: web.get(f"http://127.0.0.1:{admin}/readyz").status_code == 200,
                   START_LIMIT, "up is ready")
        pods = children_of(process.child.pid)
        assert len(pods) == 3
        for _ in range(signals):
            process.signal(signal.SIGINT)
        assert process.child.wait(LIMIT) == 0
    finally:
        process.kill()
    assert [pid for pid in pods if pathlib.Path(f"/proc/{pid}").exists()] == []
    for name in ("[prefill-0]", "[decode-1]"):  # one log, with prefixes
        assert name in process.tail(10_000)
