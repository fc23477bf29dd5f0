"""What every command in perf/ shares: processes, CPU accounting, targets, results.

A command prints each figure beside its target and its peers, writes them with --json FILE, and
exits 3 when a target is missed.
"""
import argparse
import http.client
import json
import os
import platform
import re
import signal
import socket
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("BATON_BUILD", os.path.join(ROOT, "build", "release"))
BATON = os.path.join(BUILD, "baton")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Processes:
    """Child processes that end with the `with` block."""

    def __init__(self):
        self.children = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for child in self.children:
            if child.poll() is None:
                child.send_signal(signal.SIGTERM)
        for child in self.children:
            try:
                child.wait(10)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()

    def start(self, argv, **kwargs):
        kwargs.setdefault("stderr", subprocess.DEVNULL)
        kwargs.setdefault("stdout", subprocess.DEVNULL)
        child = subprocess.Popen([str(a) for a in argv], **kwargs)
        self.children.append(child)
        return child


def get(port, path, timeout=5):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def wait_ready(port, path, seconds=60, status=200):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if get(port, path)[0] == status:
                return
        except OSError:
            pass
        time.sleep(0.05)
    raise SystemExit(f"port {port}{path}: not ready within {seconds} s")


def cpu_seconds(pid):
    """User and system time of a process, all threads, in seconds."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes(pid):
    with open(f"/proc/{pid}/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def median(values):
    values = sorted(values)
    middle = len(values) // 2
    return values[middle] if len(values) % 2 else (values[middle - 1] + values[middle]) / 2


def commit():
    try:
        run = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty", "--abbrev=12"],
                             capture_output=True, text=True, check=True)
        return run.stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def machine():
    model = "unknown"
    with open("/proc/cpuinfo") as f:
        match = re.search(r"model name\s*: (.*)", f.read())
        if match:
            model = match.group(1)
    return {"cpu": model, "cores": os.cpu_count(), "kernel": platform.release(),
            "system": platform.system(), "load_1m": os.getloadavg()[0]}


class SplitSystem:
    """One prefill pod, one decode pod and a router before them, and one pod of role `both`."""

    def __init__(self, processes, folder, transport="shm"):
        subprocess.run([BATON, "make-model", folder], check=True, capture_output=True)
        self.model_file = os.path.join(folder, "model.gguf")
        self.ports = {}
        for role, name in (("prefill", "prefill-0"), ("decode", "decode-0"), ("both", "single")):
            self.ports[role] = free_port()
            processes.start([BATON, "pod", "--model", self.model_file, "--role", role,
                             "--name", name, "--listen", f"127.0.0.1:{self.ports[role]}",
                             "--transport", transport])
        for port in self.ports.values():
            wait_ready(port, "/health")
        self.model = json.loads(get(self.ports["both"], "/v1/models")[1])["data"][0]["id"]
        self.router, self.admin = free_port(), free_port()
        path = os.path.join(folder, "baton.yaml")
        with open(path, "w") as f:
            f.write(f"""listen: 127.0.0.1:{self.router}
admin: {{listen: 127.0.0.1:{self.admin}}}
expose_plan: true
log: {{level: warn}}
pools:
  - name: perf
    model: {self.model}
    connector: baton
    split: always
    prefill: [{{name: prefill-0, url: "http://127.0.0.1:{self.ports['prefill']}"}}]
    decode: [{{name: decode-0, url: "http://127.0.0.1:{self.ports['decode']}"}}]
""")
        processes.start([BATON, "serve", "--config", path])
        wait_ready(self.admin, "/readyz")


class Report:
    """Figures of one command, each with its target and its peers of the same run."""

    def __init__(self, name, description):
        self.name = name
        self.parser = argparse.ArgumentParser(prog=f"perf/{name}", description=description)
        self.parser.add_argument("--json", metavar="FILE", help="also write the figures there")
        self.figures = []
        self.notes = []

    def add(self, what, value, unit, target=None, at_most=True, peers=None, detail=None):
        met = None
        if target is not None:
            met = value <= target if at_most else value >= target
        self.figures.append({"what": what, "value": value, "unit": unit, "target": target,
                             "at_most": at_most, "met": met, "peers": peers or {},
                             "detail": detail})

    def note(self, text):
        self.notes.append(text)

    def finish(self, args):
        width = max(len(f["what"]) for f in self.figures)
        for f in self.figures:
            sign = "<=" if f["at_most"] else ">="
            target = "" if f["target"] is None else f"  target {sign} {f['target']:g}"
            verdict = {None: "", True: "  met", False: "  MISSED"}[f["met"]]
            peers = "".join(f"  {name} {value:.4g}" for name, value in f["peers"].items())
            print(f"{f['what']:<{width}}  {f['value']:.4g} {f['unit']}{target}{verdict}{peers}")
        for note in self.notes:
            print(f"note: {note}")
        if args.json:
            result = {"command": " ".join([f"perf/{self.name}"] + sys.argv[1:]),
                      "date": time.strftime("%Y-%m-%d", time.gmtime()), "commit": commit(),
                      "machine": machine(), "figures": self.figures, "notes": self.notes}
            with open(args.json, "w") as f:
                json.dump(result, f, indent=1)
                f.write("\n")
        sys.exit(3 if any(f["met"] is False for f in self.figures) else 0)
