"""Runs real Baton processes for the tests: pods, a router before them, and what goes wrong on purpose.

    with System(folder, model, prefill=2, decode=2) as system:
        system.client().completions.create(...)
        system.kill("decode-0")
        system.restart("decode-0")
        system.wait_until(system.quiet)

Processes listen on loopback, on ports that the system hands out. Logs are files in the system's
folder; a failing test shows their ends.
"""

import dataclasses
import functools
import json
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import threading
import time
import types

import httpx
import openai

ROOT = pathlib.Path(__file__).resolve().parents[2]
BATON = pathlib.Path(os.environ.get("BATON_BIN", ROOT / "build" / "release" / "baton"))
LIMIT = 10.0  # seconds that a test waits for an event
START_LIMIT = 60.0  # seconds for a process to load its model and answer

# httpx reads the system's certificates at every call of its functions, which takes it 25 ms; nothing
# here speaks TLS.
web = types.SimpleNamespace(**{verb: functools.partial(getattr(httpx, verb), verify=False)
                               for verb in ("get", "post", "delete", "stream")})


def wait_until(predicate, seconds=LIMIT, what=None):
    """Waits until `predicate()` is true and returns what it said; fails with its last answer."""
    end = time.monotonic() + seconds
    while True:
        try:
            last = predicate()
        except (OSError, httpx.HTTPError) as error:
            last = None
            reason = error
        else:
            reason = last
        if last:
            return last
        if time.monotonic() > end:
            name = what or getattr(predicate, "__name__", "the condition")
            raise AssertionError(f"not so within {seconds} s: {name}; last: {reason!r}")
        time.sleep(0.02)


class Verdict:
    """True where nothing is left; else it shows what is."""

    def __init__(self, left):
        self.left = left

    def __bool__(self):
        return not self.left

    def __repr__(self):
        return repr(self.left)


_handed_out = set()


def free_port():
    """A loopback port that nobody listens on and that no test of this run was given before. It is
    outside the range from which the kernel takes ports of outgoing connections, so that a killed
    pod finds its own again."""
    while True:
        port = random.randrange(12000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in _handed_out:
            _handed_out.add(port)
            return port


def run_baton(*arguments, timeout=START_LIMIT, **env):
    """Runs `baton` to its end."""
    return subprocess.run([str(BATON), *map(str, arguments)], capture_output=True, text=True,
                          timeout=timeout, stdin=subprocess.DEVNULL, env={**os.environ, **env})


@dataclasses.dataclass
class Model:
    """What `baton make-model` wrote."""
    folder: pathlib.Path
    gguf: pathlib.Path
    lora: pathlib.Path

    @staticmethod
    def make(folder):
        result = run_baton("make-model", folder)
        assert result.returncode == 0, result.stderr
        return Model(folder, folder / "model.gguf", folder / "lora.gguf")


class Metrics:
    """A scrape in Prometheus text format."""

    LINE = re.compile(r'^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)')
    LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

    def __init__(self, text):
        self.series = []
        for line in text.splitlines():
            match = None if line.startswith("#") else self.LINE.match(line)
            if match:
                labels = dict(self.LABEL.findall(match.group(2) or ""))
                self.series.append((match.group(1), labels, float(match.group(3))))

    def has(self, name):
        return any(n == name for n, _, _ in self.series)

    def value(self, name, default=None, **labels):
        """The sum of the series of that name with those labels; fails when the name is unknown and
        there is no default. A counter of something that has not happened may have no series."""
        if not self.has(name):
            if default is not None:
                return default
            raise AssertionError(f"no metric {name}")
        return sum(value for n, its, value in self.series
                   if n == name and labels.items() <= its.items())


class Process:
    """One child process with its log."""

    def __init__(self, name, arguments, log):
        self.name, self.arguments, self.log = name, [str(a) for a in arguments], log
        self.child = None

    def start(self):
        assert not self.alive(), f"{self.name} runs already"
        with open(self.log, "ab") as sink:
            self.child = subprocess.Popen(
                self.arguments, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink,
                env={**os.environ, "GGML_NO_BACKTRACE": "1"})

    def alive(self):
        return self.child is not None and self.child.poll() is None

    def signal(self, number):
        self.child.send_signal(number)

    def kill(self):
        """Ends it at once (SIGKILL)."""
        if self.alive():
            self.child.kill()
        if self.child is not None:
            self.child.wait()

    def stop(self, seconds=LIMIT):
        """Asks it to end (SIGTERM) and returns its exit status."""
        if self.alive():
            self.child.terminate()
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise AssertionError(f"{self.name} did not stop within {seconds} s") from None

    def tail(self, lines=40):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])


class Server:
    """A Baton process that answers HTTP."""

    def __init__(self, process, port, ready_port, ready_path):
        self.process, self.port = process, port
        self.ready_port, self.ready_path = ready_port, ready_path
        self.url = f"http://127.0.0.1:{port}"

    @property
    def name(self):
        return self.process.name

    def start(self):
        self.process.start()

    def ready(self):
        if not self.process.alive():
            raise AssertionError(f"{self.name} ended at its start:\n{self.process.tail()}")
        url = f"http://127.0.0.1:{self.ready_port}{self.ready_path}"
        return web.get(url, timeout=2).status_code == 200

    def wait_ready(self):
        wait_until(self.ready, START_LIMIT, f"{self.name} is ready")


class System:
    """Pods and a router before them. `single` is one more pod of role `both` that the router does
    not know: what it answers is the reference."""

    of_this_test = []  # systems started since the current test began, for the report of a failure

    def __init__(self, folder, model, prefill=2, decode=2, single=False, split="always",
                 transport=None, pod_options=(), pool="", router="", loras=(), relay=()):
        """`pool` and `router` are further YAML of the pool and of the file's top level. `loras` are
        (name, file). Pods named in `relay` are reached by the router through a Relay."""
        self._describe(folder, split, "baton-test", "baton", pool, router)
        self.model, self.transport = model, transport
        self.pod_options, self.loras = list(pod_options), list(loras)
        self._make(prefill, decode, single, relay)

    def _describe(self, folder, split, model_name, connector, pool, router):
        self.folder, self.split = pathlib.Path(folder), split
        self.folder.mkdir(parents=True, exist_ok=True)
        self.model_name, self.connector = model_name, connector
        self.more_pool, self.more_router = pool, router
        self.loras, self.pod_yaml = [], {}

    def _make(self, prefill, decode, single, relay=()):
        self.pods, self.relays = {}, {}
        for index in range(prefill):
            self._add_pod(f"prefill-{index}", "prefill")
        for index in range(decode):
            self._add_pod(f"decode-{index}", "decode")
        self.members = list(self.pods)
        if single:
            self._add_pod("single", "both")
        for name in relay:
            self.relays[name] = Relay(self.pods[name].port)
        self.admin_port = free_port()
        self.router = self._router()
        self.url = self.router.url
        self.admin_url = f"http://127.0.0.1:{self.admin_port}"

    def _add_pod(self, name, role):
        port = free_port()
        arguments = [BATON, "pod", "--model", self.model.gguf, "--role", role, "--name", name,
                     "--listen", f"127.0.0.1:{port}", "--served-model-name", self.model_name]
        if self.transport:
            arguments += ["--transport", self.transport]
        for lora, path in self.loras:
            arguments += ["--lora", f"{lora}={path}"]
        arguments += self.pod_options
        process = Process(name, arguments, self.folder / f"{name}.log")
        self.pods[name] = Server(process, port, port, "/health")

    def _router(self):
        port = free_port()
        path = self.folder / "baton.yaml"
        path.write_text(self._configuration(port))
        process = Process("router", [BATON, "serve", "--config", path], self.folder / "router.log")
        return Server(process, port, self.admin_port, "/readyz")

    def _configuration(self, port):
        def listed(role):
            lines = []
            for name in self.members:
                if name.startswith(role):
                    at = self.relays[name].port if name in self.relays else self.pods[name].port
                    lines.append(f'      - {{name: {name}, url: "http://127.0.0.1:{at}"'
                                 f'{self.pod_yaml.get(name, "")}}}')
            return "\n".join(lines)

        loras = "".join(f"      - {{name: {name}, path: {path}}}\n" for name, path in self.loras)
        text = (f"listen: 127.0.0.1:{port}\n"
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
        return text + (f"    loras:\n{loras}" if loras else "")

    # Life

    def __enter__(self):
        System.of_this_test.append(self)
        try:
            for pod in self.pods.values():
                pod.start()
            for pod in self.pods.values():
                pod.wait_ready()
            self.router.start()
            self.router.wait_ready()  # which is when some of the pods are known
            self.wait_until(self._each_pod_was_checked, what="the router has looked at each pod")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def _each_pod_was_checked(self):
        metrics = self.router_metrics()
        return all(metrics.value("baton_pod_checks_total", 0, pod=name) > 0
                   for name in self.members)

    def close(self):
        for server in [self.router, *self.pods.values()]:
            server.process.kill()
        for relay in self.relays.values():
            relay.close()

    def logs(self):
        servers = [self.router, *self.pods.values()]
        return "\n\n".join(f"--- {s.name} ---\n{s.process.tail()}" for s in servers)

    # Faults

    def kill(self, name):
        self.pods[name].process.kill()

    def restart(self, name):
        """Starts a killed pod again at its old address and waits until it answers."""
        self.pods[name].start()
        self.pods[name].wait_ready()

    def pause(self, name):
        """The pod says nothing more, but its connections stay open."""
        self.pods[name].process.signal(signal.SIGSTOP)

    def resume(self, name):
        self.pods[name].process.signal(signal.SIGCONT)

    # Observation

    def metrics(self, name):
        return Metrics(web.get(f"{self.pods[name].url}/metrics", timeout=LIMIT).text)

    def router_metrics(self):
        return Metrics(web.get(f"{self.admin_url}/metrics", timeout=LIMIT).text)

    def pod_states(self):
        """What the router says of its pods: name to the object that GET /pods has for it."""
        answer = web.get(f"{self.admin_url}/pods", timeout=LIMIT).json()
        return {pod["name"]: pod for pool in answer["pools"] for pod in pool["pods"]}

    def busy(self):
        """What still runs, waits or is pinned on the pods that live, and in the router's account."""
        found = {}
        for name, pod in self.pods.items():
            if pod.process.alive():
                metrics = self.metrics(name)
                for figure in ("vllm:num_requests_running", "vllm:num_requests_waiting",
                               "baton_pod_blocks_pinned"):
                    found[f"{name} {figure}"] = metrics.value(figure)
        router = self.router_metrics()
        for figure in ("baton_open_requests", "baton_requests_in_flight"):
            found[figure] = router.value(figure)
        return {figure: value for figure, value in found.items() if value != 0}

    def quiet(self):
        """Nothing runs, nothing waits and no block is pinned anywhere, and the router knows it."""
        return Verdict(self.busy())

    def wait_until(self, predicate, seconds=LIMIT, what=None):
        return wait_until(predicate, seconds, what)

    # Clients

    def client(self, pod=None, **options):
        """The official client, of the router or of one pod. It does not retry by itself."""
        base = self.pods[pod].url if pod else self.url
        options.setdefault("max_retries", 0)
        options.setdefault("timeout", 60)
        return openai.OpenAI(base_url=f"{base}/v1", api_key="unused", **options)

    def async_client(self, pod=None):
        base = self.pods[pod].url if pod else self.url
        return openai.AsyncOpenAI(base_url=f"{base}/v1", api_key="unused", max_retries=0,
                                  timeout=60)

    def post(self, path, body, headers=None, timeout=60, pod=None):
        """One raw request; `body` is sent as it is if it is bytes, else as JSON."""
        base = self.pods[pod].url if pod else self.url
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return web.post(f"{base}{path}", content=content, timeout=timeout,
                          headers={"content-type": "application/json", **(headers or {})})


class Relay:
    """A TCP relay on loopback that keeps what it forwards and can be cut. The router reaches a pod
    through it, so that a test sees what the pod was sent and breaks connections at will."""

    def __init__(self, target):
        self.target = target
        self.to_server = bytearray()
        self._open, self._lock, self._closed = set(), threading.Lock(), False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def received(self):
        """All bytes that clients have sent so far."""
        with self._lock:
            return bytes(self.to_server)

    def cut(self):
        """Resets every connection that is open now."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self._closed = True
        self._listener.close()
        self.cut()

    def _accept(self):
        while not self._closed:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                continue
            with self._lock:
                self._open |= {client, server}
            for source, sink, kept in ((client, server, self.to_server), (server, client, None)):
                threading.Thread(target=self._forward, args=(source, sink, kept),
                                 daemon=True).start()

    def _forward(self, source, sink, kept):
        try:
            while piece := source.recv(65536):
                if kept is not None:
                    with self._lock:
                        kept += piece
                sink.sendall(piece)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        with self._lock:
            self._open -= {source}
        source.close()
