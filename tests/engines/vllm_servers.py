"""Real vLLM servers on loopback with a router before them, each server on a core of its own.

    with VllmPair(folder, files) as pair:
        pair.post("/v1/completions", {...})
        pair.prefill.metric("vllm:kv_cache_usage_perc")
        pair.decode.kill()
"""

import json
import os
import pathlib
import signal
import subprocess

from harness import BATON, Metrics, Process, Server, free_port, run_baton, wait_until, web

HERE = pathlib.Path(__file__).resolve().parent / "vllm_cpu"
START_LIMIT = 240.0  # seconds until a server has loaded its model
ANSWER_LIMIT = 120.0  # the first hand-off after a start is slow
LEASE = 8  # seconds; the least with heartbeats every second
MODEL = "tiny"


def transfer_config(connector="NixlConnector", **extra):
    return {"kv_connector": connector, "kv_role": "kv_both", "kv_buffer_device": "cpu",
            "kv_connector_extra_config": {"kv_lease_duration": LEASE, **extra}}


def events_flags(ports):
    """The KV events of a server at these ports (events, replay)."""
    if ports is None:
        return []
    return ["--kv-events-config", json.dumps({
        "enable_kv_cache_events": True, "publisher": "zmq", "endpoint": f"tcp://*:{ports[0]}",
        "replay_endpoint": f"tcp://*:{ports[1]}"})]


def pod_ports(ports):
    return f", kv_events_port: {ports[0]}, kv_replay_port: {ports[1]}" if ports else ""


class Files:
    """The installed vLLM, and the model and adapter that were made for it."""

    def __init__(self, venv, folder):
        self.venv, self.folder = pathlib.Path(venv), pathlib.Path(folder)
        self.model, self.lora = self.folder / "model", self.folder / "lora"
        for script, made in (("make_model.py", self.model), ("make_lora.py", self.lora)):
            subprocess.run([self.venv / "bin" / "python", HERE / script, made], check=True)


class VllmServer:
    """One vLLM server: its HTTP process and its engine are ended together."""

    def __init__(self, name, core, files, log, config, flags=()):
        self.name, self.core, self.files, self.log, self.config = name, core, files, log, config
        self.flags = ["--enable-prompt-tokens-details", "--enable-auto-tool-choice",
                      "--tool-call-parser", "hermes", "--structured-outputs-config",
                      '{"backend": "xgrammar", "disable_any_whitespace": true}', *flags]
        self.port, self.side_port = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.child = None

    def start(self):
        environment = {**os.environ, "CORE": str(self.core % os.cpu_count()),
                       "KV_TRANSFER_CONFIG": json.dumps(self.config),
                       "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
        self.child = subprocess.Popen(
            ["bash", HERE / "serve.sh", self.files.venv, self.files.model, str(self.port),
             str(self.side_port), self.log, *self.flags],
            env=environment, stdin=subprocess.DEVNULL, start_new_session=True)

    def ready(self):
        if self.child.poll() is not None:
            raise AssertionError(f"{self.name} ended at its start:\n{self.tail()}")
        return web.get(f"{self.url}/health", timeout=5).status_code == 200

    def wait_ready(self):
        wait_until(self.ready, START_LIMIT, f"{self.name} is ready")

    def kill(self):
        if self.child is not None:
            try:
                os.killpg(self.child.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self.child.wait()
            self.child = None

    def tail(self, lines=60):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        told = [line for line in text.splitlines() if '"GET /' not in line]
        return "\n".join(told[-lines:])

    def metrics(self):
        return Metrics(web.get(f"{self.url}/metrics", timeout=10).text)

    def metric(self, name, **labels):
        return self.metrics().value(name, 0.0, **labels)

    def idle(self):
        """Nothing runs or waits, and no block is held for anybody."""
        metrics = self.metrics()
        return all(metrics.value(f"vllm:{name}") == 0 for name in
                   ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"))


class VllmPair:
    """A prefill and a decode server and the router that splits requests between them."""

    def __init__(self, folder, files, connector="vllm-nixl", config=None, prefill_flags=(),
                 decode_flags=(), pool="", kv_events=False):
        self.folder = pathlib.Path(folder)
        config = config or transfer_config()
        events = [[free_port() for _ in range(2)] if kv_events else None for _ in range(2)]
        prefill_flags = [*prefill_flags, *events_flags(events[0])]
        decode_flags = [*decode_flags, *events_flags(events[1])]
        if kv_events:  # each pod's own ports, below
            pool += f"    kv_events: {{port: {events[0][0]}, replay_port: {events[0][1]}}}\n"
        self.prefill = VllmServer("prefill-0", 0, files, self.folder / "prefill-0.log", config,
                                  prefill_flags)
        self.decode = VllmServer("decode-0", 1, files, self.folder / "decode-0.log", config,
                                 decode_flags)
        self.admin_port = free_port()
        port = free_port()
        self.config = self.folder / "baton.yaml"
        self.config.write_text(
            f"listen: 127.0.0.1:{port}\n"
            f"admin: {{listen: 127.0.0.1:{self.admin_port}}}\n"
            "expose_plan: true\n"
            "pools:\n"
            "  - name: vllm\n"
            f"    model: {MODEL}\n"
            f"    connector: {connector}\n"
            "    split: always\n"
            f"    lease_seconds: {LEASE}\n"
            "    health: {interval_seconds: 0.5, timeout_seconds: 5}\n"
            f"{pool}"
            f'    prefill: [{{name: prefill-0, url: "{self.prefill.url}"{pod_ports(events[0])}}}]\n'
            f'    decode: [{{name: decode-0, url: "{self.decode.url}"{pod_ports(events[1])}}}]\n')
        self.router = Server(
            Process("router", [BATON, "serve", "--config", self.config], self.folder / "router.log"),
            port, self.admin_port, "/readyz")
        self.url = self.router.url

    def __enter__(self):
        try:
            for server in (self.prefill, self.decode):
                server.start()
            for server in (self.prefill, self.decode):
                server.wait_ready()
            self.router.start()
            self.router.wait_ready()
            # The two servers meet: their first hand-off takes tens of seconds.
            answer = self.post("/v1/completions", {"prompt": "meet " * 40, "max_tokens": 2})
            assert answer.status_code == 200, answer.text
        except BaseException:
            print(self.logs())
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.router.process.kill()
        self.prefill.kill()
        self.decode.kill()

    def logs(self):
        return (f"--- router ---\n{self.router.process.tail()}\n--- prefill ---\n"
                f"{self.prefill.tail()}\n--- decode ---\n{self.decode.tail()}")

    def post(self, path, body, at=None, headers=None, timeout=ANSWER_LIMIT):
        """One request to the router, or to the server `at`."""
        url = at.url if at else self.url
        return web.post(f"{url}{path}", json={"model": MODEL, **body}, timeout=timeout,
                          headers=headers)

    def router_metric(self, name, **labels):
        text = web.get(f"http://127.0.0.1:{self.admin_port}/metrics", timeout=10).text
        return Metrics(text).value(name, 0.0, **labels)

    def pods(self):
        answer = web.get(f"http://127.0.0.1:{self.admin_port}/pods", timeout=10).json()
        return {pod["name"]: pod for pod in answer["pools"][0]["pods"]}

    def check(self, *options):
        return run_baton("check", "--probe", "--config", self.config, *options, timeout=120)

    def prefill_version(self):
        return web.get(f"{self.prefill.url}/version", timeout=10).json()["version"]

    def transfers(self):
        return self.decode.metric("vllm:nixl_xfer_time_seconds_count")

    def wait_idle(self, seconds=30.0):
        wait_until(self.prefill.idle, seconds, "the prefill server is idle")
        wait_until(self.decode.idle, seconds, "the decode server is idle")
        wait_until(lambda: self.router_metric("baton_open_requests") == 0, seconds,
                   "the router has no open request")
