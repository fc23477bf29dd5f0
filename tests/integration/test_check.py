"""`baton check --probe` before real pods, scripted ones, and none."""

import contextlib
import http.server
import json
import socket
import threading

import pytest

from harness import System, free_port, run_baton


@pytest.fixture(scope="module")
def pods(model, tmp_path_factory):
    """A prefill and a decode pod of Baton, whose router is not asked."""
    with System(tmp_path_factory.mktemp("check"), model, prefill=1, decode=1,
                loras=[("shout", model.lora)]) as system:
        yield system


@contextlib.contextmanager
def scripted(answers):
    """A server that answers GET by path, with 404 for the others; gives its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            body = answers.get(self.path)
            self.send_response(404 if body is None else 200)
            data = (body or "").encode()
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def check(folder, prefill, decode, *options, model="baton-test", connector="baton", more=""):
    """Runs the check before pods at these ports."""
    def listed(role, ports):
        return "".join(f'      - {{name: {role}-{i}, url: "http://127.0.0.1:{port}"}}\n'
                       for i, port in enumerate(ports))

    path = folder / "baton.yaml"
    path.write_text(f"pools:\n  - name: test\n    model: {model}\n    connector: {connector}\n{more}"
                    f"    prefill:\n{listed('prefill', prefill)}"
                    f"    decode:\n{listed('decode', decode)}")
    return run_baton("check", "--probe", "--config", path, *options)


def ports(system):
    return [system.pods["prefill-0"].port], [system.pods["decode-0"].port]


def test_pods_that_fit(pods, tmp_path):
    result = check(tmp_path, *ports(pods), more="    loras: [{name: shout, path: x}]\n")
    assert result.returncode == 0, result.stdout + result.stderr
    rows = result.stdout.splitlines()
    assert rows[0].split()[:4] == ["pool", "pod", "role", "reached"]
    assert rows[1].split()[:4] == ["test", "prefill-0", "prefill", "yes"]
    assert "baton-test" in rows[2] and "shout" in rows[2]
    assert rows[-1] == "all fits"


def test_json(pods, tmp_path):
    result = check(tmp_path, *ports(pods), "--json")
    assert result.returncode == 0, result.stdout + result.stderr
    found = json.loads(result.stdout)
    assert found["fits"] is True and found["misfits"] == []
    assert [pod["pod"] for pod in found["pods"]] == ["prefill-0", "decode-0"]
    assert all(pod["load"] and pod["block_tokens"] > 0 for pod in found["pods"])


def test_model_and_adapter_that_no_pod_serves(pods, tmp_path):
    result = check(tmp_path, *ports(pods), model="llama",
                   more="    loras: [{name: sql, path: x}]\n")
    assert result.returncode == 1
    for pod in ("prefill-0", "decode-0"):
        assert f"\n{pod}: serves the model baton-test, not llama: " in result.stdout
        assert f"\n{pod}: does not serve the pool's adapter sql; " in result.stdout


def test_wrong_connector(pods, tmp_path):
    result = check(tmp_path, *ports(pods), connector="vllm-nixl")
    assert result.returncode == 1
    assert "\nprefill-0: does not speak vllm-nixl: " in result.stdout
    assert "connector baton: set that for the pool" in result.stdout


def test_versions_that_differ(tmp_path):
    def vllm(version, block):
        return {"/health": "", "/version": json.dumps({"version": version}),
                "/v1/models": json.dumps({"data": [{"id": "baton-test"}]}),
                "/metrics": "vllm:num_requests_running 1\n"
                            f'vllm:cache_config_info{{block_size="{block}"}} 1\n'}

    with scripted(vllm("0.31.0", 16)) as first, scripted(vllm("0.32.0", 16)) as second:
        result = check(tmp_path, [first], [second], "--timeout-seconds", 5, connector="vllm-nixl")
    assert result.returncode == 1
    assert "cannot exchange KV: vLLM 0.31.0 and vLLM 0.32.0" in result.stdout


def test_pods_that_are_not_there_or_hang(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts, and says nothing
        result = check(tmp_path, [free_port()], [silent.getsockname()[1]],
                       "--timeout-seconds", "0.5")
    assert result.returncode == 1
    rows = result.stdout.splitlines()
    assert rows[1].split()[3] == "no" and rows[2].split()[3] == "hangs"
    assert "\nprefill-0: is not reached at http://127.0.0.1:" in result.stdout
    assert "\ndecode-0: is not reached at http://127.0.0.1:" in result.stdout


def test_one_pod_under_two_names(pods, tmp_path):
    path = tmp_path / "baton.yaml"
    port = pods.pods["prefill-0"].port
    path.write_text("pools:\n  - name: test\n    model: baton-test\n"
                    f'    prefill: [{{name: p, url: "http://127.0.0.1:{port}"}}]\n'
                    f'    decode: [{{name: d, url: "http://localhost:{port}"}}]\n')
    result = run_baton("check", "--probe", "--config", path)
    assert result.returncode == 1, result.stdout
    assert "\np, d: are one process, engine " in result.stdout


def test_bad_configuration(tmp_path):
    path = tmp_path / "baton.yaml"
    path.write_text("pools: []\nnonsense: 1\n")
    result = run_baton("check", "--probe", "--config", path)
    assert result.returncode == 2
    assert "nonsense" in result.stderr
    assert run_baton("check", "--probe").returncode == 2
    assert run_baton("check", "--json", "--config", path).returncode == 2
