"""What every command in perf/ shares: processes, CPU accounting, targets, results.

A command prints each figure beside its target and its peers, writes them with --json FILE, and
exits 3 when a target is missed. The last line of its docstring says how long it takes, by which
perf/run finds it.
"""
import argparse
import http.client
import json
import os
import platform
import re
import shlex
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


def peers_dir(name):
    """The virtual environment that perf/peers made for these tools, or where it would be."""
    root = os.environ.get("BATON_PEERS_DIR", os.path.join(ROOT, "build", "peers"))
    return os.path.join(root, name)


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
    """The processor with what it can do, and how busy it is now."""
    with open("/proc/cpuinfo") as f:
        text = f.read()
    facts = {key: match.group(1) if (match := re.search(rf"^{key}\s*: (.*)", text, re.MULTILINE))
             else "unknown" for key in ("model name", "flags")}
    return {"cpu": facts["model name"], "cpu_flags": facts["flags"], "cores": os.cpu_count(),
            "kernel": platform.release(), "system": platform.system(),
            "load_1m": os.getloadavg()[0]}


def build():
    """What the build folder was made with and what the `baton` there says of itself."""
    cache = {}
    path = os.path.join(BUILD, "CMakeCache.txt")
    if os.path.exists(path):
        with open(path) as f:
            cache = dict(re.findall(r"^(\w+):\w+=(.*)$", f.read(), re.MULTILINE))
    kind = cache.get("CMAKE_BUILD_TYPE", "unknown")
    flags = f"{cache.get('CMAKE_CXX_FLAGS', '')} {cache.get(f'CMAKE_CXX_FLAGS_{kind.upper()}', '')}"
    return {"type": kind, "compiler": first_line([cache.get("CMAKE_CXX_COMPILER", ""), "--version"]),
            "flags": flags.strip(), "baton": first_line([BATON, "--version"])}


def first_line(command):
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=True)
        return run.stdout.split("\n", 1)[0]
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


class SplitSystem:
    """One prefill pod, one decode pod and a router before them, and one pod of role `both`; with
    `one_prefill_process` that one is also the prefill pod."""

    def __init__(self, processes, folder, transport="shm", one_prefill_process=False):
        subprocess.run([BATON, "make-model", folder], check=True, capture_output=True)
        self.model_file = os.path.join(folder, "model.gguf")
        self.ports = {}
        roles = {"decode": "decode-0", "both": "single"}
        if one_prefill_process:
            roles["both"] = "prefill-0"
        else:
            roles["prefill"] = "prefill-0"
        for role, name in roles.items():
            self.ports[role] = free_port()
            pool = ["--kv-pool", "32768"] if role == "both" and one_prefill_process else []
            processes.start([BATON, "pod", "--model", self.model_file, "--role", role,
                             "--name", name, "--listen", f"127.0.0.1:{self.ports[role]}",
                             "--transport", transport, *pool])
        for port in self.ports.values():
            wait_ready(port, "/health")
        self.model = json.loads(get(self.ports["both"], "/v1/models")[1])["data"][0]["id"]
        prefill = self.ports["both" if one_prefill_process else "prefill"]
        pods = {"prefill": {"prefill-0": prefill}, "decode": {"decode-0": self.ports["decode"]}}
        self.router, self.admin = start_router(processes, folder, self.model, pods,
                                               "connector: baton", "split: always")


def start_router(processes, folder, model, pods, *settings):
    """A router that tells its plans, before `pods`: ports by name by role. Its ports, for requests
    and for the operator."""
    listen, admin = free_port(), free_port()
    path = os.path.join(folder, "baton.yaml")
    with open(path, "w") as f:
        f.write("expose_plan: true\n" + router_config(listen, admin, model, pods, *settings))
    processes.start([BATON, "serve", "--config", path])
    wait_ready(admin, "/readyz")
    return listen, admin


def router_config(listen, admin, model, pods, *settings):
    lines = [f"listen: 127.0.0.1:{listen}", f"admin: {{listen: 127.0.0.1:{admin}}}",
             "log: {level: warn}", "pools:", "  - name: many", f"    model: {model}"]
    lines += [f"    {setting}" for setting in settings]
    for role, ports in pods.items():
        lines.append(f"    {role}:")
        lines += [f"      - {{name: {name}, url: http://127.0.0.1:{port}, max_running: 65536}}"
                  for name, port in ports.items()]
    return "\n".join(lines) + "\n"


def watching(listen, admin, model, pods, *settings):
    """The configuration of a router before many pods, every second one of them for prefill."""
    roles = {role: {f"pod-{port}": port for port in ports}
             for role, ports in (("prefill", pods[::2]), ("decode", pods[1::2]))}
    return router_config(listen, admin, model, roles, *settings)


class Report:
    """Figures of one command, each with its target and its peers of the same run."""

    def __init__(self, name, description):
        self.name = name
        self.parser = argparse.ArgumentParser(
            prog=f"perf/{name}", description=description,
            formatter_class=argparse.RawDescriptionHelpFormatter)
        self.parser.add_argument("--json", metavar="FILE", help="also write the figures there")
        self.parser.add_argument("--quick", action="store_true",
                                 help="few repetitions: shows that it works, not how well")
        self.numbers = {}
        self.figures = []
        self.notes = []
        self.extra = {}  # more members of the result
        self.load_before = os.getloadavg()[0]

    def number(self, flag, usual, quick, what):
        """An integer option with a second default for --quick."""
        self.parser.add_argument(flag, type=int, metavar="N",
                                 help=f"{what} (default {usual}, with --quick {quick})")
        self.numbers[flag.lstrip("-").replace("-", "_")] = (usual, quick)

    def parse(self):
        args = self.parser.parse_args()
        for name, (usual, quick) in self.numbers.items():
            if getattr(args, name) is None:
                setattr(args, name, quick if args.quick else usual)
        return args

    def add(self, what, value, unit, target=None, at_most=True, peers=None, detail=None,
            tolerance=None, either_way=False):
        """`tolerance`: the share by which perf/regressions lets the ratios to the peers move, or,
        without peers, the value. `either_way`: the value has to stay that near to its target."""
        met = None
        if target is not None and either_way:
            met = abs(value - target) <= tolerance * target
        elif target is not None:
            met = value <= target if at_most else value >= target
        self.figures.append({"what": what, "value": value, "unit": unit, "target": target,
                             "at_most": at_most, "either_way": either_way, "met": met,
                             "peers": peers or {}, "tolerance": tolerance, "detail": detail})

    def note(self, text):
        self.notes.append(text)

    def result(self):
        """What --json writes."""
        words = [word.removeprefix(ROOT + os.sep) for word in sys.argv[1:]]
        return {"command": shlex.join([f"perf/{self.name}", *words]),
                "date": time.strftime("%Y-%m-%d", time.gmtime()), "commit": commit(),
                "machine": {**machine(), "load_1m_before": self.load_before}, "build": build(),
                **self.extra, "figures": self.figures, "notes": self.notes}

    def show(self):
        width = max(len(f["what"]) for f in self.figures)
        for f in self.figures:
            print(f"{f['what']:<{width}}  {short(f['value'])} {f['unit']}{aim_of(f)}"
                  + "".join(f"  {name} {short(value)}" for name, value in f["peers"].items()))
        for note in self.notes:
            print(f"note: {note}")

    def finish(self, args, show=True):
        if show:
            self.show()
        if args.json:
            with open(args.json, "w") as f:
                json.dump(self.result(), f, indent=1)
                f.write("\n")
        sys.exit(3 if any(f["met"] is False for f in self.figures) else 0)


def short(value):
    """Four digits, or all of a larger whole part."""
    return f"{value:.4g}" if abs(value) < 1e4 else f"{value:.0f}"


def aim_of(figure):
    if figure["target"] is None:
        return ""
    if figure["either_way"]:
        aim = f"baseline {short(figure['target'])}, {figure['value'] / figure['target'] - 1:+.2%}"
    else:
        aim = f"target {'<=' if figure['at_most'] else '>='} {figure['target']:g}"
    return f"  {aim}  {'met' if figure['met'] else 'MISSED'}"
