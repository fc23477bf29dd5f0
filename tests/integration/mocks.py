"""Runs `baton mock` pods, and a router before them.

    with MockSystem(folder, prefill=1, decode=1) as system:
        system.post("/v1/completions", {...})
        system.faults("prefill-0", "status=500:1")
        system.ledger("decode-0")

`single` is one more mock that the router does not know: what it answers is the reference.
"""

import json
import pathlib

import httpx
from harness import BATON, LIMIT, Process, Server, System, free_port, wait_until


class MockSystem:
    def __init__(self, folder, prefill=1, decode=1, connector="vllm-nixl", engine=None,
                 mock_options=(), pod_options=None, pool="", router="", split="always",
                 model="mock-model", pod_yaml=None):
        """`mock_options` are flags of every mock, `pod_options` of one, by its name; `pod_yaml` is
        what the router's configuration says of one beside its name and URL."""
        self.folder = pathlib.Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.connector, self.engine = connector, engine or connector
        self.mock_options, self.pod_options = list(mock_options), pod_options or {}
        self.more_pool, self.more_router, self.split = pool, router, split
        self.model_name, self.pod_yaml = model, pod_yaml or {}
        self.pods = {}
        for index in range(prefill):
            self._add(f"prefill-{index}", "prefill")
        for index in range(decode):
            self._add(f"decode-{index}", "decode")
        self.members = list(self.pods)
        self._add("single", "both")
        self.admin_port = free_port()
        self.router = self._router()
        self.url = self.router.url
        self.admin_url = f"http://127.0.0.1:{self.admin_port}"

    def _add(self, name, role):
        port = free_port()
        arguments = [BATON, "mock", "--engine", self.engine, "--role", role, "--model",
                     self.model_name, "--listen", f"127.0.0.1:{port}", "--side-channel",
                     f"127.0.0.1:{free_port()}", *self.mock_options,
                     *self.pod_options.get(name, ())]
        process = Process(name, arguments, self.folder / f"{name}.log")
        self.pods[name] = Server(process, port, port, "/health")

    def _router(self):
        port = free_port()
        path = self.folder / "baton.yaml"

        def listed(role):
            return "\n".join(f'      - {{name: {n}, url: "{self.pods[n].url}"'
                             f'{self.pod_yaml.get(n, "")}}}'
                             for n in self.members if n.startswith(role))

        path.write_text(f"listen: 127.0.0.1:{port}\n"
                        f"admin: {{listen: 127.0.0.1:{self.admin_port}}}\n"
                        "expose_plan: true\n"
                        f"{self.more_router}"
                        "pools:\n"
                        "  - name: test\n"
                        f"    model: {self.model_name}\n"
                        f"    connector: {self.connector}\n"
                        f"    split: {self.split}\n"
                        "    health: {interval_seconds: 0.2, timeout_seconds: 1, failures: 2}\n"
                        f"{self.more_pool}"
                        f"    prefill:\n{listed('prefill')}\n"
                        f"    decode:\n{listed('decode')}\n")
        process = Process("router", [BATON, "serve", "--config", path], self.folder / "router.log")
        return Server(process, port, self.admin_port, "/readyz")

    def __enter__(self):
        System.of_this_test.append(self)
        try:
            for pod in self.pods.values():
                pod.start()
            for pod in self.pods.values():
                pod.wait_ready()
            self.router.start()
            self.router.wait_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for server in [self.router, *self.pods.values()]:
            server.process.kill()

    def logs(self):
        servers = [self.router, *self.pods.values()]
        return "\n\n".join(f"--- {s.name} ---\n{s.process.tail()}" for s in servers)

    # Clients

    def base(self, pod=None):
        return self.pods[pod].url if pod else self.url

    def post(self, path, body, pod=None, headers=None, timeout=60):
        return httpx.post(self.base(pod) + path, json=body, headers=headers, timeout=timeout)

    def events(self, path, body, pod=None):
        """The data of a stream's events, parsed; [DONE] as a text."""
        answer = httpx.post(self.base(pod) + path, json={**body, "stream": True}, timeout=60)
        assert answer.status_code == 200, answer.text
        data = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
        return [d if d == "[DONE]" else json.loads(d) for d in data]

    # Mocks

    def get(self, pod, path):
        return httpx.get(self.base(pod) + path, timeout=LIMIT).json()

    def ledger(self, pod):
        return self.get(pod, "/debug/ledger")

    def requests(self, pod):
        return self.get(pod, "/debug/requests")

    def faults(self, pod, faults):
        answer = self.post("/debug/faults", {"faults": faults}, pod=pod)
        assert answer.status_code == 200, answer.text

    def forget(self):
        """Ends every fault and forgets what was asked so far."""
        for name in self.pods:
            if self.pods[name].process.alive():
                self.faults(name, [])
                httpx.delete(self.base(name) + "/debug/requests", timeout=LIMIT)

    def left(self):
        """What is pinned, in use or broken anywhere; empty: nothing."""
        found = {}
        for name, pod in self.pods.items():
            if not pod.process.alive():
                continue
            ledger = self.ledger(name)
            for figure in ("pinned_blocks", "violations", "open_requests"):
                if ledger[figure]:
                    found[f"{name} {figure}"] = ledger[figure]
            for rank, state in enumerate(ledger["ranks"]):
                if state["used_blocks"]:
                    found[f"{name} rank {rank} used_blocks"] = state["used_blocks"]
        return found

    def check_clean(self):
        wait_until(lambda: not self.left(), what=f"nothing is left: {self.left()}")

    def router_metrics(self):
        return System.router_metrics(self)

    def restart(self, name):
        self.pods[name].start()
        self.pods[name].wait_ready()
