"""Requests at random while pods are killed and started again at random."""

import json
import random
import threading
import time

import httpx
from harness import System

CLIENTS = 8


def resident_mib(pid):
    with open(f"/proc/{pid}/status") as status:
        line = next(line for line in status if line.startswith("VmRSS:"))
    return int(line.split()[1]) / 1024


class Client(threading.Thread):
    """Sends its share of requests one after the other and notes how each ended."""

    def __init__(self, system, seed, count):
        super().__init__()
        self.system, self.rng, self.count = system, random.Random(seed), count
        self.outcomes = {}
        self.broken = []  # requests that ended in no proper way

    def run(self):
        with httpx.Client(timeout=60) as http:
            for _ in range(self.count):
                try:
                    outcome = self.one(http)
                except Exception as error:  # whatever it is, the test reports it
                    outcome = "broken"
                    self.broken.append(repr(error))
                self.outcomes[outcome] = self.outcomes.get(outcome, 0) + 1

    def one(self, http):
        rng = self.rng
        length = int(1 + 1500 * rng.random() ** 2)
        stream, leave = rng.random() < 0.7, rng.random() < 0.1
        body = {"model": rng.choice([self.system.model_name, "shout"]),
                "prompt": [rng.randrange(32, 127) for _ in range(length)],
                "max_tokens": rng.randrange(1, 60), "ignore_eos": True, "stream": stream}
        url = f"{self.system.url}/v1/completions"
        if not stream:
            response = http.post(url, json=body)
            if response.status_code == 200:
                assert response.json()["usage"]["completion_tokens"] == body["max_tokens"]
                return "answered"
            assert response.status_code in (502, 503, 504), response.text
            assert response.json()["error"]["stage"]
            return "refused"
        with http.stream("POST", url, json=body) as response:
            if response.status_code != 200:
                assert response.status_code in (502, 503, 504), response.status_code
                return "refused"
            last, tokens = None, 0
            try:
                for line in response.iter_lines():
                    if not line.startswith("data: "):
                        continue
                    assert last != "[DONE]", "something came after the end"
                    last = line[len("data: "):]
                    if last == "[DONE]":
                        continue
                    event = json.loads(last)
                    if "error" in event:
                        return "error event"
                    tokens += 1
                    if leave and tokens > 3:
                        return "left"
            except httpx.RemoteProtocolError:
                assert last is not None and "error" in json.loads(last), "cut without a word"
            assert last == "[DONE]", f"the stream ended with {last!r}"
        return "answered"


class Killer(threading.Thread):
    """Kills one pod after the other and starts it again, never all of one role at once."""

    def __init__(self, system, seed):
        super().__init__()
        self.system, self.rng, self.done, self.kills = system, random.Random(seed), threading.Event(), 0

    def run(self):
        while not self.done.wait(self.rng.uniform(0.5, 2.0)):
            victim = self.rng.choice(self.system.members)
            self.system.kill(victim)
            self.kills += 1
            self.done.wait(self.rng.uniform(0.0, 0.5))
            self.system.restart(victim)


def test_every_request_ends_once_and_nothing_is_left(model, tmp_path, soak):
    total, seed = (5000 if soak else 500), 21
    print(f"seed {seed}")
    with System(tmp_path, model, prefill=2, decode=2, loras=[("shout", model.lora)],
                router="prefix_index_bytes: 1MiB\n") as system:
        warm = [Client(system, seed + i, max(5, total // (10 * CLIENTS))) for i in range(CLIENTS)]
        run(warm)
        before = resident_mib(system.router.process.child.pid)
        killer = Killer(system, seed)
        killer.start()
        clients = [Client(system, 100 + seed + i, total // CLIENTS + 1) for i in range(CLIENTS)]
        try:
            run(clients)
        finally:
            killer.done.set()
            killer.join()
        outcomes = {}
        for client in clients:
            assert not client.broken, client.broken[:5]
            for name, count in client.outcomes.items():
                outcomes[name] = outcomes.get(name, 0) + count
        print(f"{outcomes}, {killer.kills} pods killed")
        assert killer.kills > 3
        assert sum(outcomes.values()) >= total
        assert outcomes["answered"] > 0.8 * total, outcomes
        system.wait_until(system.quiet, what="nothing runs, nothing is pinned")
        ended = system.router_metrics().value("baton_requests_total")
        sent = sum(sum(c.outcomes.values()) for c in warm + clients)
        assert ended == sent
        after = resident_mib(system.router.process.child.pid)
        print(f"router: {before:.1f} MiB before, {after:.1f} MiB after")
        assert after < 1.25 * before + 8


def run(threads):
    begin = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(3600)
        assert not thread.is_alive()
    print(f"{time.monotonic() - begin:.1f} s")
